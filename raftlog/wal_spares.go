package raftlog

import (
	"errors"
	"fmt"
	"slices"

	"raftmq/internal/vfs"
)

// prepare keeps spares ready: released files under their next number, else, when room runs short, files made while the budget allows. A
// released file that is shorter than is wanted now, from an earlier setting, gives way to a new one while spares are there: when all have,
// the next start finds room for larger records.
func (w *WAL) prepare() {
	for {
		select {
		case <-w.prep:
		case <-w.stop:
			return
		case <-w.failed:
			return
		}
		for w.prepareOne() {
			select {
			case <-w.stop:
				return
			default:
			}
		}
	}
}

// prepareOne: true to go on. A disk without room for another file does not fail the log, which has what it needs.
func (w *WAL) prepareOne() bool {
	w.mu.Lock()
	reuse := len(w.free) > 0 && (len(w.live)-1-w.active < walSpares || w.releasedLocked() >= 0)
	grow := !reuse && w.growsLocked() && w.shortLocked()
	var short *walSegment
	if i := slices.IndexFunc(w.free, w.isShort); i >= 0 && !reuse && !grow && !w.stay {
		short = w.free[i]
	}
	w.mu.Unlock()
	if !reuse && !grow && short == nil || w.Err() != nil { // a header whose sync failed has the number that would come next
		return false
	}
	err := w.addSegment(reuse, short)
	w.mu.Lock()
	full := w.full
	w.full = errors.Is(err, vfs.ErrNoSpace)
	w.stay = w.stay || w.full
	w.grantLocked()
	w.mu.Unlock()
	switch {
	case err == nil:
		return true
	case errors.Is(err, vfs.ErrNoSpace) && !reuse:
		if !full {
			w.log.Warn("no space for another segment", "error", err)
		}
		walPoke(w.trim)
	default:
		w.fail(err)
	}
	return false
}

// growsLocked says whether the budget has room for another file.
func (w *WAL) growsLocked() bool { return w.files < w.o.Segments }

// shortLocked says that the files there are have not room enough.
func (w *WAL) shortLocked() bool {
	p, b := w.pressureLocked(), w.budgetLocked()
	seals := w.live[w.active].head.number <= w.worstLocked() && !w.maySealLocked()
	return seals || p.hold || p.entries || p.control || w.freeLocked() < b.control+b.segment || w.held.Load()+w.pending > b.grow()
}

// isShort says that a file is shorter than those that are made now. A longer one stays: it may hold a record that has no room in another.
func (w *WAL) isShort(s *walSegment) bool { return s.head.size < w.o.SegmentBytes }

// addSegment makes a spare, from a released file or of a new one; that may be in place of a released one.
func (w *WAL) addSegment(reuse bool, instead *walSegment) error {
	w.mu.Lock()
	low := w.live[0]
	h := walHead{number: w.live[len(w.live)-1].head.number + 1, low: low.head.number, lowSequence: w.sequence, size: w.o.SegmentBytes, salt: walSalt()}
	for _, s := range w.live { // the oldest may be empty, and sealed for damage
		if s.first != 0 {
			h.lowSequence = s.first
			break
		}
	}
	var s *walSegment
	var was uint64 // its number before
	bad := false   // it was found damaged
	read := false  // by the next start, if the power is cut now
	if reuse {
		i := w.nextFreeLocked()
		s = w.free[i]
		w.free = slices.Delete(w.free, i, i+1)
		h.size, was = s.head.size, s.head.number
		bad, read = w.bad[was] != nil, w.isReadLocked(s)
	}
	w.mu.Unlock()
	var err error
	if reuse {
		err = w.anew(s, h, bad, read)
	} else {
		s, err = createWALSegment(w.o.FS, w.dir, walBase(int(h.number-1)), h)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.live = append(w.live, s)
	if instead != nil {
		w.free = slices.DeleteFunc(w.free, func(s *walSegment) bool { return s == instead })
	} else if !reuse {
		w.files++
	}
	w.healedLocked(was)
	w.roomLocked()
	w.mu.Unlock()
	if instead != nil { // the new header says that it is not needed
		if err := errors.Join(instead.file.Close(), w.o.FS.Remove(instead.name)); err != nil {
			w.log.Warn("remove a short segment", "error", err) // found again at the next start
		}
	}
	return nil
}

// nextFreeLocked gives the place in free of the file to use next: a damaged one, so that the log is soon whole. But where a start would
// still read that, first another one, whose header says that it is not needed.
func (w *WAL) nextFreeLocked() int {
	i := w.releasedLocked()
	if i < 0 {
		return len(w.free) - 1
	}
	if w.isReadLocked(w.free[i]) {
		if j := slices.IndexFunc(w.free, func(s *walSegment) bool { return w.bad[s.head.number] == nil }); j >= 0 {
			return j
		}
	}
	return i
}

// isReadLocked says that a start would read the released segment: no header says yet that it is not needed.
func (w *WAL) isReadLocked(s *walSegment) bool {
	return s.head.number >= w.live[len(w.live)-1].head.low
}

// anew gives a released segment its new header. A bad one is filled with zeros, since the disk may not give what it once held, and a start
// reads whole what has the new header: before that header, unless a start would read it under the old one too.
func (w *WAL) anew(s *walSegment, h walHead, bad, read bool) error {
	zero := func() error {
		if !bad {
			return nil
		}
		return s.zero(walFirstFrame, func(step func() error) error { return w.watched(s, step) })
	}
	if !read {
		if err := zero(); err != nil {
			return err
		}
	}
	if err := w.watched(s, func() error { return s.rehead(h) }); err != nil || !read {
		return err
	}
	return zero()
}

// watched has a write to a released segment end within the deadline.
func (w *WAL) watched(s *walSegment, write func() error) error {
	watch := newPatience(w.o.WriteDeadline, func() { w.fail(fmt.Errorf("head segment %s: nothing within the deadline", s.name)) })
	defer watch.stop()
	return write()
}
