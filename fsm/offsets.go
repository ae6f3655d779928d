package fsm

import (
	"encoding/binary"

	"raftmq/message"
)

const (
	// offsetBytes bounds the encoding of a partition's offsets, so that a
	// checkpoint stays small: one more is refused.
	offsetBytes = 1 << 20
	offsetSize  = 8 + 1
)

// groupOffset is where a group is in a queue.
type groupOffset struct {
	offset message.Offset
	reset  bool // an operator moved it, and the client has not been told
}

// offsets are the groups' places, bounded in bytes.
type offsets struct {
	budget int
	size   int
	table[groupOffset]
}

func newOffsets() offsets { return offsets{budget: offsetBytes, table: newTable[groupOffset]()} }

// put reports whether there was room.
func (o *offsets) put(k groupQueue, v groupOffset) bool {
	if _, there := o.get(k); !there {
		size := k.size() + offsetSize
		if o.size+size > o.budget {
			return false
		}
		o.size += size
	}
	o.set(k, v)
	return true
}

func (o *offsets) dropGroup(group string) (dropped int) {
	return o.drop(func(k groupQueue, _ groupOffset) bool {
		if k.group == group {
			o.size -= k.size() + offsetSize
		}
		return k.group == group
	})
}

// CommitOffset raises a group's offset.
type CommitOffset struct {
	Group  string
	Queue  message.Queue
	Offset message.Offset // the next to be consumed
	Owner  string         // client id; "" of a client that gave none
	Epoch  uint64         // of the owner's lock; 0: not given
}

// CommitStatus says what became of a CommitOffset.
type CommitStatus uint8

const (
	Raised       CommitStatus = iota
	NotHigher                 // the offset is there or beyond already
	PastEnd                   // the queue does not reach so far
	ResetPending              // an operator moved the group, and its client has not been told
	NotOwner                  // another holds the queue's lock, or the epoch given is not the lock's
	NoRoom                    // too many offsets are kept here
	BadCommit                 // a name that is too long, a negative offset
)

// CommitResult says what became of each offset, in the order of the command.
type CommitResult struct {
	Raised int
	Items  []CommitStatus
}

// EncodeCommit raises offsets; each is decided by itself.
func EncodeCommit(dst []byte, atMs int64, offsets []CommitOffset) []byte {
	dst = appendCommand(dst, kindCommit, atMs)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(offsets)))
	for _, o := range offsets {
		dst = appendText(dst, o.Group)
		dst = appendQueue(dst, o.Queue)
		dst = binary.BigEndian.AppendUint64(dst, uint64(o.Offset))
		dst = appendText(dst, o.Owner)
		dst = binary.BigEndian.AppendUint64(dst, o.Epoch)
	}
	return dst
}

// minCommit is the least that a CommitOffset takes.
const minCommit = 1 + minQueue + 8 + 1 + 8

// EncodeReset is an operator's move of a group, forward or back, to between 0 and
// the queue's end; what lies below its minimum is the reader's to raise. Commits
// are passed over from then on until a client reads from there. The result is the
// message.Offset that was set, or -1 if there was no room for it.
func EncodeReset(dst []byte, atMs int64, group string, q message.Queue, off message.Offset) []byte {
	dst = appendQueue(appendText(appendCommand(dst, kindReset, atMs), group), q)
	return binary.BigEndian.AppendUint64(dst, uint64(off))
}

// EncodeResetTold says that a client of the group knows of the reset to
// off. It changes nothing if the pending reset is another by then.
func EncodeResetTold(dst []byte, atMs int64, group string, q message.Queue, off message.Offset) []byte {
	dst = appendQueue(appendText(appendCommand(dst, kindResetTold, atMs), group), q)
	return binary.BigEndian.AppendUint64(dst, uint64(off))
}

// EncodeDropGroup forgets a group: its offsets and locks, what it put back, and which of its
// dead letters and retries are gone.
func EncodeDropGroup(dst []byte, atMs int64, group string) []byte {
	return appendText(appendCommand(dst, kindDropGroup, atMs), group)
}

func (m *PartitionMachine) commit(r *reader) (CommitResult, error) {
	n := r.count(minCommit)
	res := CommitResult{Items: make([]CommitStatus, 0, n)}
	for range n {
		o := CommitOffset{Group: r.text(), Queue: r.queue(), Offset: message.Offset(r.u64()), Owner: r.text(), Epoch: r.u64()}
		if r.err != nil {
			break
		}
		s := m.commitOne(&o)
		if s == Raised {
			res.Raised++
		}
		res.Items = append(res.Items, s)
	}
	return res, r.end()
}

func (m *PartitionMachine) commitOne(o *CommitOffset) CommitStatus {
	k := groupQueue{o.Group, o.Queue}
	if !k.legal() || o.Offset < 0 {
		return BadCommit
	}
	old, there := m.offsets.get(k)
	_, end := m.store.Bounds(o.Queue)
	switch {
	case !m.locks.mayCommit(k, o.Owner, o.Epoch, m.now):
		return NotOwner
	case old.reset:
		return ResetPending
	case o.Offset > end:
		return PastEnd
	case there && o.Offset <= old.offset:
		return NotHigher
	case !m.offsets.put(k, groupOffset{offset: o.Offset}):
		return NoRoom
	}
	return Raised
}

func (m *PartitionMachine) reset(r *reader) (message.Offset, error) {
	k := groupQueue{r.text(), r.queue()}
	off := message.Offset(r.u64())
	if err := r.end(); err != nil {
		return 0, err
	}
	// Not raised to the queue's minimum: a replica that began at a floor has a
	// higher one, until the trim that made the floor is applied to it too.
	_, end := m.store.Bounds(k.queue)
	off = min(max(off, 0), end)
	if !k.legal() || !m.offsets.put(k, groupOffset{offset: off, reset: true}) {
		return -1, nil
	}
	return off, nil
}

func (m *PartitionMachine) resetTold(r *reader) error {
	k := groupQueue{r.text(), r.queue()}
	off := message.Offset(r.u64())
	if err := r.end(); err != nil {
		return err
	}
	if o, _ := m.offsets.get(k); o.reset && o.offset == off {
		m.offsets.set(k, groupOffset{offset: off})
	}
	return nil
}

// encode appends: offsets uint32; each, by group and queue: group, queue, offset
// uint64, reset pending uint8.
func (o *offsets) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(o.rows)))
	for _, r := range o.rows {
		b = appendQueue(appendText(b, r.key.group), r.key.queue)
		b = binary.BigEndian.AppendUint64(b, uint64(r.value.offset))
		if r.value.reset {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

func (o *offsets) decode(r *reader) {
	for range r.count(1 + minQueue + offsetSize) {
		k := groupQueue{r.text(), r.queue()}
		v := groupOffset{message.Offset(r.u64()), r.u8() == 1}
		if r.err == nil && (!k.legal() || !o.follows(k)) {
			r.fail("offset of a group")
		}
		if r.err != nil {
			return
		}
		o.size += k.size() + offsetSize
		o.set(k, v)
	}
}
