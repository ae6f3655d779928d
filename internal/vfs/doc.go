// Package vfs is the disk under store and raftlog: the real one (OS), and one
// in memory that loses power, fails and lies (Mem).
//
// What counts as durable is the same for both, and is what POSIX promises
// rather than what one file system happens to do:
//
//	change                          durable after
//	bytes by WriteAt           File.Sync, File.SyncData
//	bytes by WriteThrough      at once
//	size (WriteAt, Truncate,   File.Sync, File.SyncData
//	  Allocate)
//	Create, Rename, Remove,    SyncDir of the directory that holds the name
//	  MkdirAll                   (of both, for a Rename between two)
//
// In particular a synced file whose directory was not synced may be gone after
// a power cut, and a renamed file that was not synced may be there and empty.
// A sync that failed has lost what it was to write: a later one that succeeds
// does not bring it back.
//
// A file is written by calls and may be read through a map. A store through a map is
// not among the changes above: the real disk faults at it.
package vfs
