package fsm

import (
	"cmp"
	"encoding/binary"
	"slices"

	"raftmq/message"
	"raftmq/store"
)

// What is taken out of a group's dead letters or retries, to be handled again, to be
// dropped, or to be kept beyond a trim at the queue's end, stays in its queue, whose
// offsets never change; the state remembers which are gone, so that each is taken out
// once.

const (
	// buriedBytes bounds the encoding of what is remembered: one gap more is refused.
	buriedBytes = 256 << 10
	gapSize     = 8 + 8
)

// gap is a range of offsets, from included, to not.
type gap struct{ from, to message.Offset }

// buried are the offsets that are gone, by group and queue of its dead letters. Gaps are
// sorted and do not touch.
type buried struct {
	budget int
	size   int
	table[[]gap]
}

func newBuried() buried { return buried{budget: buriedBytes, table: newTable[[]gap]()} }

func (b *buried) empty() bool { return len(b.rows) == 0 }

// covers reports whether all of x is gone.
func (b *buried) covers(k groupQueue, x gap) bool {
	gaps, _ := b.get(k)
	for _, g := range gaps {
		if g.from <= x.from && x.to <= g.to {
			return true
		}
	}
	return false
}

// add says that x is gone; false: there is no room.
func (b *buried) add(k groupQueue, x gap) bool {
	old, there := b.get(k)
	gaps := make([]gap, 0, len(old)+1)
	for _, g := range old {
		if g.to < x.from || x.to < g.from {
			gaps = append(gaps, g)
			continue
		}
		x = gap{min(x.from, g.from), max(x.to, g.to)}
	}
	i, _ := slices.BinarySearchFunc(gaps, x, func(a, b gap) int { return int(min(max(a.from-b.from, -1), 1)) })
	gaps = slices.Insert(gaps, i, x)
	size := b.size + (len(gaps)-len(old))*gapSize
	if !there {
		size += k.size() + 4
	}
	if size > b.budget && size > b.size {
		return false
	}
	b.size = size
	b.set(k, gaps)
	return true
}

func (b *buried) dropGroup(group string) {
	b.drop(func(k groupQueue, gaps []gap) bool {
		if k.group == group {
			b.size -= k.size() + 4 + len(gaps)*gapSize
		}
		return k.group == group
	})
}

// encode appends: queues uint32; each, by group and queue: group, queue, gaps uint32;
// each: from, to uint64.
func (b *buried) encode(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.rows)))
	for _, r := range b.rows {
		dst = appendQueue(appendText(dst, r.key.group), r.key.queue)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.value)))
		for _, g := range r.value {
			dst = binary.BigEndian.AppendUint64(dst, uint64(g.from))
			dst = binary.BigEndian.AppendUint64(dst, uint64(g.to))
		}
	}
	return dst
}

func (b *buried) decode(r *reader) {
	for range r.count(1 + minQueue + 4) {
		k := groupQueue{r.text(), r.queue()}
		n := r.count(gapSize)
		gaps := make([]gap, 0, n)
		last := message.Offset(-1)
		for range n {
			g := gap{message.Offset(r.u64()), message.Offset(r.u64())}
			if g.from <= last || g.to <= g.from {
				r.fail("gap of dead letters")
			}
			last = g.to
			gaps = append(gaps, g)
		}
		if r.err == nil && (!k.legal() || !b.follows(k) || n == 0) {
			r.fail("dead letters of a group")
		}
		if r.err != nil {
			return
		}
		b.size += k.size() + 4 + n*gapSize
		b.set(k, gaps)
	}
}

// Unearth takes dead letters out of their queue.
type Unearth struct {
	From, To message.Offset
	// Record, if not nil, is stored in the queue that it names; then there is one offset.
	Record []byte
}

// UnearthStatus says what became of an Unearth.
type UnearthStatus uint8

const (
	TakenOut     UnearthStatus = iota
	GoneBefore                 // it was taken out before; nothing was stored
	NoDeadLetter               // the queue does not have it; nothing was stored
	NoGap                      // too many gaps are remembered; nothing was stored
	BadUnearth                 // a name, a range or a record that is not legal; nothing was stored
)

// UnearthResult answers an unearth command, in its order.
type UnearthResult struct{ Items []UnearthStatus }

const unearthHead = 8 + 8 + 4

// UnearthHead is what an Unearth takes in a command beside its record.
const UnearthHead = unearthHead

// EncodeUnearth appends to dst the command that takes dead letters of a group out of a
// queue.
func EncodeUnearth(dst []byte, atMs int64, group string, q message.Queue, items []Unearth) []byte {
	dst = appendQueue(appendText(appendCommand(dst, kindUnearth, atMs), group), q)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(items)))
	for _, u := range items {
		dst = binary.BigEndian.AppendUint64(dst, uint64(u.From))
		dst = binary.BigEndian.AppendUint64(dst, uint64(u.To))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(u.Record)))
		dst = append(dst, u.Record...)
	}
	return dst
}

// parsedUnearth is an Unearth of an entry; its record, if it has one, is
// m.places[place].
type parsedUnearth struct {
	gap
	record bool
	place  int // -1: the record is none
}

// parseUnearth reads an unearth command, and the places of its records.
func (m *PartitionMachine) parseUnearth(data []byte) (k groupQueue, items []parsedUnearth, err error) {
	m.places = m.places[:0]
	r := &reader{b: data[commandHead:]}
	k = groupQueue{r.text(), r.queue()}
	for range r.count(unearthHead) {
		u := parsedUnearth{gap: gap{message.Offset(r.u64()), message.Offset(r.u64())}, place: -1}
		n := uint64(r.u32())
		at := len(data) - len(r.b)
		b := r.take(n)
		if r.err != nil {
			return k, nil, r.err
		}
		if u.record = n > 0; u.record {
			it := parsedItem{from: len(m.places), count: 1}
			if m.parseRecords(&it, b, at) {
				u.place = it.from
			} else {
				m.places = m.places[:it.from]
			}
		}
		items = append(items, u)
	}
	return k, items, r.end()
}

// unearth applies an unearth command.
func (m *PartitionMachine) unearth(e store.Entry) (res UnearthResult, err error) {
	k, items, err := m.parseUnearth(e.Data)
	if err != nil {
		return res, err
	}
	_, end := m.store.Bounds(k.queue)
	var stored []store.Place
	m.mu.Lock()
	for _, u := range items {
		s := TakenOut
		switch {
		case !k.legal() || u.from < 0 || u.to <= u.from || u.record && (u.place < 0 || u.to != u.from+1):
			s = BadUnearth
		case u.to > end:
			s = NoDeadLetter
		case m.buried.covers(k, u.gap):
			s = GoneBefore
		case !m.buried.add(k, u.gap):
			s = NoGap
		case u.record:
			stored = append(stored, m.places[u.place])
		}
		res.Items = append(res.Items, s)
	}
	m.mu.Unlock()
	_, err = m.store.Append(e, m.now, stored)
	return res, err
}

// Buried reports whether a dead letter is still there: it was not taken out.
func (m *PartitionMachine) Buried(group string, q message.Queue, off message.Offset) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return !m.buried.covers(groupQueue{group, q}, gap{off, off + 1})
}

// Gone returns what reports which offsets of a queue of a group's were taken out, as of now;
// nil: none was.
func (m *PartitionMachine) Gone(group string, q message.Queue) func(message.Offset) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	gaps, ok := m.buried.get(groupQueue{group, q}) // which are replaced, not changed
	if !ok {
		return nil
	}
	return func(off message.Offset) bool {
		i, found := slices.BinarySearchFunc(gaps, off, func(g gap, off message.Offset) int { return cmp.Compare(g.from, off) })
		return found || i > 0 && off < gaps[i-1].to
	}
}
