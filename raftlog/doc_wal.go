package raftlog

// The write-ahead log. One per node, shared by all Raft groups: what the groups want durable at the same time is written with one
// write and one fdatasync. It keeps each group's entries above its checkpoint, its term and vote, and its checkpoint.
//
// Files are DIR/%04d.wal, all of one size, filled with zeros once and then recycled, so that fdatasync has no metadata to write.
// Integers are little endian. CRC is CRC32C; "salted" means that it starts from the segment's salt, so that neither a frame of
// the file's earlier life nor message bytes that look like a frame can pass.
//
//	segment header, twice: at 0 and at 4096; frames begin at 8192
//	offset  size  field
//	0       4     magic "rmqW"
//	4       4     format version, 1; a newer one is refused
//	8       8     segment number, from 1, one more than the segment before
//	16      8     low: the oldest segment that was needed when this header was written
//	24      8     sequence of the first frame in segment low
//	32      8     segment size in bytes
//	40      4     salt
//	44      4     CRC of 0 to 44
//
//	frame, at a multiple of 8
//	0       4     magic "rmqF"
//	4       4     salted CRC of 8 to 40
//	8       8     segment number
//	16      8     sequence, one more than the frame before, across segments
//	24      4     length of the records in bytes, without padding
//	28      4     salted CRC of the records
//	32      4     number of records
//	36      4     0
//	40            records, then zeros to a multiple of 8
//
//	record
//	0       4     length in bytes with this header
//	4       4     CRC of 8 to the end
//	8       1     type
//	9       1     flags: 1 copied forward
//	10      6     0
//	16      8     group
//	24            fields of the type:
//	              1 entry       index 8, term 8, appended-at 8 (unix ns, min int64: none), raft type 1, 0 3, length of extensions 4, extensions, data
//	              2 truncate    from 8: entries at and above it are gone
//	              3 trim        through 8: entries at and below it are gone
//	              4 stable      count 4, then per key: length 2, key, length 4, value. All keys of the group
//	              5 checkpoint  index 8, term 8, configuration index 8, servers 4, per server: suffrage 1, length 2, id, length 2, address; state
//	              6 reset       as checkpoint; entries of the group before it are gone
//	              7 drop        nothing; what the group had is gone
//
// What a crash leaves, and why that is enough:
//
//   - One frame at a time is unsynced. So a bad frame with nothing valid of a higher sequence behind it was never acknowledged: a torn
//     tail, cut. A bad frame with a later valid frame header behind it, here or in a later segment, was synced once: damage, never cut
//     (ErrWALDamaged). A last synced frame that rots is indistinguishable from a torn one; Raft's peers have it.
//   - Segments low to the highest number must all be there. A file is given its next number by writing one header copy, syncing, then
//     the other: one of them is always valid. A file appears under its name (rename) only after it is filled, headed and synced, so a
//     file without a valid header is damage.
//   - A file is given a new number only when nothing in it is needed, and that new header says so (low). So older segments are
//     released by the same sector write that reuses one.
//   - On open the last frame is written again and synced: its pages may be clean in memory and not on disk, after a failed sync.
//   - Replay is in order. An entry replaces the same index. A copied entry (trimmer) repeats what holds at its place in the log; it may
//     lie behind entries that follow it. Truncations and tombstones need no copy: what they kill lies before them and is released
//     no later than they are.
