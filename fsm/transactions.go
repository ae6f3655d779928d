package fsm

import (
	"encoding/binary"
	"hash/crc32"

	"raftmq/message"
	"raftmq/store"
)

// Half is a transactional message to be stored without a place in a queue, until
// it is decided.
type Half struct {
	Producer   Producer // Ordered is not for halves
	Group      string   // of producers that may be asked
	CheckAfter uint32   // ms of T from now until the first check is due
	Record     []byte   // whole, as sent; its topic and queue are the message's
}

// HalfResult answers a half.
type HalfResult struct {
	Status Status
	// Number counts the partition's halves from 0, and Position is where the record
	// was stored first: they name the half for ever. If Stored or Duplicate.
	Number    uint64
	Position  store.Position
	StoreTime int64 // T, Unix ms; if Stored
}

// HalvesResult answers a command of halves, one by one.
type HalvesResult struct{ Items []HalfResult }

// Verdict is what became of a transaction.
type Verdict uint8

const (
	Commit   Verdict = 1
	Rollback Verdict = 2
)

// Decider is who decided.
type Decider uint8

const (
	ByProducer Decider = 1 // of itself
	ByCheck    Decider = 2 // a producer that was asked
	ByOperator Decider = 3
)

// Decide is a decision about a half.
type Decide struct {
	Position store.Position
	Verdict  Verdict
	By       Decider
	Group    string // must be the half's; an operator may leave it out
	Record   []byte // the message as it is to be stored; of Commit only
}

// DecideStatus says what became of a Decide.
type DecideStatus uint8

const (
	Decided            DecideStatus = iota // by this command
	DecidedBefore                          // alike, by an earlier one
	DecidedOtherwise                       // by an earlier one; nothing was changed
	UnknownTransaction                     // decided so long ago that it is forgotten, or never there; nothing was changed
	NotItsGroup                            // the half is another group's; nothing was changed
	BadDecision                            // no verdict, or not a whole record; nothing was changed
)

// DecideResult answers a Decide.
type DecideResult struct {
	Status   DecideStatus
	Decision Decision // the one that holds; if Decided, DecidedBefore or DecidedOtherwise
}

// DecidesResult answers a command of decisions, one by one.
type DecidesResult struct{ Items []DecideResult }

// Check notes that a half's producers are about to be asked.
type Check struct {
	Position store.Position
	Checks   uint32 // made before; another number, and the check is passed over
}

// CheckStatus says what became of a Check.
type CheckStatus uint8

const (
	Asked      CheckStatus = iota // counted: ask
	Parked                        // as many were made as are to be: the half waits for an operator
	NotChecked                    // decided, parked or counted by then, or not there
)

// CheckResult answers a command of checks, one by one.
type CheckResult struct{ Items []CheckStatus }

// Carry is a half's record to be stored again, further on in the log.
type Carry struct {
	Position store.Position
	Record   []byte // as it was stored; one that is not is passed over
}

const (
	// halfHead, decideHead and carryHead are the least that an item takes.
	halfHead   = 1 + 1 + 4 + 4
	decideHead = 8 + 1 + 1 + 1 + 4
	checkSize  = 8 + 4
	carryHead  = 8 + 4

	// HalfOverhead and DecideOverhead are the most that an item takes beside its
	// record.
	HalfOverhead   = halfHead + producerHead + 1 + maxName
	DecideOverhead = decideHead + 1 + maxName
)

// EncodeHalves stores halves, in order, each by itself.
func EncodeHalves(dst []byte, atMs int64, halves []Half) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(appendCommand(dst, kindHalf, atMs), uint32(len(halves)))
	for i := range halves {
		h := &halves[i]
		if h.Producer.ID == [16]byte{} {
			dst = append(dst, 0)
		} else {
			dst = append(append(dst, flagProducer), h.Producer.ID[:]...)
			dst = be.AppendUint64(be.AppendUint32(dst, h.Producer.Epoch), h.Producer.Sequence)
		}
		dst = be.AppendUint32(appendText(dst, h.Group), h.CheckAfter)
		dst = append(be.AppendUint32(dst, uint32(len(h.Record))), h.Record...)
	}
	return dst
}

// EncodeDecides decides halves, in order: the first decision of each holds.
func EncodeDecides(dst []byte, atMs int64, decides []Decide) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(appendCommand(dst, kindDecide, atMs), uint32(len(decides)))
	for i := range decides {
		d := &decides[i]
		dst = append(be.AppendUint64(dst, uint64(d.Position)), byte(d.Verdict), byte(d.By))
		dst = be.AppendUint32(appendText(dst, d.Group), uint32(len(d.Record)))
		dst = append(dst, d.Record...)
	}
	return dst
}

// EncodeChecks counts checks of halves, of which at most limit are made; the next is
// due after everyMs.
func EncodeChecks(dst []byte, atMs int64, everyMs, limit uint32, checks []Check) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(be.AppendUint32(appendCommand(dst, kindCheck, atMs), everyMs), limit)
	dst = be.AppendUint32(dst, uint32(len(checks)))
	for _, c := range checks {
		dst = be.AppendUint32(be.AppendUint64(dst, uint64(c.Position)), c.Checks)
	}
	return dst
}

// EncodeCarry stores records of halves again, so that what lies before may be
// trimmed. The result is the int of those that were pending.
func EncodeCarry(dst []byte, atMs int64, carries []Carry) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(appendCommand(dst, kindCarry, atMs), uint32(len(carries)))
	for _, c := range carries {
		dst = be.AppendUint32(be.AppendUint64(dst, uint64(c.Position)), uint32(len(c.Record)))
		dst = append(dst, c.Record...)
	}
	return dst
}

// lastData is where the data of the entry that is applied next will lie in the log.
func (m *PartitionMachine) lastData() store.Position {
	return m.store.Last().Position + store.FrameData
}

// parseHalves reads a command of halves, and where the record of each begins in it.
func parseHalves(data []byte) (items []Half, starts []int, err error) {
	r := &reader{b: data[commandHead:]}
	for range r.count(halfHead) {
		var h Half
		flags := r.u8()
		if flags&flagProducer != 0 {
			copy(h.Producer.ID[:], r.take(16))
			h.Producer.Epoch, h.Producer.Sequence = r.u32(), r.u64()
		}
		if flags&^flagProducer != 0 {
			r.fail("half %d: flags %#x", len(items), flags)
		}
		h.Group, h.CheckAfter = r.text(), r.u32()
		size := uint64(r.u32())
		starts = append(starts, len(data)-len(r.b))
		h.Record = r.take(size)
		if r.err != nil {
			return nil, nil, r.err
		}
		items = append(items, h)
	}
	return items, starts, r.end()
}

// half applies a command of halves: each that is new is pending from then on, under
// the position of its record.
func (m *PartitionMachine) half(e store.Entry) (HalvesResult, error) {
	items, starts, err := parseHalves(e.Data)
	if err != nil {
		return HalvesResult{}, err
	}
	base := m.lastData()
	var res HalvesResult
	m.mu.Lock()
	m.dedup.expire(m.now)
	m.txs.expire(m.now)
	for i := range items {
		res.Items = append(res.Items, m.halfOne(&items[i], base+store.Position(starts[i])))
	}
	m.mu.Unlock()
	_, err = m.store.Append(e, m.now, nil)
	return res, err
}

func (m *PartitionMachine) halfOne(h *Half, pos store.Position) HalfResult {
	q, ok := m.queueOf(h.Record)
	if !ok || h.Group == "" || len(h.Group) > maxName {
		return HalfResult{Status: Malformed}
	}
	q.ID = ^q.ID // halves are counted apart from the queue's messages
	number := message.Offset(m.txs.next)
	if !m.txs.room(h.Group, len(h.Record)) {
		if first, known := m.dedup.known(&h.Producer, q); known {
			return m.firstHalf(first)
		}
		return HalfResult{Status: TooManyHalves}
	}
	switch s, first := m.dedup.check(&h.Producer, q, 1, number, m.now); s {
	case Stored:
	case Duplicate:
		return m.firstHalf(first)
	default:
		return HalfResult{Status: s}
	}
	x := m.txs.add(half{pos: pos, at: pos, size: uint32(len(h.Record)), crc: crc32.Checksum(h.Record, castagnoli), group: h.Group, born: m.now, next: m.now + int64(h.CheckAfter)})
	return HalfResult{Status: Stored, Number: x.number, Position: pos, StoreTime: m.now}
}

// firstHalf answers a half that was sent again.
func (m *PartitionMachine) firstHalf(number message.Offset) HalfResult {
	pos, ok := m.txs.byNumber[uint64(number)]
	if !ok { // it was decided so long ago that it is forgotten
		return HalfResult{Status: UnknownBelowWindow}
	}
	return HalfResult{Status: Duplicate, Number: uint64(number), Position: pos}
}

// queueOf is the queue of b, if that is exactly one record of a legal one.
func (m *PartitionMachine) queueOf(b []byte) (q message.Queue, ok bool) {
	rec, err := message.ParseRecord(b)
	if err != nil || len(rec) != len(b) || rec.QueueID() < 0 {
		return q, false
	}
	q.ID = rec.QueueID()
	q.Topic, ok = m.intern(rec.TopicBytes())
	return q, ok
}

// parseDecide reads decisions, and into m.places the places of their records, in
// order; a record that is none has no place, and its decision no verdict.
func (m *PartitionMachine) parseDecide(data []byte) ([]Decide, error) {
	m.places = m.places[:0]
	r := &reader{b: data[commandHead:]}
	var all []Decide
	for range r.count(decideHead) {
		d := Decide{Position: store.Position(r.u64()), Verdict: Verdict(r.u8()), By: Decider(r.u8()), Group: r.text()}
		size := uint64(r.u32())
		at := len(data) - len(r.b)
		d.Record = r.take(size)
		if r.err != nil {
			return nil, r.err
		}
		switch q, ok := m.queueOf(d.Record); {
		case d.By < ByProducer || d.By > ByOperator:
			d.Verdict = 0
		case d.Verdict == Commit && ok:
			m.places = append(m.places, store.Place{Queue: q, Start: at, Size: len(d.Record), Tag: message.Record(d.Record).TagHash()})
		case d.Verdict != Rollback || size > 0:
			d.Verdict = 0
		}
		all = append(all, d)
	}
	return all, r.end()
}

// decide applies decisions: the record of a half that is committed, and was pending,
// gets its place in its queue.
func (m *PartitionMachine) decide(e store.Entry) (DecidesResult, error) {
	all, err := m.parseDecide(e.Data)
	if err != nil {
		return DecidesResult{}, err
	}
	clear(m.ends)
	base := m.lastData()
	res := DecidesResult{Items: make([]DecideResult, len(all))}
	stored, place := m.places[:0], 0
	m.mu.Lock()
	m.txs.expire(m.now)
	for i := range all {
		d, out := &all[i], &res.Items[i]
		var p store.Place
		if d.Verdict == Commit {
			p = m.places[place]
			place++
		}
		if out.Status, out.Decision = m.txs.standing(d); out.Status != Decided {
			continue
		}
		made := Decision{Verdict: d.Verdict, By: d.By, Time: m.now, Queue: -1}
		if d.Verdict == Commit {
			end, ok := m.ends[p.Queue]
			if !ok {
				_, end = m.store.Bounds(p.Queue)
			}
			m.ends[p.Queue] = end + 1
			made.Queue, made.Offset, made.Stored = p.Queue.ID, end, base+store.Position(p.Start)
			stored = append(stored, p) // over places before, never ahead
		}
		out.Decision = m.txs.decide(d.Position, made)
	}
	m.mu.Unlock()
	first, err := m.store.Append(e, m.now, stored)
	if err == nil {
		err = m.checkDecided(first, res.Items)
	}
	if cap(m.places) > keptPlaces {
		m.places = nil
	}
	return res, err
}

// checkDecided makes sure that the store counts as decisions do.
func (m *PartitionMachine) checkDecided(first []message.Offset, items []DecideResult) error {
	at := 0
	for _, d := range items {
		if d.Status == Decided && d.Decision.Verdict == Commit {
			if err := sameOffset(at, d.Decision.Offset, first[at]); err != nil {
				return err
			}
			at++
		}
	}
	return nil
}

// check applies checks.
func (m *PartitionMachine) check(r *reader) (CheckResult, error) {
	every, limit := r.u32(), r.u32()
	n := r.count(checkSize)
	res := CheckResult{Items: make([]CheckStatus, 0, n)}
	for range n {
		c := Check{store.Position(r.u64()), r.u32()}
		if r.err != nil {
			break
		}
		res.Items = append(res.Items, m.txs.check(c, m.now+int64(every), limit))
	}
	return res, r.end()
}

// carry applies a command that stores halves again.
func (m *PartitionMachine) carry(e store.Entry) (int, error) {
	r := &reader{b: e.Data[commandHead:]}
	base := m.lastData()
	carried := 0
	m.mu.Lock()
	for range r.count(carryHead) {
		pos := store.Position(r.u64())
		size := uint64(r.u32())
		at := base + store.Position(len(e.Data)-len(r.b))
		rec := r.take(size)
		if h := m.txs.byPos[pos]; r.err == nil && h != nil && uint32(len(rec)) == h.size && crc32.Checksum(rec, castagnoli) == h.crc {
			h.at = at
			carried++
		}
	}
	m.mu.Unlock()
	if err := r.end(); err != nil {
		return 0, err
	}
	_, err := m.store.Append(e, m.now, nil)
	return carried, err
}
