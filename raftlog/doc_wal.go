package raftlog

// The write-ahead log. One per node, shared by all Raft groups: what the groups want durable at the same time is written with one
// synced write. It keeps each group's entries above its checkpoint, its term and vote, and its checkpoint.
//
// Files are DIR/%04d.wal, all of one size, filled with zeros once and then recycled, so that a synced write has no metadata to write.
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
//	              4 stable      count 4, then per key: length 2, key, length 4, value. All keys of the group, in order; at most 512 bytes
//	              5 checkpoint  index 8, term 8, configuration index 8, servers 4, per server: suffrage 1, length 2, id, length 2, address; state
//	              6 reset       as checkpoint; entries of the group before it are gone
//	              7 drop        nothing; what the group had is gone
//
// What a crash leaves, and why that is enough:
//
//   - One frame at a time is unsynced. So a bad frame with nothing valid of a higher sequence behind it was never acknowledged: a torn
//     tail, cut. A bad frame with a later valid frame header behind it, here or in a later segment, was synced once: damage, never cut
//     (ErrWALDamaged). A last synced frame that rots is indistinguishable from a torn one; Raft's peers have
//     it. After a Close the last frame is one of no records.
//   - Segments low to the highest number must all be there. A file is given its next number by writing one header copy, syncing, then
//     the other: one of them is always valid. A file appears under its name (rename) only after it is filled, headed and synced, so a
//     file without a valid header is damage.
//   - A file is given a new number only when nothing in it is needed, and that new header says so (low). So older segments are
//     released by the same sector write that reuses one.
//   - A running log is read again (Verify). A segment in which damage is found is emptied with those before it and written anew (wal_heal.go);
//     the segment in use is sealed for it, so its rest stays unused, and the next begins with a frame of no records. Memory has what the
//     damage took, or the archive and a checkpoint. Until a header says that it is not needed the damage is there for a restart to find; so
//     another file gets its header first, if there is one, and the damaged one is filled with zeros before it gets its own.
//   - On open the last frame, the headers and the directory are written again and synced: after a failed sync they may be clean in memory
//     and not on disk.
//   - Replay is in order. An entry replaces the same index. StoreLogs over entries that are there puts a truncation before its first
//     entry, over a gap a trim. A copied entry (trimmer) repeats what holds at its place in the log; it may lie behind entries that
//     follow it. Truncations and tombstones need no copy: what they kill lies before them and is released no later than they are.
//
// Why there is always room (wal_budget.go, wal_room.go; checked by TestWALBudgetLetsCopyingWin):
//
// A record is needed while it is an entry above its group's checkpoint, a latest checkpoint or the latest stable values. The oldest
// segment is released when nothing in it is needed; what is can be copied forward. Let S be the number of files, C the bytes of frames in
// one, and f <= C/4 the largest frame. A frame lies in one segment, so at most f bytes stay unused at its end, and n bytes of frames take
// at most n*C/(C-f) + f, written spread(n) + f. L is the bytes that may be needed at the same time.
//
//   - Copying once round, all segments but the active one, takes spread(L) + f. So afterwards at least S*C - C - spread(L) - f are free.
//   - On the way, before any segment is won, at most spread(L) - L + C + f are taken beyond what was freed (C: the segment under way).
//     These bytes are the trimmer's: nobody else is let in unless they stay free ("copying").
//   - A control record (stable values, checkpoint, reset, truncation, trim, drop) is let in when it leaves "copying", entries when they
//     leave "control" = copying + 3f: one largest control record is always let in where entries no longer are.
//   - L is chosen so that after one round control + f are free. So whoever waits for free bytes waits for one round at most: control
//     records cannot use up what the trimmer needs, however many are written, and the log never fails for want of room.
//   - L holds because it is counted before anything is let in: 512 bytes for each group's stable values, of the rest 7/8 for entries
//     (mayHoldLocked says how groups share it) and all for checkpoints. One that would take more than there is waits, and is refused
//     (ErrWALFull) after the write deadline, with nothing written; one that frees what it takes never waits for that. So stable values
//     are never refused, which raft would not survive, and neither are checkpoints no larger than what they replace.
//     (With more than L/512 groups, half a million by default, this no longer holds; long before, OpenWAL warns.)
//
// What is let in is counted until it is written, so this holds for any number of writers. S counts the files that are there: a disk that
// has no room for another makes L smaller, and nothing else. OpenWAL makes as many as two appends need, and refuses fewer or smaller ones.
