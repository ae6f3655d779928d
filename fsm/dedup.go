package fsm

import (
	"encoding/binary"
	"sort"

	"raftmq/message"
)

// Bounds of what is remembered of producers, so that a checkpoint stays small.
const (
	// Window is how many sequences back a resend is recognised, per producer and
	// queue: more than a client keeps in flight. The last item is always in the
	// window, however many messages it has.
	Window = 1024
	// forgetMs after its last message a producer is forgotten: a day.
	forgetMs = 24 * 60 * 60 * 1000
	// forgetAtOnce is how many are forgotten by one entry, so that none takes long.
	forgetAtOnce = 1024
	// maxSequence keeps sums from running over.
	maxSequence = 1 << 62

	// dedupBytes bounds the table's encoding. Beyond it the windows of the
	// producers that were silent longest are narrowed to their last run, and then
	// the producers themselves are forgotten, each in the order of their last use.
	dedupBytes = 2 << 20
	windowSize = 16 + 4 + 8 + 8 + 8 + 4 // encoded, without queue and runs
	runSize    = 8 + 8 + 4
)

// dedup remembers the receipts of producers' last messages, per producer id and
// queue.
type dedup struct {
	budget int // bytes
	size   int // bytes of the windows' encoding
	byKey  map[producerKey]*window

	// By last use. Windows before wide hold one run; those from it on are whole.
	oldest, newest, wide *window
}

type producerKey struct {
	id    [16]byte
	queue message.Queue
}

// window is what is known of one producer in one queue. Of a sequence in
// [low, next) it is known whether it was stored; of one below low it is not.
type window struct {
	key         producerKey
	older       *window
	newer       *window
	epoch       uint32
	low, next   uint64
	usedMs      int64
	runs        []run // by sequence, in [low, next), not overlapping
	encodedSize int
}

// run says that sequences [seq, seq+n) have the offsets [off, off+n).
type run struct {
	seq uint64
	off message.Offset
	n   uint32
}

func (r run) end() uint64 { return r.seq + uint64(r.n) }

func newDedup() dedup {
	return dedup{budget: dedupBytes, byKey: make(map[producerKey]*window)}
}

// check decides on n messages from p whose first would get off. When the answer is
// Stored it has noted them; when it is Duplicate the offset is the first
// receipt's.
func (d *dedup) check(p *Producer, q message.Queue, n int, off message.Offset, nowMs int64) (Status, message.Offset) {
	if p.ID == [16]byte{} {
		return Stored, off
	}
	if p.Sequence > maxSequence {
		return SequenceGap, 0
	}
	w := d.byKey[producerKey{p.ID, q}]
	switch {
	case w == nil && p.Sequence != 0:
		return UnknownProducer, 0
	case w == nil:
		w = d.add(producerKey{p.ID, q}, p.Epoch)
	case p.Epoch < w.epoch:
		return StaleEpoch, 0
	case p.Epoch > w.epoch && p.Sequence != 0:
		return UnknownProducer, 0
	case p.Epoch > w.epoch:
		w.epoch, w.low, w.next, w.runs = p.Epoch, 0, 0, w.runs[:0]
	default:
		if s, first := w.seen(p, n); s != Stored {
			if s == Duplicate {
				d.use(w, nowMs)
			}
			return s, first
		}
	}
	w.note(run{p.Sequence, off, uint32(n)})
	d.use(w, nowMs)
	d.shrink()
	return Stored, off
}

// known returns where p's message was stored first, if that is known.
func (d *dedup) known(p *Producer, q message.Queue) (message.Offset, bool) {
	w := d.byKey[producerKey{p.ID, q}]
	if w == nil || w.epoch != p.Epoch || p.Sequence > maxSequence {
		return 0, false
	}
	s, first := w.seen(p, 1)
	return first, s == Duplicate
}

// seen says whether n messages from p, in w's epoch, are new (Stored), and if not
// what is known of them.
func (w *window) seen(p *Producer, n int) (Status, message.Offset) {
	if p.Sequence >= w.next {
		if p.Ordered && p.Sequence > w.next {
			return SequenceGap, 0
		}
		return Stored, 0
	}
	if p.Sequence < w.low {
		return UnknownBelowWindow, 0
	}
	end := p.Sequence + uint64(n)
	i := sort.Search(len(w.runs), func(i int) bool { return w.runs[i].end() > p.Sequence })
	switch {
	case i == len(w.runs) || w.runs[i].seq >= end: // a hole
		if p.Ordered {
			return SequenceGap, 0 // what comes after it is stored
		}
		return Stored, 0
	case w.runs[i].seq <= p.Sequence && end <= w.runs[i].end():
		return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq)
	}
	return UnknownBelowWindow, 0
}

// note inserts r and drops what leaves the window.
func (w *window) note(r run) {
	w.next = max(w.next, r.end())
	i := sort.Search(len(w.runs), func(i int) bool { return w.runs[i].seq > r.seq })
	if l := i - 1; l >= 0 && w.runs[l].end() == r.seq && w.runs[l].off+message.Offset(w.runs[l].n) == r.off {
		w.runs[l].n += r.n
	} else {
		w.runs = append(w.runs, run{})
		copy(w.runs[i+1:], w.runs[i:])
		w.runs[i] = r
	}
	if w.next > Window {
		w.raise(min(w.next-Window, r.seq))
	}
}

// raise cuts off what lies below low.
func (w *window) raise(low uint64) {
	w.low = max(w.low, low)
	cut := 0
	for cut < len(w.runs) && w.runs[cut].end() <= w.low {
		cut++
	}
	if cut > 0 {
		w.runs = append(w.runs[:0], w.runs[cut:]...)
	}
	if len(w.runs) > 0 && w.runs[0].seq < w.low {
		n := w.low - w.runs[0].seq
		w.runs[0] = run{w.low, w.runs[0].off + message.Offset(n), w.runs[0].n - uint32(n)}
	}
}

// expire forgets producers that have been silent for a day.
func (d *dedup) expire(nowMs int64) {
	for n := 0; n < forgetAtOnce && d.oldest != nil && d.oldest.usedMs+forgetMs < nowMs; n++ {
		d.drop(d.oldest)
	}
}

func (d *dedup) add(key producerKey, epoch uint32) *window {
	w := &window{key: key, epoch: epoch}
	d.byKey[key] = w
	d.link(w)
	return w
}

// use makes w the last used, and counts its size anew.
func (d *dedup) use(w *window, nowMs int64) {
	w.usedMs = nowMs
	if d.newest != w {
		d.unlink(w)
		d.link(w)
	}
	d.measure(w)
}

func (d *dedup) measure(w *window) {
	size := windowSize + queueSize(w.key.queue) + runSize*len(w.runs)
	d.size += size - w.encodedSize
	w.encodedSize = size
}

// shrink keeps the table in its budget; the newest window stays whole.
func (d *dedup) shrink() {
	for d.size > d.budget && d.oldest != d.newest {
		if w := d.wide; w != d.newest {
			d.wide = w.newer
			last := w.runs[len(w.runs)-1]
			w.raise(last.seq)
			w.runs = append([]run(nil), last) // give the room back
			d.measure(w)
			continue
		}
		d.drop(d.oldest)
	}
}

func (d *dedup) link(w *window) {
	w.older, w.newer = d.newest, nil
	if d.newest == nil {
		d.oldest = w
	} else {
		d.newest.newer = w
	}
	d.newest = w
	if d.wide == nil {
		d.wide = w
	}
}

func (d *dedup) unlink(w *window) {
	if d.wide == w {
		d.wide = w.newer
	}
	if w.older == nil {
		d.oldest = w.newer
	} else {
		w.older.newer = w.newer
	}
	if w.newer == nil {
		d.newest = w.older
	} else {
		w.newer.older = w.older
	}
}

func (d *dedup) drop(w *window) {
	d.unlink(w)
	d.size -= w.encodedSize
	delete(d.byKey, w.key)
}

// encode appends the table: windows uint32; each, least recently used first: id
// [16]byte, queue, epoch uint32, low, next, used uint64, runs uint32; each:
// sequence, offset uint64, length uint32.
func (d *dedup) encode(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(len(d.byKey)))
	for w := d.oldest; w != nil; w = w.newer {
		b = append(b, w.key.id[:]...)
		b = appendQueue(b, w.key.queue)
		b = be.AppendUint32(b, w.epoch)
		b = be.AppendUint64(b, w.low)
		b = be.AppendUint64(b, w.next)
		b = be.AppendUint64(b, uint64(w.usedMs))
		b = be.AppendUint32(b, uint32(len(w.runs)))
		for _, r := range w.runs {
			b = be.AppendUint64(b, r.seq)
			b = be.AppendUint64(b, uint64(r.off))
			b = be.AppendUint32(b, r.n)
		}
	}
	return b
}

func (d *dedup) decode(r *reader) {
	for range r.count(windowSize + minQueue) {
		w := &window{}
		copy(w.key.id[:], r.take(16))
		w.key.queue = r.queue()
		w.epoch, w.low, w.next, w.usedMs = r.u32(), r.u64(), r.u64(), int64(r.u64())
		n := r.count(runSize)
		w.runs = make([]run, 0, n)
		at := w.low
		for range n {
			x := run{r.u64(), message.Offset(r.u64()), r.u32()}
			if x.seq < at || x.n == 0 || x.end() < x.seq || x.end() > w.next || x.off < 0 {
				r.fail("runs of a producer")
				break
			}
			at = x.end()
			w.runs = append(w.runs, x)
		}
		if n == 0 || d.byKey[w.key] != nil || d.newest != nil && d.newest.usedMs > w.usedMs {
			r.fail("producers")
		}
		if r.err != nil {
			return
		}
		d.byKey[w.key] = w
		d.link(w)
		d.measure(w)
	}
}
