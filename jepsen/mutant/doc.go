// Package mutant is the bugs that the suite must find: each a few characters of the
// product, or of the suite, that are replaced while a copy is built. No file of the
// source tree is changed: the Go command is given an overlay.
package mutant
