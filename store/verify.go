package store

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// verifyBytes is how much Verify reads at once, and the most that pace is told.
const verifyBytes = 1 << 20

// Verify reads again, from the disk and not from memory where it can, what lies
// there: the segments from position from on, but for those not sealed and synced
// yet, with their floors and keys; then the queues, the timers and the trim file. It gives the
// first damage in each file to found, and to OnDamage, and goes on. A damaged file
// of keys is built again.
//
// After each read, of at most 1 MiB, pace is called with its bytes; it may wait. Its
// error ends Verify, as do ErrClosed and a failure that says nothing about the
// files. next is where another Verify goes on: behind the segments that were read
// whole.
//
// It runs beside everything else.
func (s *Store) Verify(ctx context.Context, from Position, pace func(ctx context.Context, bytes int) error, found func(*Damage)) (next Position, err error) {
	v := &verifier{s: s, ctx: ctx, pace: pace, found: found}
	s.mu.RLock()
	segments := s.segments[:len(s.segments)-1]
	for i, g := range segments {
		if g.synced < g.end {
			segments = segments[:i]
			break
		}
	}
	queues := slices.SortedFunc(maps.Values(s.queues), func(a, b *queue) int { return compareQueues(a.name, b.name) })
	s.mu.RUnlock()
	next = from
	for _, g := range segments {
		if g.end <= from {
			continue
		}
		for _, check := range []func(*segment) error{v.segment, v.floor, v.keys} {
			if err := v.outcome(g, check(g)); err != nil {
				return next, err
			}
		}
		next = g.end
	}
	for _, q := range queues {
		if err := v.queue(q); err != nil {
			return next, err
		}
	}
	s.mu.RLock()
	runs := s.timers.runs
	s.mu.RUnlock()
	for _, r := range runs {
		if err := v.outcome(nil, v.timers(r)); err != nil {
			return next, err
		}
	}
	_, err = s.readCut()
	return next, v.outcome(nil, err)
}

type verifier struct {
	s     *Store
	ctx   context.Context
	pace  func(ctx context.Context, bytes int) error
	found func(*Damage)
}

// outcome reports damage; what remains of err ends Verify. Of what was trimmed, or
// closed, meanwhile it reports nothing.
func (v *verifier) outcome(g *segment, err error) error {
	v.s.mu.RLock()
	closed, trimmed := v.s.closed, g != nil && g.trimmed
	v.s.mu.RUnlock()
	var d *Damage
	switch {
	case closed:
		return ErrClosed
	case err == nil, trimmed, errors.Is(err, errGone):
		return nil
	case errors.As(err, &d):
		v.found(d)
		_ = v.s.tell(d)
		return nil
	}
	return err
}

func (v *verifier) paced(total int) error {
	for total > 0 {
		n := min(total, verifyBytes)
		if err := v.pace(v.ctx, n); err != nil {
			return err
		}
		total -= n
	}
	return v.ctx.Err()
}

// segment checks the head and every frame.
func (v *verifier) segment(g *segment) error {
	f, err := v.s.disk.Open(g.name)
	if err != nil {
		return unread(g.name, 0, err)
	}
	defer f.Close()
	w := &window{v: v, f: f, name: g.name, size: int64(g.end - g.start)}
	b, err := w.at(0, segmentHead)
	if err != nil {
		return err
	}
	if err := g.checkHead(g.name, b); err != nil {
		return err
	}
	r := &reader{g: g}
	for at := g.firstFrame(); at.pos < g.end; {
		off := int64(at.pos - g.start)
		if at.pos+frameHead > g.end {
			return r.noFrame(at)
		}
		if b, err = w.at(off, frameHead); err != nil {
			return err
		}
		frame := decodeFrame(b)
		if !frame.fits(at, g.end) {
			return r.noFrame(at)
		}
		if b, err = w.at(off, int(frame.size())); err != nil {
			return err
		}
		data, padding := b[:frameHead+frame.bytes], b[frameHead+frame.bytes:]
		if !frame.check(data) || len(bytes.Trim(padding, "\x00")) > 0 {
			return r.badFrame(at)
		}
		at = place{at.index + 1, at.pos + frame.size()}
	}
	return nil
}

func (v *verifier) floor(g *segment) error {
	if g.prev.Index == 0 {
		return nil
	}
	_, b, err := v.s.readFloor(g.start)
	if err != nil {
		return err
	}
	return v.paced(len(b))
}

// keys checks the runs that are in the file, and builds it again if they are not
// what was written.
func (v *verifier) keys(g *segment) error {
	err := v.s.checkKeys(g, v.paced)
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	v.s.flushing.Lock() // it may have been built again meanwhile
	err = v.s.checkKeys(g, func(int) error { return nil })
	v.s.flushing.Unlock()
	if errors.Is(err, ErrDamaged) {
		if e := v.s.reindex(g, err); e != nil {
			v.s.log.Warn("build the index of keys again", "file", g.keys.name, "error", e)
		}
	}
	return err
}

// checkKeys reads every run of a segment's file. What is loaded tells how far they
// go; else the segment was synced before this life, with all its keys.
func (s *Store) checkKeys(g *segment, paced func(bytes int) error) error {
	s.mu.RLock()
	through := g.end
	if g.keys.loaded {
		through = g.keys.through
	}
	s.mu.RUnlock()
	if through == g.start {
		return nil
	}
	runs, _, _, err := s.readRuns(g.keys.name, g.start, through)
	if err != nil {
		return err
	}
	f, err := s.files.get(g.keys.name, 0, nil)
	if err != nil {
		return err
	}
	defer s.files.put(f)
	for _, run := range runs {
		if err := run.check(f); err != nil {
			return err
		}
		if err := paced(keyRunHead + run.count*keyEntry); err != nil {
			return err
		}
	}
	return nil
}

// queue checks the files of one queue.
func (v *verifier) queue(q *queue) error {
	s := v.s
	s.mu.RLock()
	from, to, bases := q.min, q.written, q.bases
	s.mu.RUnlock()
	for from < to {
		base, ok := s.baseOf(bases, from)
		if !ok {
			return v.outcome(nil, s.lost(q, from, s.noQueueFile(q.name, from)))
		}
		end := min(to, base+s.o.queueFile)
		if err := v.queueFile(q, base, from, end); err != nil {
			if err = v.outcome(nil, s.lost(q, end-1, err)); err != nil {
				return err
			}
		}
		from = end
	}
	return nil
}

// queueFile checks the head and the entries [from, to) of a queue's file.
func (v *verifier) queueFile(q *queue, base, from, to message.Offset) error {
	name := queueName(v.s.dir, q.name, base)
	f, err := v.s.disk.Open(name)
	if err != nil {
		return unread(name, 0, err)
	}
	defer f.Close()
	w := &window{v: v, f: f, name: name, size: placeAt(base, to)}
	b, err := w.at(0, queueHead)
	if err != nil {
		return err
	}
	if err := checkQueueHead(name, b, base); err != nil {
		return err
	}
	for off := from; off < to; off++ {
		if b, err = w.at(placeAt(base, off), queueEntry); err != nil {
			return err
		}
		if _, ok := decodePlace(off, b); !ok {
			return damaged(name, placeAt(base, off), "entry %d fails its checksum", off)
		}
	}
	return nil
}

// timers checks a run.
func (v *verifier) timers(r *timerRun) error {
	f, err := v.s.disk.Open(r.name)
	if err != nil {
		r.use.RLock()
		defer r.use.RUnlock()
		if r.gone {
			return nil
		}
		return unread(r.name, 0, err)
	}
	defer f.Close()
	w := &window{v: v, f: f, name: r.name, size: r.size()}
	b, err := w.at(0, timerHead)
	if err != nil {
		return err
	}
	if _, err := decodeTimerHead(r.name, b, r.size()); err != nil {
		return err
	}
	for i := 0; i*timersPer < r.count; i++ {
		if b, err = w.at(int64(1+i)*timerBlock, timerBlock); err != nil {
			return err
		}
		if _, err := r.checkBlock(i, b); err != nil {
			return err
		}
	}
	return nil
}

// window reads a file from its start to its end, in large pieces, from the disk.
type window struct {
	v    *verifier
	f    vfs.File
	name string
	size int64 // reads end here
	off  int64 // of what buf holds
	buf  []byte
}

// at returns n bytes at off, which lie below size. They are valid until the next at.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	want := int(min(int64(max(n, verifyBytes)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.off, w.buf = off, w.buf[:want]
	for b := w.buf; len(b) > 0; {
		k := min(len(b), verifyBytes)
		at := off + int64(want-len(b))
		_ = w.f.Drop(at, int64(k)) // a hint: else memory may answer
		if _, err := w.f.ReadAt(b[:k], at); err != nil {
			return nil, unread(w.name, at, err)
		}
		if err := w.v.paced(k); err != nil {
			return nil, err
		}
		b = b[k:]
	}
	return w.buf[:n], nil
}
