// Package sim runs three whole nodes in one process, in simulated time, on simulated
// disks and links, under package run's loads and faults.
//
// A run is a bubble of testing/synctest: its time passes when all in it wait. A node is
// package broker with its real Raft, logs, stores, gossip and protocol; what it is given
// is a network in memory, a disk that loses its power, a clock that jumps, and a store
// for the catalogue's entries in place of bolt, which needs a real file. A node's life ends at
// any instant: then nothing that its goroutines go on to do has an effect, and they
// must end, else the bubble panics.
//
// What is not as in the world: computing takes no time; a write to a connection never
// waits; a node cannot be stopped and continued, nor have timers that run at another
// rate; a process's memory is one, so a panic of a node is the end of the run.
//
// What a run does follows from its seed, except which goroutine goes first at one
// instant, and what Go draws in select and in maps. So a seed breaks the same nodes in
// the same ways at nearly the same times, and its histories differ.
//
// Goroutines: those of a life end when its node is gone, and Network.Close waits for
// them; memberlist's own are waited for by the time at the end of Run.
package sim
