// Package fsm is the deterministic meaning of a partition's log and of the
// catalogue's.
//
// It promises that replicas which apply the same entries, in whatever batches,
// with restarts from checkpoints and installed floors in between, hold the same
// bytes and give the same answers. It does not decide who may propose, does not
// know names of topics that exist (the broker checks them), and syncs nothing by
// itself.
//
// # Commands
//
// A command is one byte kind, one byte version, and fields. The meaning of a
// released (kind, version) never changes. An unknown one is an error of Apply,
// which stops the replica; so are bytes that do not add up. What merely is out of
// bounds (a name too long, an offset past the end, records that are not whole) is
// refused by a result, alike on all replicas: nothing that an encoder makes, from
// whatever input, stops a replica, as long as it fits store.MaxEntry.
//
// Integers are big-endian and of the size named; text is a uvarint length and
// bytes; queue is the topic as text and the queue id uint32. "n ×" is a count
// uint32 and that many. All of a partition's commands begin with kind, version 1
// and the proposing leader's time, Unix ms, int64:
//
//	kind              fields after the first ten bytes                      result
//	 1  append        n × item                                              AppendResult
//	 2  commit        n × (group text, queue, offset u64, owner text,       CommitResult
//	                       epoch u64)
//	 3  reset         group text, queue, offset u64                         message.Offset; -1: no room
//	 4  reset told    group text, queue, offset u64                         nil
//	 5  lock          group text, client text, ttl ms u64, n × queue        LockResult
//	 6  unlock        group text, client text, n × queue                    nil
//	 7  trim          position u64                                          nil
//	 8  digest        -                                                     DigestResult
//	 9  drop group    group text                                            int, offsets dropped
//	10  delay         n × (due i64, item)                                   DelayResult
//	11  fire          cursor key, n × (key, size u32, record)               FireResult
//	12  keep          seen u64, n × (key, size u32, record)                 FireResult
//	13  recall        n × key                                               RecallResult
//	14  half          n × half                                              HalvesResult
//	15  decide        n × (position u64, verdict u8, decider u8,            DecidesResult
//	                       group text, record bytes u32, the record)
//	16  check         every ms u32, limit u32,                              CheckResult
//	                  n × (position u64, checks u32)
//	17  carry         n × (position u64, record bytes u32, the record)      int, halves carried
//	18  unearth       group text, queue, n × (from u64, to u64, record      UnearthResult
//	                       bytes u32, the record)
//	19  put back      n × (group text, position u64, delivery u64,          PutBacksResult
//	                       due i64, record bytes u32, the record)
//
// A key is a due time, Unix ms, int64, and a position uint64.
//
// A half: flags uint8 (1: has a producer), the producer as an item's, group text,
// check after ms uint32, record bytes uint32, the record.
//
// An item: flags uint8 (1: has a producer, 2: is ordered); with a producer its id
// [16]byte, epoch uint32, sequence uint64; records uint32; their bytes uint32; the
// records, in package message's layout. The queue is in the records.
//
// The catalogue's commands, version 1 each, have their fields as JSON of the
// struct named; a field that is not known is an error like an unknown version. The
// result is a CatalogueResult:
//
//	64 bootstrap      {Cluster, Slots, Nodes}      70 subscribe       {Group, Topics}
//	65 create topic   TopicSpec                    71 put value       {Namespace, Key, Value}
//	66 update topic   TopicSpec                    72 delete value    {Namespace, Key}
//	67 delete topic   {Name}                       73 put node        Node
//	68 put group      GroupSpec                    74 put slot        Slot
//	69 delete group   {Name}                       75 feature level   {Level}
//
// Every entry of a partition, of any Raft type, becomes a frame of its store; only
// the records of items that are Stored, and of commits that are Decided, are stamped
// and get a place in a queue; those that wait for their time are stamped and get none.
//
// # Time
//
// T = max(T, the command's time) is all the time there is. It never goes back, is
// part of the state, and is the store time of records. Locks expire and producers
// are forgotten by it, when a command asks.
//
// # Determinism
//
// No clock, no random number, no map order, no batch boundary:
//   - entries are applied one by one; nothing is carried from one to the next but
//     the state;
//   - a map is only ranged over where each element is treated by itself;
//     everything encoded is kept sorted, or in the order of use;
//   - bounds are in bytes of the encoding, so they hold alike before and after a
//     restart;
//   - the log rolls to a new segment, and its floor is taken, before the entry that
//     does not fit, wherever that lies in a batch.
//
// # Timers
//
// A message whose time is above T when its entry is applied lies in the log and in no
// queue, stamped with the offset -1; the store's index has it under a key: its time,
// and the position of its record, which is its identity for ever. When T has come to
// its time it is due. The leader proposes what is due behind the cursor, by value and
// in the order of keys (fire); that moves the cursor to the last of it, so it comes
// once. What waits can be taken back (recall) until T has come to its time. What a
// trim would take it is appended again before (keep), under the same key; after that
// a replica that begins at the floor above has all that waits.
//
// # Offsets, locks, resets
//
// A commit raises a group's offset in a queue and never passes the queue's end. One
// that names an epoch counts only under the lock of that epoch and owner, also
// after it expired, until another takes it; one that names none counts unless
// another holds an unexpired lock. A lock's epoch is the index of the entry that
// gave it, so no two holders share one; asking again prolongs it under the same. An
// operator's reset sets the offset, forward or back, and passes commits over until
// a command says that a client reads from that very offset. Offsets encode to at
// most 1 MiB, locks to 768 KiB; one more is refused, expired locks make room.
//
// # Dedup
//
// Per (producer id, queue) a window of the last 1024 sequences of one epoch is
// kept, as runs of sequences whose offsets follow each other. The last item is in
// it however long it is. What an item of n messages from sequence s is answered:
//
//	no window, s > 0                          UnknownProducer
//	no window, s = 0                          Stored
//	epoch below the window's                  StaleEpoch
//	epoch above, s > 0                        UnknownProducer
//	epoch above, s = 0                        Stored, the window starts over
//	all of it in one run                      Duplicate, with the first offset
//	a part of it in a run; s below the window UnknownBelowWindow
//	ordered, and s not the next expected      SequenceGap
//	else                                      Stored
//
// Only what is answered Stored is stored by that entry. All windows together encode to at
// most 2 MiB: beyond that those unused longest are narrowed to their last run, then
// forgotten. A day of T after its last message a producer is forgotten anyway. A
// producer that is forgotten while its very first message (sequence 0) is still
// being resent would be taken for a new one: the bounds are chosen so that this
// needs over ten thousand other producers between a message and its resend.
//
// # Put-backs
//
// Of each message that a group was given and put back (the group, and the position of the
// record that it was given) the put-backs are remembered, one of each delivery, for a day of T,
// as long as all of them encode to at most 512 KiB, about 8,000; the oldest is forgotten first. One
// more is a Duplicate, and stores nothing, if it is of a delivery of theirs, if what the last one
// stored is still to come, or if both are for the dead letters and the last one's lies
// there. Else it is Stored. Each of these says that the message comes, or lies there.
//
// # Transactions
//
// A half is a stored record without a place in a queue. It is named by the position it
// got first, and by its number among the partition's halves. It is pending until the
// first decision about it; a commit has the message by value, and the same entry gives it
// its place. Later decisions are answered by the first (DecidedBefore,
// DecidedOtherwise) until it is forgotten: after a day of T, or when over 11,000 others
// followed; then, UnknownTransaction, they change nothing either. Checks are counted by
// entries, so that leaders go on where others ended; a half of which as many were made as
// are to be is parked: it waits for a decision like others, and is asked about no more.
//
// Pending halves encode to at most 1 MiB, decisions to 512 KiB, and their records have
// at most 256 MiB: one more is refused (TooManyHalves). A trim stops before the first
// record that is pending; to carry a half is to store its record again, under the same
// name. The dedup windows of halves are those of the queue whose id is the
// complement of the message's: halves are counted apart, by number.
package fsm
