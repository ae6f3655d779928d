// Package history is the record of a run: what was asked, what was answered, what
// was broken, and what was in the log at the end.
//
// It is a file of JSON lines, one Op each. A request has two lines: Invoke, which
// the operating system has before the request leaves, and its outcome. A request
// that never came back has only the first, and counts as Info. Lines are in one
// order for all processes, so an operation whose outcome has a lower index than
// another's Invoke was over before that one began. Clocks decide nothing.
package history
