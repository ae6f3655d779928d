package fsm

import (
	"encoding/binary"
	"fmt"
	"math"

	"raftmq/message"
	"raftmq/store"
)

// Bounds of a partition's transactions.
const (
	// halfBytes bounds the encoding of pending halves: about 16,000 of groups with
	// short names.
	halfBytes = 1 << 20
	halfSize  = 8 + 8 + 8 + 4 + 4 + 8 + 8 + 4 + 1
	// halfRecords bounds the bytes of pending halves' records, which are stored again
	// before a trim takes them.
	halfRecords = 256 << 20
	// decidedBytes bounds the encoding of decisions: beyond it the oldest is forgotten.
	decidedBytes = 512 << 10
	decidedSize  = 8 + 8 + 1 + 1 + 8 + 4 + 8 + 8
	// decidedMs after it was made a decision is forgotten: a day of T.
	decidedMs = 24 * 60 * 60 * 1000
	// decidedAtOnce is how many one entry forgets, so that none takes long.
	decidedAtOnce = 1024
)

// half is a stored message that has no decision yet.
type half struct {
	pos    store.Position // of its record when it was sent: its name
	number uint64
	at     store.Position // where its record is
	size   uint32         // of the record
	crc    uint32         // CRC-32C of the record
	group  string
	born   int64 // T, Unix ms
	next   int64 // when the next check is due, T
	checks uint32
	parked bool

	older, newer *half // by position
}

// Decision is what was decided of a half.
type Decision struct {
	Verdict Verdict
	By      Decider
	Time    int64          // T, Unix ms
	Queue   int32          // of the message that was committed; -1 if none was
	Offset  message.Offset // its place in the queue
	Stored  store.Position // of its record
}

// decided is a half that has its decision.
type decided struct {
	pos    store.Position
	number uint64
	Decision
}

// transactions are the halves that wait, and decisions not long ago.
type transactions struct {
	next   uint64 // number of the next half
	budget int
	size   int   // bytes of the encoding, of both
	bytes  int64 // of the pending records
	parked int

	byPos    map[store.Position]*half
	byNumber map[uint64]store.Position // of both
	oldest   *half
	newest   *half

	decided   map[store.Position]*decided
	decisions []*decided // oldest first
}

func newTransactions() transactions {
	return transactions{budget: halfBytes, byPos: make(map[store.Position]*half), byNumber: make(map[uint64]store.Position), decided: make(map[store.Position]*decided)}
}

// empty: there has never been a half.
func (s *transactions) empty() bool { return s.next == 0 }

// pendingSize is what the encoding of pending halves takes.
func (s *transactions) pendingSize() int { return s.size - len(s.decisions)*decidedSize }

// room reports whether another half may be kept.
func (s *transactions) room(group string, record int) bool {
	return s.pendingSize()+halfSize+textSize(group) <= s.budget && s.bytes+int64(record) <= halfRecords
}

// add makes h pending, under the next number.
func (s *transactions) add(h half) *half {
	h.number = s.next
	s.next++
	return s.link(&h)
}

func (s *transactions) link(h *half) *half {
	s.size += halfSize + textSize(h.group)
	s.bytes += int64(h.size)
	if h.parked {
		s.parked++
	}
	s.byPos[h.pos], s.byNumber[h.number] = h, h.pos
	if h.older, s.newest = s.newest, h; h.older == nil {
		s.oldest = h
	} else {
		h.older.newer = h
	}
	return h
}

func (s *transactions) unlink(h *half) {
	s.size -= halfSize + textSize(h.group)
	s.bytes -= int64(h.size)
	if h.parked {
		s.parked--
	}
	delete(s.byPos, h.pos)
	if h.older == nil {
		s.oldest = h.newer
	} else {
		h.older.newer = h.newer
	}
	if h.newer == nil {
		s.newest = h.older
	} else {
		h.newer.older = h.older
	}
}

// standing says what d finds: Decided if it is the first.
func (s *transactions) standing(d *Decide) (DecideStatus, Decision) {
	if d.Verdict != Commit && d.Verdict != Rollback {
		return BadDecision, Decision{}
	}
	if x := s.decided[d.Position]; x != nil {
		if x.Verdict == d.Verdict {
			return DecidedBefore, x.Decision
		}
		return DecidedOtherwise, x.Decision
	}
	h := s.byPos[d.Position]
	switch {
	case h == nil:
		return UnknownTransaction, Decision{}
	case h.group != d.Group && (d.Group != "" || d.By != ByOperator):
		return NotItsGroup, Decision{}
	}
	return Decided, Decision{}
}

// decide ends the pending half at pos.
func (s *transactions) decide(pos store.Position, made Decision) Decision {
	h := s.byPos[pos]
	s.unlink(h)
	s.remember(&decided{pos, h.number, made})
	for len(s.decisions)*decidedSize > decidedBytes {
		s.forget()
	}
	return made
}

func (s *transactions) remember(d *decided) {
	s.size += decidedSize
	s.decided[d.pos], s.byNumber[d.number] = d, d.pos
	s.decisions = append(s.decisions, d)
}

// forget drops the oldest decision.
func (s *transactions) forget() {
	d := s.decisions[0]
	s.decisions[0] = nil
	s.decisions = s.decisions[1:]
	s.size -= decidedSize
	delete(s.decided, d.pos)
	delete(s.byNumber, d.number)
}

// expire forgets decisions of a day ago.
func (s *transactions) expire(now int64) {
	for n := 0; n < decidedAtOnce && len(s.decisions) > 0 && s.decisions[0].Time+decidedMs < now; n++ {
		s.forget()
	}
}

// check counts a check, or parks the half if limit were made.
func (s *transactions) check(c Check, next int64, limit uint32) CheckStatus {
	h := s.byPos[c.Position]
	switch {
	case h == nil || h.parked || h.checks != c.Checks:
		return NotChecked
	case h.checks >= limit:
		h.parked = true
		s.parked++
		return Parked
	}
	h.checks++
	h.next = next
	return Asked
}

// lowest is the least position that a pending record is at, or the largest there is.
func (s *transactions) lowest() store.Position {
	low := store.Position(math.MaxInt64)
	for h := s.oldest; h != nil; h = h.newer {
		low = min(low, h.at)
	}
	return low
}

// encode appends: next number uint64; halves uint32; each, by position: position,
// number, place uint64, size, CRC-32C uint32, born, next check uint64, checks uint32,
// parked uint8, group; decisions uint32; each, oldest first: position, number uint64,
// verdict, decider uint8, time uint64, queue uint32, offset, position of the committed
// record uint64.
func (s *transactions) encode(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, s.next)
	b = be.AppendUint32(b, uint32(len(s.byPos)))
	for h := s.oldest; h != nil; h = h.newer {
		b = be.AppendUint64(be.AppendUint64(b, uint64(h.pos)), h.number)
		b = be.AppendUint64(b, uint64(h.at))
		b = be.AppendUint32(be.AppendUint32(b, h.size), h.crc)
		b = be.AppendUint64(be.AppendUint64(b, uint64(h.born)), uint64(h.next))
		b = be.AppendUint32(b, h.checks)
		if h.parked {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = appendText(b, h.group)
	}
	b = be.AppendUint32(b, uint32(len(s.decisions)))
	for _, d := range s.decisions {
		b = be.AppendUint64(be.AppendUint64(b, uint64(d.pos)), d.number)
		b = append(b, byte(d.Verdict), byte(d.By))
		b = be.AppendUint32(be.AppendUint64(b, uint64(d.Time)), uint32(d.Queue))
		b = be.AppendUint64(be.AppendUint64(b, uint64(d.Offset)), uint64(d.Stored))
	}
	return b
}

func (s *transactions) decode(r *reader) {
	s.next = r.u64()
	if s.next == 0 {
		r.fail("transactions of a partition that had none")
	}
	for range r.count(halfSize + 1) {
		h := &half{pos: store.Position(r.u64()), number: r.u64(), at: store.Position(r.u64()), size: r.u32(), crc: r.u32(),
			born: int64(r.u64()), next: int64(r.u64()), checks: r.u32()}
		parked := r.u8()
		h.parked, h.group = parked == 1, r.text()
		if r.err == nil && (parked > 1 || h.group == "" || len(h.group) > maxName || h.pos < 0 || h.at < 0 ||
			h.number >= s.next || s.newest != nil && (h.pos <= s.newest.pos || h.number <= s.newest.number)) {
			r.fail("half")
		}
		if r.err != nil {
			return
		}
		s.link(h)
	}
	for range r.count(decidedSize) {
		d := &decided{pos: store.Position(r.u64()), number: r.u64(), Decision: Decision{Verdict: Verdict(r.u8()), By: Decider(r.u8()), Time: int64(r.u64()),
			Queue: int32(r.u32()), Offset: message.Offset(r.u64()), Stored: store.Position(r.u64())}}
		_, twice := s.byNumber[d.number]
		if n := len(s.decisions); r.err == nil && (twice || s.byPos[d.pos] != nil || s.decided[d.pos] != nil || d.number >= s.next ||
			d.Verdict != Commit && d.Verdict != Rollback || d.By < ByProducer || d.By > ByOperator || n > 0 && d.Time < s.decisions[n-1].Time) {
			r.fail("decision")
		}
		if r.err != nil {
			return
		}
		s.remember(d)
	}
}

// sameOffset is an error unless the store gave the offset that was counted.
func sameOffset(item int, counted, given message.Offset) error {
	if counted != given {
		return fmt.Errorf("fsm: item %d got offset %d, the store says %d", item, counted, given)
	}
	return nil
}
