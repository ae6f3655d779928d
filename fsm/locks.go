package fsm

import (
	"encoding/binary"

	"raftmq/message"
)

const (
	// lockBytes bounds the encoding of a partition's locks; beyond it a lock that
	// is not there yet is not given.
	lockBytes = 768 << 10
	lockSize  = 8 + 8
	// maxTTL keeps a lock from outliving everyone: an hour.
	maxTTL = 60 * 60 * 1000
)

// lock is a client's hold of a queue for its group.
type lock struct {
	client  string
	epoch   uint64 // index of the entry that gave it: no two holders have the same
	expires int64  // Unix ms of T
}

// locks are the groups' holds of queues, bounded in bytes.
type locks struct {
	budget int
	size   int
	table[lock]
}

func newLocks() locks { return locks{budget: lockBytes, table: newTable[lock]()} }

func sizeOfLock(k groupQueue, client string) int { return k.size() + textSize(client) + lockSize }

// LockResult says which queues the client holds now, and under which epochs. A
// queue that is not in it is held by another, or could not be kept.
type LockResult struct {
	Granted []message.Queue
	Epochs  []uint64 // of Granted; the same as before when a hold was prolonged
}

// EncodeLock asks for queues for a client, for ttlMs (at most an hour) from T.
// Queues that the client holds are prolonged.
func EncodeLock(dst []byte, atMs int64, group, client string, queues []message.Queue, ttlMs int64) []byte {
	dst = appendText(appendText(appendCommand(dst, kindLock, atMs), group), client)
	dst = binary.BigEndian.AppendUint64(dst, uint64(ttlMs))
	return appendQueues(dst, queues)
}

// EncodeUnlock gives back those of queues that the client holds.
func EncodeUnlock(dst []byte, atMs int64, group, client string, queues []message.Queue) []byte {
	dst = appendText(appendText(appendCommand(dst, kindUnlock, atMs), group), client)
	return appendQueues(dst, queues)
}

func (m *PartitionMachine) lock(r *reader, index uint64) (LockResult, error) {
	group, client := r.text(), r.text()
	ttl := min(max(int64(r.u64()), 0), maxTTL)
	var res LockResult
	for range r.count(minQueue) {
		k := groupQueue{group, r.queue()}
		if r.err != nil {
			break
		}
		if epoch, ok := m.locks.take(k, client, index, m.now, ttl); ok {
			res.Granted = append(res.Granted, k.queue)
			res.Epochs = append(res.Epochs, epoch)
		}
	}
	return res, r.end()
}

func (m *PartitionMachine) unlock(r *reader) error {
	group, client := r.text(), r.text()
	for range r.count(minQueue) {
		k := groupQueue{group, r.queue()}
		if l, ok := m.locks.get(k); ok && r.err == nil && l.client == client {
			m.locks.release(k, l)
		}
	}
	return r.end()
}

// take gives k to client unless another holds it at now.
func (s *locks) take(k groupQueue, client string, index uint64, now, ttl int64) (epoch uint64, ok bool) {
	l, there := s.get(k)
	switch {
	case !k.legal() || client == "" || len(client) > maxName:
		return 0, false
	case there && l.client == client:
		// Nobody else had it meanwhile, even if it expired.
		l.expires = max(l.expires, now+ttl)
		s.set(k, l)
		return l.epoch, true
	case there && l.expires > now:
		return 0, false
	case there:
		s.release(k, l)
	}
	size := sizeOfLock(k, client)
	if s.size+size > s.budget {
		s.expire(now)
	}
	if s.size+size > s.budget {
		return 0, false
	}
	s.size += size
	s.set(k, lock{client, index, now + ttl})
	return index, true
}

// mayCommit: a commit with an epoch is the holder's of that epoch; one without
// must not come from another than the holder while the lock lasts.
func (s *locks) mayCommit(k groupQueue, owner string, epoch uint64, now int64) bool {
	l, there := s.get(k)
	if epoch != 0 {
		return there && l.client == owner && l.epoch == epoch
	}
	return !there || l.expires <= now || l.client == owner
}

// expire drops what has expired.
func (s *locks) expire(now int64) {
	s.dropAll(func(_ groupQueue, l lock) bool { return l.expires <= now })
}

func (s *locks) dropGroup(group string) {
	s.dropAll(func(k groupQueue, _ lock) bool { return k.group == group })
}

func (s *locks) dropAll(f func(groupQueue, lock) bool) {
	s.drop(func(k groupQueue, l lock) bool {
		gone := f(k, l)
		if gone {
			s.size -= sizeOfLock(k, l.client)
		}
		return gone
	})
}

func (s *locks) release(k groupQueue, l lock) {
	s.size -= sizeOfLock(k, l.client)
	s.delete(k)
}

// encode appends: locks uint32; each, by group and queue: group, queue, client,
// epoch uint64, expiry uint64.
func (s *locks) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.rows)))
	for _, r := range s.rows {
		b = appendQueue(appendText(b, r.key.group), r.key.queue)
		b = appendText(b, r.value.client)
		b = binary.BigEndian.AppendUint64(b, r.value.epoch)
		b = binary.BigEndian.AppendUint64(b, uint64(r.value.expires))
	}
	return b
}

func (s *locks) decode(r *reader) {
	for range r.count(1 + minQueue + 1 + lockSize) {
		k := groupQueue{r.text(), r.queue()}
		l := lock{r.text(), r.u64(), int64(r.u64())}
		if r.err == nil && (!k.legal() || l.client == "" || !s.follows(k)) {
			r.fail("lock of a group")
		}
		if r.err != nil {
			return
		}
		s.size += sizeOfLock(k, l.client)
		s.set(k, l)
	}
}
