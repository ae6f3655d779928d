// Package faults lets somebody outside break a node of a test build: its disk, its
// clock and its way to the others. A released program does not have it (see
// cmd/raftmq's build tag "faults").
//
// A node of such a build is told of a Setup by a file, and takes orders from a unix
// socket: a connection per order, a JSON object each way.
package faults
