// Package run drives a cluster of processes with a load, breaks it by a schedule,
// lets it heal, reads all of it, and writes the history of that.
//
// Goroutines: one per sender, reader, group member and asker, and one for the
// faults. All end before Run returns.
package run
