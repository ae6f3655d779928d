package fsm

import (
	"encoding/binary"

	"github.com/hashicorp/raft"

	"raftmq/message"
	"raftmq/store"
)

// What waits for its time is a record in the commit log and in no queue, and a key in
// the store's index: the time, and where the record lay first, which is its identity
// for ever. T decides everything: a record whose time is not above T is no timer but a
// message; one that waits can be taken back until T reaches its time; from then on it
// is due and is to come, in the order of keys. The leader puts what is due into
// entries by value, each from where the one before ended, and the cursor is the key
// of the last that came: what it is past has come, once; what it is not has not.
// So nothing can be added, or taken back, between what a leader saw and what an
// entry of its says, and no index is read to apply one.

// timers is the state of a partition's timers; the index is the store's.
type timers struct {
	cursor store.TimerKey // what is not above has come, or was taken back
	recall uint64         // index of the last entry that took one back
}

// empty: nothing has come and nothing was taken back.
func (t *timers) empty() bool { return *t == (timers{}) }

// encode appends: due of the cursor int64, its identity uint64, recall uint64.
func (t *timers) encode(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendKey(b, t.cursor), t.recall)
}

func (t *timers) decode(r *reader) {
	t.cursor = r.timerKey()
	t.recall = r.u64()
}

func appendKey(dst []byte, k store.TimerKey) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.DueMs))
	return binary.BigEndian.AppendUint64(dst, uint64(k.ID))
}

func (r *reader) timerKey() store.TimerKey {
	return store.TimerKey{DueMs: int64(r.u64()), ID: store.Position(r.u64())}
}

const keySize = 16

// Delayed is an item that is to be stored at DueMs.
type Delayed struct {
	Item  // of one record
	DueMs int64
}

// DelayedResult answers a Delayed.
type DelayedResult struct {
	// ItemResult: of one whose time was not above T all is said; of one that waits
	// (Stored or Duplicate) Offset is 0, and Physical is where it lies, by which it is
	// known until it comes.
	ItemResult
	Waits bool
}

// DelayResult answers a delay command.
type DelayResult struct{ Items []DelayedResult }

// waitingOffset marks, in a producer's window, a message that was stored to wait: below
// it is its position.
const waitingOffset = message.Offset(1) << 60

// EncodeDelay appends to dst the command that stores items, each when its time has
// come, proposed at atMs.
func EncodeDelay(dst []byte, atMs int64, items []Delayed) []byte {
	dst = appendCommand(dst, kindDelay, atMs)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(items)))
	for i := range items {
		dst = binary.BigEndian.AppendUint64(dst, uint64(items[i].DueMs))
		dst = appendItem(dst, &items[i].Item)
	}
	return dst
}

// parseDelay is parseAppend of a delay command, and of its items' times.
func (m *PartitionMachine) parseDelay(data []byte) (due []int64, err error) {
	m.items, m.places = m.items[:0], m.places[:0]
	r := reader{b: data[commandHead:]}
	for range r.count(8 + itemHead) {
		at := int64(r.u64())
		if m.parseItem(&r, len(data)); r.err != nil {
			return nil, r.err
		}
		due = append(due, at)
		if it := &m.items[len(m.items)-1]; !it.bad && it.to-it.from != 1 {
			it.bad = true
			m.places = m.places[:it.from]
			it.to = it.from
		}
	}
	return due, r.end()
}

// delay applies a delay command.
func (m *PartitionMachine) delay(e store.Entry) (DelayResult, error) {
	due, err := m.parseDelay(e.Data)
	if err != nil {
		return DelayResult{}, err
	}
	m.dedup.expire(m.now)
	clear(m.ends)
	res := DelayResult{Items: make([]DelayedResult, len(m.items))}
	base := m.store.Last().Position + store.FrameData
	var ops []store.TimerOp
	stored := m.places[:0]
	for i := range m.items {
		it, out := &m.items[i], &res.Items[i]
		out.Count = it.count
		if it.bad {
			out.Status = Malformed
			continue
		}
		p := m.places[it.from]
		pos := base + store.Position(p.Start)
		end, ok := m.ends[it.queue]
		if !ok {
			_, end = m.store.Bounds(it.queue)
		}
		out.Waits = due[i] > m.now
		next := end
		if out.Waits {
			next = waitingOffset | message.Offset(pos)
		}
		out.Status, out.Offset = m.dedup.check(&it.producer, it.queue, 1, next, m.now)
		if out.Waits = out.Offset >= waitingOffset; out.Waits { // of a duplicate it counts what was decided first
			pos, out.Offset = store.Position(out.Offset&^waitingOffset), 0
		}
		switch {
		case out.Status != Stored && !(out.Status == Duplicate && out.Waits):
			continue
		case out.Status == Duplicate:
		case out.Waits:
			ops = append(ops, store.TimerOp{DueMs: due[i], Start: p.Start, Size: p.Size})
		default:
			m.ends[it.queue] = end + 1
			stored = append(stored, p)
		}
		out.Physical, out.StoreTime = []int64{message.PhysicalOffset(m.number, int64(pos))}, m.now
	}
	_, err = m.store.AppendTimers(e, m.now, stored, ops)
	return res, err
}

// DueOf returns when what was accepted to wait at a position was to come, also if it has
// come or was taken back. store.ErrNotFound: the log is trimmed beyond it, or nothing was
// accepted there by a delay command.
func (m *PartitionMachine) DueOf(at store.Position) (dueMs int64, err error) {
	index, _, err := m.store.EntryAround(at)
	if err != nil {
		return 0, err
	}
	e, err := m.store.Entry(index)
	if err != nil {
		return 0, err
	}
	if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead || kind(e.Data[0]) != kindDelay {
		return 0, store.ErrNotFound
	}
	p := &PartitionMachine{topics: make(map[string]string)} // Apply has the room of m
	due, err := p.parseDelay(e.Data)
	if err != nil {
		return 0, err
	}
	for i, it := range p.items {
		if it.bad {
			continue
		}
		x := p.places[it.from]
		rec := message.Record(e.Data[x.Start : x.Start+x.Size])
		if rec.QueueOffset() < 0 && rec.PhysicalOffset() == m.PhysicalOffset(at) {
			return due[i], nil
		}
	}
	return 0, store.ErrNotFound
}

// Due is a record that has waited, for its queue or for another place.
type Due struct {
	Key    store.TimerKey
	Record []byte // as it lies in the log
}

// FireResult answers a fire or a keep command.
type FireResult struct {
	// Done is false if nothing was done: the cursor was elsewhere, one of the records is
	// not due, not in order or not whole; or, of keep, something was taken back since.
	Done  bool
	Count int // records that were stored
}

func appendDues(dst []byte, dues []Due) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(dues)))
	for _, d := range dues {
		dst = appendKey(dst, d.Key)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(d.Record)))
		dst = append(dst, d.Record...)
	}
	return dst
}

// DueHead is what a Due takes in a command beside its record.
const DueHead = keySize + 4

// EncodeFire appends to dst the command that puts into their queues the records that
// have waited behind from up to and with the last of dues, which must be all of them,
// in order.
func EncodeFire(dst []byte, atMs int64, from store.TimerKey, dues []Due) []byte {
	return appendDues(appendKey(appendCommand(dst, kindFire, atMs), from), dues)
}

// EncodeKeep appends to dst the command that has records, which wait, lie where the
// command does, so that the log can be trimmed: they are as the leader saw them when
// it had applied seen.
func EncodeKeep(dst []byte, atMs int64, seen uint64, dues []Due) []byte {
	return appendDues(binary.BigEndian.AppendUint64(appendCommand(dst, kindKeep, atMs), seen), dues)
}

// dues reads what appendDues wrote; ok: all are whole records of legal queues. Their
// places are in m.places.
func (m *PartitionMachine) dues(r *reader, size int) (keys []store.TimerKey, ok bool) {
	m.places = m.places[:0]
	ok = true
	for range r.count(DueHead) {
		key := r.timerKey()
		n := uint64(r.u32())
		at := size - len(r.b)
		it := parsedItem{from: len(m.places), count: 1}
		b := r.take(n)
		if r.err != nil {
			return nil, false
		}
		if !m.parseRecords(&it, b, at) {
			ok = false
			m.places = m.places[:it.from]
			continue
		}
		keys = append(keys, key)
	}
	return keys, ok
}

// fire applies a fire command.
func (m *PartitionMachine) fire(e store.Entry) (res FireResult, err error) {
	r := &reader{b: e.Data[commandHead:]}
	from := r.timerKey()
	keys, ok := m.dues(r, len(e.Data))
	if err := r.end(); err != nil {
		return res, err
	}
	res.Done = ok && from == m.timers.cursor
	last := from
	for _, k := range keys {
		res.Done = res.Done && k.Compare(last) > 0 && k.DueMs <= m.now
		last = k
	}
	if !res.Done {
		_, err := m.store.Append(e, m.now, nil)
		return res, err
	}
	if _, err := m.store.Append(e, m.now, m.places); err != nil {
		return res, err
	}
	m.mu.Lock()
	m.timers.cursor = last
	m.mu.Unlock()
	m.store.ForgetTimers(last)
	res.Count = len(keys)
	return res, nil
}

// keep applies a keep command.
func (m *PartitionMachine) keep(e store.Entry) (res FireResult, err error) {
	r := &reader{b: e.Data[commandHead:]}
	seen := r.u64()
	keys, ok := m.dues(r, len(e.Data))
	if err := r.end(); err != nil {
		return res, err
	}
	res.Done = ok && m.timers.recall <= seen
	var ops []store.TimerOp
	for i, k := range keys {
		if p := m.places[i]; res.Done && k.Compare(m.timers.cursor) > 0 && k.ID > 0 {
			ops = append(ops, store.TimerOp{DueMs: k.DueMs, ID: k.ID, Start: p.Start, Size: p.Size})
		}
	}
	res.Count = len(ops)
	_, err = m.store.AppendTimers(e, m.now, nil, ops)
	return res, err
}

// EncodeRecall appends to dst the command that takes back what waits under keys.
func EncodeRecall(dst []byte, atMs int64, keys []store.TimerKey) []byte {
	dst = appendCommand(dst, kindRecall, atMs)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(keys)))
	for _, k := range keys {
		dst = appendKey(dst, k)
	}
	return dst
}

// RecallResult says of each key whether it will not come: it does not if its time is
// above T; else it has come, or will. Whether there was something under it the command
// does not ask.
type RecallResult struct{ Items []bool }

// recalls decides on the keys of a recall command.
func (m *PartitionMachine) recalls(data []byte) (res RecallResult, ops []store.TimerOp, err error) {
	r := &reader{b: data[commandHead:]}
	for range r.count(keySize) {
		k := r.timerKey()
		ok := k.DueMs > m.now && k.ID > 0
		if ok {
			ops = append(ops, store.TimerOp{DueMs: k.DueMs, ID: k.ID})
		}
		res.Items = append(res.Items, ok)
	}
	return res, ops, r.end()
}

// recall applies a recall command.
func (m *PartitionMachine) recall(e store.Entry) (RecallResult, error) {
	res, ops, err := m.recalls(e.Data)
	if err != nil {
		return RecallResult{}, err
	}
	if _, err := m.store.AppendTimers(e, m.now, nil, ops); err != nil {
		return res, err
	}
	if len(ops) > 0 {
		m.mu.Lock()
		for _, op := range ops {
			m.putBacks.takenBack(op.ID)
		}
		m.timers.recall = e.Index
		m.mu.Unlock()
	}
	return res, nil
}

// EncodeTick appends to dst a command that only carries the time.
func EncodeTick(dst []byte, atMs int64) []byte {
	return binary.BigEndian.AppendUint32(appendCommand(dst, kindRecall, atMs), 0)
}

// Timers returns the key up to which all that waited has come, and T: what is above
// the one, and not above the other, is due.
func (m *PartitionMachine) Timers() (cursor store.TimerKey, now int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.timers.cursor, m.now
}

// TimerOps returns a function that finds what an entry of a partition did to timers:
// for a store.Mender, which gives it the entries of a segment in order, and T before
// the first; and may begin again at an earlier one. It is not safe for concurrent use.
func TimerOps() func(e store.Entry, at store.Position, lastMs int64) ([]store.TimerOp, error) {
	m := &PartitionMachine{topics: make(map[string]string)}
	before := store.Position(-1)
	return func(e store.Entry, at store.Position, lastMs int64) (ops []store.TimerOp, err error) {
		if at <= before { // what T was at the end is none of what it was there
			m.now = 0
		}
		before = at
		m.now = max(m.now, lastMs)
		if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead {
			return nil, nil
		}
		m.now = max(m.now, int64(binary.BigEndian.Uint64(e.Data[2:])))
		// What was accepted to wait is stamped with the place where it lies.
		accepted := func(p store.Place) bool {
			r := message.Record(e.Data[p.Start : p.Start+p.Size])
			_, pos := message.SplitPhysicalOffset(r.PhysicalOffset())
			return r.QueueOffset() < 0 && store.Position(pos) == (at+store.Position(p.Start))&message.MaxPosition
		}
		switch kind(e.Data[0]) {
		case kindDelay:
			due, err := m.parseDelay(e.Data)
			if err != nil {
				return nil, err
			}
			for i, it := range m.items {
				if !it.bad && accepted(m.places[it.from]) {
					p := m.places[it.from]
					ops = append(ops, store.TimerOp{DueMs: due[i], Start: p.Start, Size: p.Size})
				}
			}
		case kindPutBack:
			items, err := m.parsePutBacks(e.Data)
			if err != nil {
				return nil, err
			}
			for _, x := range items {
				if x.place >= 0 && accepted(m.places[x.place]) {
					p := m.places[x.place]
					ops = append(ops, store.TimerOp{DueMs: x.due, Start: p.Start, Size: p.Size})
				}
			}
		case kindKeep:
			r := &reader{b: e.Data[commandHead:]}
			r.u64()
			keys, ok := m.dues(r, len(e.Data))
			if err := r.end(); err != nil {
				return nil, err
			}
			for i, k := range keys {
				if p := m.places[i]; ok && accepted(p) {
					ops = append(ops, store.TimerOp{DueMs: k.DueMs, ID: k.ID, Start: p.Start, Size: p.Size})
				}
			}
		case kindRecall:
			_, ops, err = m.recalls(e.Data)
		}
		return ops, err
	}
}
