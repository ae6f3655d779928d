// Package store keeps one partition's bytes: a commit log of applied Raft entries
// in segments, a list of places per queue, and an index of keys.
//
// It promises that replicas which append the same entries hold the same bytes,
// whatever happens to them in between; it sees no clock and no random number. It
// does not promise that what was appended is durable: that is the write-ahead
// log's part, which keeps every entry above the last checkpoint.
//
// # Directory
//
//	<position>.log          a segment of the commit log, named by its first position
//	<position>.floor        the states at that position, from which a peer can start
//	<position>.keys         keys of the segment's records: sorted runs
//	<topic>@<id>.<offset>.q places of a queue's messages from that offset on
//	<number>.timers         a sorted run of timers: records that wait for their time
//	next.log                a segment prepared ahead
//	trim                    below which position files may be missing
//
// Each starts with a magic of four bytes and a format version, 1. A later version
// is refused by the file's name (ErrVersion), and left as it is. One that decayed is
// damage: the checksum of the head is that of version 1.
//
// # Layouts
//
// All are big-endian; checksums are CRC-32C. A segment begins with 64 bytes, then
// frames, aligned to 8:
//
//	offset  size  field                     offset  size  field of a frame
//	     0     4  magic "rqCL"                   0     4  checksum of 4 to 40+n
//	     4     4  version 1                      4     4  length n of the data
//	     8     8  position of the segment        8     8  index
//	    16     8  index before its first frame  16     8  term
//	    24     8  term of that index            24     8  appended at, Unix ns
//	    32     8  position of its frame, or 0   32     1  Raft's entry type
//	    40     8  last store time, Unix ms      33     7  zero
//	    48    12  zero                          40   n+p  data, then zeros up to 8
//	    60     4  checksum of the above
//
// Records lie in the data as they were given, with queue offset, physical offset
// and store time stamped. A queue's file holds 256 Ki messages at most:
//
//	offset  size  field                     offset  size  field of an entry
//	     0     4  magic "rqCQ"                   0     8  position of the record
//	     4     4  version 1                      8     8  store time, Unix ms
//	     8     8  offset of the first entry     16     4  size of the record
//	    16    44  zero                          20     4  tag hash
//	    60     4  checksum of the above         24     4  checksum of the record
//	    64    32  for each message              28     4  checksum of 0 to 28, begun with
//	                                                      the offset's low 32 bits xor
//	                                                      its high ones times 0x9E3779B1
//
// A file of keys is a row of runs, each sorted by hash, then position:
//
//	offset  size  field
//	     0     4  magic "rqKX"
//	     4     4  version 1
//	     8     4  number n of entries
//	    12     4  zero
//	    16     8  position below which the keys are in this run and those before
//	    24     4  checksum of the entries
//	    28     4  checksum of the above
//	    32   16n  entries: XXH64 of topic, '#' and key (8); position of the record (8)
//
// The layouts of state, floor, trim and runs of timers are above their code.
//
// # Durability
//
// Append does not sync. Sync makes log, queues, floors and names durable through
// a mark; Checkpoint's bytes, kept elsewhere after that, say where. Open cuts back
// to them, and the entries above are appended again, to the same bytes. So a kill
// or a power cut at any moment leaves exactly the prefix that the kept state
// names, nothing twice. Keys are derived: what a crash took of them, and at most
// 1 MiB of log that a checkpoint leaves, is indexed again.
//
// What is trimmed, or left by Reset, is unlinked at a later Sync, so that the state
// kept before can be opened; if the files of a trim are gone by then, it starts
// where they end. A failed write or sync is final for the store: every later call
// says so, and OnFault is told. A full disk is not: nothing was done, and it may be
// tried again. Neither is a merge of runs of timers that fails before the new run has
// its name: those that it was to replace stay.
//
// # Damage
//
// Every byte that is read is checked, and none that fails is served: the error is
// ErrDamaged, with file and place, and OnDamage is told. ErrNotFound and ErrOffset
// are certain. Open checks the heads of all files that the state names, their sizes,
// and the end of each segment. Keys are built again from the log; all else that is
// damaged must come from a peer: Close, Open without a state, Reset to the peer's
// floor.
//
// # Limits
//
// A store has one goroutine, another while runs of timers are merged, and one map, of its
// active segment, which is written with pwrite and read through the map: three quarters into
// it another, of the next, and until the background has been there another of each
// sealed one. It keeps at most 16 files open besides; sealed segments are read with
// pread. It starts with 64 KiB on disk and reserves more ahead of the appender, as
// much as there is, up to 8 MiB at a time; what is left when a segment is sealed is
// given back. A queue takes 4 KiB more once it is synced. In memory wait at most
// 64 KiB of places per queue, 64 Ki keys and 16 Ki timers, 16 MiB together: then Append writes
// them itself. A queue that is idle keeps nothing but its bounds.
package store
