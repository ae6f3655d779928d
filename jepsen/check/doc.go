// Package check judges a history: whether what was promised held.
//
// Each property is one sweep in one file, over the history alone; offsets and the
// order of its lines give the order of things, so that nothing is searched. A
// property is valid, invalid with the smallest set of lines that cannot all be
// true, or unknown: too little was done, or a part of the evidence is missing.
// Unknown is never a pass.
package check
