package fsm

import (
	"encoding/binary"

	"raftmq/message"
	"raftmq/store"
)

// What a group could not handle is stored once more: to come later in its retries, or
// among its dead letters. Who asks twice, since an answer was lost, says so by giving the
// delivery the same number, and finds it done. Who gives none, or another, has the message
// stored unless it is still to come, or lies among the dead letters, so that nothing is
// lost by it.

// PutBack is a message that a group puts back.
type PutBack struct {
	Group string
	// Source is the position of the record that the group was given.
	Source store.Position
	// Delivery is the same if it is asked again for one delivery of it; 0: not said.
	Delivery uint64
	DueMs    int64
	Record   []byte // one of the group's retries or dead letters, as it is to be stored
}

// PutBacksResult answers a command of put-backs, in its order: Stored, Duplicate, or
// Malformed.
type PutBacksResult struct{ Items []Status }

// PutBackHead is the most that a PutBack takes in a command beside its record.
const PutBackHead = 2 + maxName + 8 + 8 + 8 + 4

// EncodePutBacks appends to dst the command that puts messages back.
func EncodePutBacks(dst []byte, atMs int64, items []PutBack) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(appendCommand(dst, kindPutBack, atMs), uint32(len(items)))
	for i := range items {
		p := &items[i]
		dst = appendText(dst, p.Group)
		dst = be.AppendUint64(dst, uint64(p.Source))
		dst = be.AppendUint64(dst, p.Delivery)
		dst = be.AppendUint64(dst, uint64(p.DueMs))
		dst = be.AppendUint32(dst, uint32(len(p.Record)))
		dst = append(dst, p.Record...)
	}
	return dst
}

// Size is what is remembered of a put-back, in bytes.
func (p *PutBack) Size() int { return putBackSize + textSize(p.Group) }

// PutBackRoom reports whether p can be remembered at the time nowMs beside flying bytes of
// others that are on their way here, without one being forgotten that is younger than
// PutBackWindow; or is remembered already. Who leads asks before it proposes. It may be asked
// beside Apply.
func (m *PartitionMachine) PutBackRoom(p *PutBack, nowMs int64, flying int) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.putBacks.has(putBackDelivery{putBackKey{p.Group, p.Source}, p.Delivery}) || m.putBacks.youngBy(nowMs)+flying+p.Size() <= m.putBacks.budget
}

// parsedPutBack is a PutBack of an entry; its record is m.places[place].
type parsedPutBack struct {
	key      putBackKey
	delivery uint64
	due      int64
	place    int // -1: the record is none of the group's
	dead     bool
}

// parsePutBacks reads a command of put-backs, and the places of its records.
func (m *PartitionMachine) parsePutBacks(data []byte) (items []parsedPutBack, err error) {
	m.places = m.places[:0]
	r := &reader{b: data[commandHead:]}
	for range r.count(1 + 8 + 8 + 8 + 4) {
		p := parsedPutBack{key: putBackKey{r.text(), store.Position(r.u64())}, delivery: r.u64(), due: int64(r.u64()), place: -1}
		n := uint64(r.u32())
		at := len(data) - len(r.b)
		b := r.take(n)
		if r.err != nil {
			return nil, r.err
		}
		it := parsedItem{from: len(m.places), count: 1}
		ok := m.parseRecords(&it, b, at) && p.key.legal()
		p.dead = ok && it.queue.Topic == message.DLQTopic(p.key.group)
		if ok && (p.dead || it.queue.Topic == message.RetryTopic(p.key.group)) {
			p.place = it.from
		} else {
			m.places = m.places[:it.from]
		}
		items = append(items, p)
	}
	return items, r.end()
}

// putBack applies a command of put-backs.
func (m *PartitionMachine) putBack(e store.Entry) (PutBacksResult, error) {
	items, err := m.parsePutBacks(e.Data)
	if err != nil {
		return PutBacksResult{}, err
	}
	res, stored, ops := m.putBacksOf(items)
	_, err = m.store.AppendTimers(e, m.now, stored, ops)
	return res, err
}

// putBacksOf decides on each item, and says what is stored of them now, and what later.
func (m *PartitionMachine) putBacksOf(items []parsedPutBack) (res PutBacksResult, stored []store.Place, ops []store.TimerOp) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.putBacks.expire(m.now)
	m.putBacks.grow(m.now)
	clear(m.ends)
	res = PutBacksResult{Items: make([]Status, len(items))}
	base := m.store.Last().Position + store.FrameData
	for i, x := range items {
		if x.place < 0 {
			res.Items[i] = Malformed
			continue
		}
		if m.putBackDone(x) {
			res.Items[i] = Duplicate
			continue
		}
		p := m.places[x.place]
		done := putBack{key: x.key, delivery: x.delivery, at: m.now, queue: notDead}
		if x.due > m.now {
			ops = append(ops, store.TimerOp{DueMs: x.due, Start: p.Start, Size: p.Size})
			done.due, done.place = x.due, uint64(base)+uint64(p.Start)
		} else {
			end, ok := m.ends[p.Queue]
			if !ok {
				_, end = m.store.Bounds(p.Queue)
			}
			m.ends[p.Queue] = end + 1
			stored = append(stored, p)
			if x.dead {
				done.queue, done.place = p.Queue.ID, uint64(end)
			}
		}
		m.putBacks.set(done)
	}
	return res, stored, ops
}

// putBackDone reports whether x is done: it was asked before for this delivery; or the
// message is still to come; or it lies where x would have it, among the dead letters, and
// was not taken out. How far the log was trimmed is not asked, since replicas that start
// elsewhere differ in it meanwhile; a dead letter lies behind the message that it was.
func (m *PartitionMachine) putBackDone(x parsedPutBack) bool {
	p, ok := m.putBacks.get(x.key)
	switch {
	case !ok:
		return false
	case m.putBacks.has(putBackDelivery{x.key, x.delivery}), p.due > m.now:
		return true
	case !x.dead || p.queue == notDead:
		return false
	}
	letter := gap{message.Offset(p.place), message.Offset(p.place) + 1}
	return !m.buried.covers(groupQueue{x.key.group, message.Queue{Topic: message.DLQTopic(x.key.group), ID: p.queue}}, letter)
}
