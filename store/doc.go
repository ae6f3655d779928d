// Package store keeps one partition's bytes: a commit log of applied Raft entries
// in memory-mapped segments, a file of places per queue, and an index of keys.
//
// # Directory
//
//	<position>.log    a segment of the commit log, named by its first position
//	<position>.floor  the state at that position, from which a peer can start
//	<position>.keys   keys of the segment's records: sorted runs
//	next.log          a segment prepared ahead
//	<topic>@<id>.q    one entry per message of a queue
//
// # Layouts, big-endian
//
// A segment begins with 64 bytes, then frames aligned to 8:
//
//	offset  size  field                     offset  size  field of a frame
//	     0     4  magic "rqCL"                   0     4  CRC-32C of all that follows
//	     4     4  version 1                      4     4  length of the data
//	     8     8  position of the segment        8     8  index
//	    16     8  index before its first frame  16     8  term
//	    24     8  term of that index            24     8  appended at, Unix ns
//	    32    28  zero                          32     1  Raft's entry type
//	    60     4  CRC-32C of the above          33     7  zero
//	                                            40   n+p  data, zeros up to 8
//
// A queue's file begins with 64 bytes (magic "rqCQ", version, first offset, CRC at
// 60), then 32 bytes per message:
//
//	 0  8  position of the record      20  4  tag hash
//	 8  8  store time, Unix ms         24  4  CRC-32C of the record
//	16  4  size of the record          28  4  CRC-32C of the offset and the above
//
// # Durability
//
// Append does not sync: the entries are in the node's write-ahead log. Sync makes
// everything through a mark durable; Checkpoint's bytes, kept outside, say where.
// Open cuts back to them, and the entries above are appended again, to the same
// bytes. So a crash at any moment leaves exactly the prefix that the state names.
//
// The package sees no clock and no random number: replicas that append the same
// entries hold the same bytes.
package store
