package fsm

import (
	"encoding/binary"
	"sort"

	"raftmq/message"
	"raftmq/store"
)

// groupQueue is a consumer group's place in a queue.
type groupQueue struct {
	group string
	queue message.Queue
}

func (a groupQueue) less(b groupQueue) bool {
	if a.group != b.group {
		return a.group < b.group
	}
	if a.queue.Topic != b.queue.Topic {
		return a.queue.Topic < b.queue.Topic
	}
	return a.queue.ID < b.queue.ID
}

type groupOffset struct {
	offset message.Offset
	reset  bool // an operator moved it, and the client has not been told
}

type lock struct {
	client  string
	epoch   uint64 // index of the entry that gave it
	expires int64  // Unix ms
}

// maxPlaces bounds offsets and locks of a partition, so that a checkpoint stays
// small: a commit for one more is refused.
const maxPlaces = 20_000

// CommitOffset raises a group's offset. It is passed over when it does not raise,
// lies past the end, comes from another than the queue's lock holder, or while a
// reset is pending.
type CommitOffset struct {
	Group  string
	Queue  message.Queue
	Offset message.Offset // the next to be consumed
	Owner  string         // client id; "" of a client that gave none
	Epoch  uint64         // of the owner's lock; 0: not given
}

// CommitResult says how many offsets were raised.
type CommitResult struct{ Raised, Full int }

// LockResult says which queues the client holds now.
type LockResult struct {
	Granted []message.Queue
	Epoch   uint64
}

// DigestResult is the digest of the log through an entry.
type DigestResult struct {
	Mark   store.Mark
	Digest uint64
}

func EncodeCommit(dst []byte, atMs int64, offsets []CommitOffset) []byte {
	offsets = append([]CommitOffset(nil), offsets...)
	sort.Slice(offsets, func(i, j int) bool {
		return groupQueue{offsets[i].Group, offsets[i].Queue}.less(groupQueue{offsets[j].Group, offsets[j].Queue})
	})
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

// EncodeReset is an operator's move of a group, forward or back, into the queue's
// bounds.
func EncodeReset(dst []byte, atMs int64, group string, q message.Queue, off message.Offset) []byte {
	dst = appendCommand(dst, kindReset, atMs)
	dst = appendQueue(appendText(dst, group), q)
	return binary.BigEndian.AppendUint64(dst, uint64(off))
}

// EncodeResetTold says that a client of the group has been told of the reset.
func EncodeResetTold(dst []byte, atMs int64, group string, q message.Queue) []byte {
	return appendQueue(appendText(appendCommand(dst, kindResetTold, atMs), group), q)
}

// EncodeLock asks for queues for a client, for ttlMs from atMs.
func EncodeLock(dst []byte, atMs int64, group, client string, queues []message.Queue, ttlMs int64) []byte {
	dst = appendText(appendText(appendCommand(dst, kindLock, atMs), group), client)
	dst = binary.BigEndian.AppendUint64(dst, uint64(ttlMs))
	return appendQueues(dst, queues)
}

func EncodeUnlock(dst []byte, atMs int64, group, client string, queues []message.Queue) []byte {
	dst = appendText(appendText(appendCommand(dst, kindUnlock, atMs), group), client)
	return appendQueues(dst, queues)
}

// EncodeTrim drops what lies below floor.
func EncodeTrim(dst []byte, atMs int64, floor store.Position) []byte {
	return binary.BigEndian.AppendUint64(appendCommand(dst, kindTrim, atMs), uint64(floor))
}

// EncodeDigest asks each replica for its digest through the entry before this.
func EncodeDigest(dst []byte, atMs int64) []byte { return appendCommand(dst, kindDigest, atMs) }

func appendQueues(dst []byte, queues []message.Queue) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(queues)))
	for _, q := range queues {
		dst = appendQueue(dst, q)
	}
	return dst
}

func (m *PartitionMachine) commit(r *reader) (CommitResult, error) {
	var res CommitResult
	for range r.count(23) {
		o := CommitOffset{Group: r.text(), Queue: r.queue(), Offset: message.Offset(r.u64()), Owner: r.text(), Epoch: r.u64()}
		if r.err != nil {
			break
		}
		k := groupQueue{o.Group, o.Queue}
		old, there := m.offsets[k]
		_, end := m.store.Bounds(o.Queue)
		l, locked := m.locks[k]
		switch {
		case o.Offset < 0, there && (old.reset || o.Offset <= old.offset), o.Offset > end:
		case locked && l.expires > m.now && o.Owner != l.client, locked && o.Epoch != 0 && o.Epoch != l.epoch:
		case !there && len(m.offsets) >= maxPlaces:
			res.Full++
		default:
			m.offsets[k] = groupOffset{offset: o.Offset}
			res.Raised++
		}
	}
	return res, r.end()
}

func (m *PartitionMachine) reset(r *reader) (message.Offset, error) {
	k := groupQueue{r.text(), r.queue()}
	off := message.Offset(r.u64())
	if err := r.end(); err != nil {
		return 0, err
	}
	lo, hi := m.store.Bounds(k.queue)
	off = min(max(off, lo), hi)
	if _, there := m.offsets[k]; there || len(m.offsets) < maxPlaces {
		m.offsets[k] = groupOffset{offset: off, reset: true}
	}
	return off, nil
}

func (m *PartitionMachine) resetTold(r *reader) error {
	k := groupQueue{r.text(), r.queue()}
	if err := r.end(); err != nil {
		return err
	}
	if o, ok := m.offsets[k]; ok {
		o.reset = false
		m.offsets[k] = o
	}
	return nil
}

func (m *PartitionMachine) lock(r *reader, index uint64) (LockResult, error) {
	group, client, ttl := r.text(), r.text(), int64(r.u64())
	res := LockResult{Epoch: index}
	for range r.count(5) {
		k := groupQueue{group, r.queue()}
		if r.err != nil {
			break
		}
		l, there := m.locks[k]
		switch {
		case there && l.client == client:
			l.expires = m.now + ttl
		case there && l.expires > m.now:
			continue
		case !there && len(m.locks) >= maxPlaces:
			continue
		default:
			l = lock{client, index, m.now + ttl}
		}
		m.locks[k] = l
		res.Granted = append(res.Granted, k.queue)
	}
	return res, r.end()
}

func (m *PartitionMachine) unlock(r *reader) error {
	group, client := r.text(), r.text()
	for range r.count(5) {
		k := groupQueue{group, r.queue()}
		if l, ok := m.locks[k]; ok && r.err == nil && l.client == client {
			delete(m.locks, k)
		}
	}
	return r.end()
}

func sortedKeys[V any](m map[groupQueue]V) []groupQueue {
	ks := make([]groupQueue, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i].less(ks[j]) })
	return ks
}
