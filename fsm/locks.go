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
	held   map[groupQueue]lock
}

func newLocks() locks { return locks{budget: lockBytes, held: make(map[groupQueue]lock)} }

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
		if l, ok := m.locks.held[k]; ok && r.err == nil && l.client == client {
			m.locks.drop(k, l)
		}
	}
	return r.end()
}

// take gives k to client unless another holds it at now.
func (s *locks) take(k groupQueue, client string, index uint64, now, ttl int64) (epoch uint64, ok bool) {
	l, there := s.held[k]
	switch {
	case !k.legal() || client == "" || len(client) > maxName:
		return 0, false
	case there && l.client == client:
		// Nobody else had it meanwhile, even if it expired.
		l.expires = max(l.expires, now+ttl)
		s.held[k] = l
		return l.epoch, true
	case there && l.expires > now:
		return 0, false
	case there:
		s.drop(k, l)
	}
	size := sizeOfLock(k, client)
	if s.size+size > s.budget {
		s.expire(now)
	}
	if s.size+size > s.budget {
		return 0, false
	}
	s.size += size
	s.held[k] = lock{client, index, now + ttl}
	return index, true
}

// mayCommit: a commit with an epoch is the holder's of that epoch; one without
// must not come from another than the holder while the lock lasts.
func (s *locks) mayCommit(k groupQueue, owner string, epoch uint64, now int64) bool {
	l, there := s.held[k]
	if epoch != 0 {
		return there && l.client == owner && l.epoch == epoch
	}
	return !there || l.expires <= now || l.client == owner
}

// expire drops what has expired, in whatever order.
func (s *locks) expire(now int64) {
	for k, l := range s.held {
		if l.expires <= now {
			s.drop(k, l)
		}
	}
}

func (s *locks) drop(k groupQueue, l lock) {
	s.size -= sizeOfLock(k, l.client)
	delete(s.held, k)
}

func (s *locks) dropGroup(group string) {
	for k, l := range s.held {
		if k.group == group {
			s.drop(k, l)
		}
	}
}

// encode appends: locks uint32; each, by group and queue: group, queue, client,
// epoch uint64, expiry uint64.
func (s *locks) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.held)))
	for _, k := range sortedKeys(s.held) {
		l := s.held[k]
		b = appendQueue(appendText(b, k.group), k.queue)
		b = appendText(b, l.client)
		b = binary.BigEndian.AppendUint64(b, l.epoch)
		b = binary.BigEndian.AppendUint64(b, uint64(l.expires))
	}
	return b
}

func (s *locks) decode(r *reader) {
	for range r.count(1 + minQueue + 1 + lockSize) {
		k := groupQueue{r.text(), r.queue()}
		l := lock{r.text(), r.u64(), int64(r.u64())}
		if r.err == nil && (!k.legal() || l.client == "") {
			r.fail("lock of a group")
		}
		if r.err != nil {
			return
		}
		s.size += sizeOfLock(k, l.client)
		s.held[k] = l
	}
}
