package fsm

import (
	"container/list"
	"encoding/binary"

	"raftmq/message"
)

// Bounds of what is remembered of producers, so that a checkpoint stays small.
const (
	// Window is how many sequences back a resend is recognised, per producer and
	// queue. It exceeds what a client keeps in flight.
	Window = 1024
	// forgetMs after its last message a producer is forgotten.
	forgetMs     = 24 * 60 * 60 * 1000
	maxProducers = 16 << 10
	maxRuns      = 64 << 10
)

// dedup remembers the receipts of producers' last messages.
type dedup struct {
	byKey map[producerKey]*list.Element // of *producerState
	used  *list.List                    // least recently used first
	runs  int
}

type producerKey struct {
	id    [16]byte
	queue message.Queue
}

type producerState struct {
	key    producerKey
	epoch  uint32
	next   uint64 // one past the largest sequence seen
	lastMs int64
	runs   []run // by sequence; not overlapping
}

// run says that sequences [seq, seq+n) have the offsets [off, off+n).
type run struct {
	seq uint64
	off message.Offset
	n   uint32
}

func newDedup() dedup {
	return dedup{byKey: make(map[producerKey]*list.Element), used: list.New()}
}

// check decides on n messages from p, whose first would get off, at time at; when
// the answer is Stored it has noted them.
func (d *dedup) check(p Producer, q message.Queue, n int, off message.Offset, at int64) (Status, message.Offset) {
	if p.ID == [16]byte{} {
		return Stored, off
	}
	d.forget(at)
	key := producerKey{p.ID, q}
	el := d.byKey[key]
	if el == nil {
		if p.Sequence != 0 {
			return UnknownProducer, 0
		}
		el = d.used.PushBack(&producerState{key: key, epoch: p.Epoch})
		d.byKey[key] = el
	}
	st := el.Value.(*producerState)
	switch {
	case p.Epoch < st.epoch:
		return StaleEpoch, 0
	case p.Epoch > st.epoch && p.Sequence != 0:
		return UnknownProducer, 0
	case p.Epoch > st.epoch:
		d.runs -= len(st.runs)
		st.epoch, st.next, st.runs = p.Epoch, 0, nil
	}
	d.used.MoveToBack(el)
	st.lastMs = at
	end := p.Sequence + uint64(n)
	if p.Sequence < st.next {
		low := uint64(0)
		if st.next > Window {
			low = st.next - Window
		}
		if p.Sequence < low {
			return UnknownBelowWindow, 0
		}
		for _, r := range st.runs {
			if p.Sequence >= r.seq && end <= r.seq+uint64(r.n) {
				return Duplicate, r.off + message.Offset(p.Sequence-r.seq)
			}
			if p.Sequence < r.seq+uint64(r.n) && r.seq < end {
				return UnknownBelowWindow, 0 // a part of it was stored
			}
		}
	} else if p.Ordered && p.Sequence > st.next {
		return SequenceGap, 0
	}
	before := len(st.runs)
	st.note(run{p.Sequence, off, uint32(n)})
	d.runs += len(st.runs) - before
	for d.used.Len() > maxProducers || d.runs > maxRuns {
		if d.used.Front() == el {
			break
		}
		d.drop(d.used.Front())
	}
	return Stored, off
}

// note inserts r and drops what has left the window.
func (st *producerState) note(r run) {
	st.next = max(st.next, r.seq+uint64(r.n))
	i := len(st.runs)
	for i > 0 && st.runs[i-1].seq > r.seq {
		i--
	}
	if i > 0 {
		if l := &st.runs[i-1]; l.seq+uint64(l.n) == r.seq && l.off+message.Offset(l.n) == r.off {
			l.n += r.n
			i = -1
		}
	}
	if i >= 0 {
		st.runs = append(st.runs, run{})
		copy(st.runs[i+1:], st.runs[i:])
		st.runs[i] = r
	}
	cut := 0
	for cut < len(st.runs) && st.runs[cut].seq+uint64(st.runs[cut].n)+Window <= st.next {
		cut++
	}
	if cut > 0 {
		st.runs = append(st.runs[:0], st.runs[cut:]...)
	}
}

func (d *dedup) forget(at int64) {
	for el := d.used.Front(); el != nil && el.Value.(*producerState).lastMs+forgetMs < at; el = d.used.Front() {
		d.drop(el)
	}
}

func (d *dedup) drop(el *list.Element) {
	st := el.Value.(*producerState)
	d.runs -= len(st.runs)
	delete(d.byKey, st.key)
	d.used.Remove(el)
}

func (d *dedup) encode(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(d.used.Len()))
	for el := d.used.Front(); el != nil; el = el.Next() {
		st := el.Value.(*producerState)
		b = append(b, st.key.id[:]...)
		b = appendQueue(b, st.key.queue)
		b = be.AppendUint32(b, st.epoch)
		b = be.AppendUint64(b, st.next)
		b = be.AppendUint64(b, uint64(st.lastMs))
		b = be.AppendUint32(b, uint32(len(st.runs)))
		for _, r := range st.runs {
			b = be.AppendUint64(b, r.seq)
			b = be.AppendUint64(b, uint64(r.off))
			b = be.AppendUint32(b, r.n)
		}
	}
	return b
}

func (d *dedup) decode(r *reader) {
	for range r.count(45) {
		st := &producerState{}
		copy(st.key.id[:], r.take(16))
		st.key.queue = r.queue()
		st.epoch, st.next, st.lastMs = r.u32(), r.u64(), int64(r.u64())
		for range r.count(20) {
			st.runs = append(st.runs, run{r.u64(), message.Offset(r.u64()), r.u32()})
		}
		if r.err != nil {
			return
		}
		d.runs += len(st.runs)
		d.byKey[st.key] = d.used.PushBack(st)
	}
}
