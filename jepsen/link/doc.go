// Package link says what becomes of what goes one way from one host to another: it
// passes, or is cut off, lost, late, doubled, damaged, slowed or reset, by rules that
// change while a run goes on. It carries nothing itself: a switch and relays ask it.
package link
