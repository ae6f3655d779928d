package raftlog

import (
	"errors"
	"fmt"
	"time"
)

// Damage in the log of a running process. What the log says is in memory too, but for entries that are no longer cached and for checkpoints:
// votes always, entries that are not applied usually. What was applied is in the archive. So a damaged segment, with those before it, which
// replay would need to come to it, is emptied: groups are asked for checkpoints, what they still need is copied forward, from memory where
// the disk has lost it, and the file is written anew under a header that says that replay begins later. Until that is durable a restart ends
// with ErrWALDamaged. What is damaged and cannot be had again within HealWait is told to OnLost: the process must end, and be replaced.
//
// Damaged bytes are given to nobody meanwhile: each record is checked as it is read, and a reader is given the archive's entry.

// walBad is a segment in which damage was found.
type walBad struct {
	file  string
	found time.Time
	lost  bool // OnLost was told
}

// condemn notes damage in a segment, once, if it is in use.
func (w *WAL) condemn(seg uint64, err error) {
	w.mu.Lock()
	if len(w.live) == 0 || seg < w.live[0].head.number || seg > w.live[w.active].head.number || w.bad[seg] != nil {
		w.mu.Unlock()
		return
	}
	b := &walBad{file: w.live[seg-w.live[0].head.number].name, found: time.Now()}
	w.bad[seg] = b
	w.stats.damaged++
	w.mu.Unlock()
	w.log.Error("write-ahead log is damaged: what is needed of it is written again", "error", err)
	if w.o.OnDamage != nil {
		w.o.OnDamage(err)
	}
	walPoke(w.trim)
}

// worstLocked is the newest damaged segment; 0: none.
func (w *WAL) worstLocked() (seg uint64) {
	for n := range w.bad {
		seg = max(seg, n)
	}
	return seg
}

// releasedLocked gives the place in free of a damaged segment that is to be written anew; -1: none.
func (w *WAL) releasedLocked() int {
	for i, s := range w.free {
		if w.bad[s.head.number] != nil {
			return i
		}
	}
	return -1
}

// healedLocked says that the damaged segment is not part of the log any more, durably.
func (w *WAL) healedLocked(seg uint64) {
	b := w.bad[seg]
	if b == nil {
		return
	}
	delete(w.bad, seg)
	w.stats.healed++
	w.log.Info("write-ahead log is whole again", "file", b.file, "segment", seg, "took", time.Since(b.found).Round(time.Millisecond))
	if w.o.OnHealed != nil {
		go w.o.OnHealed(b.file)
	}
}

// heal empties the oldest segment if a damaged one is to be released; true to try again.
func (w *WAL) heal() bool {
	w.mu.Lock()
	through := w.worstLocked()
	if through == 0 {
		w.mu.Unlock()
		return false
	}
	oldest, active := w.live[0].head.number, w.live[w.active].head.number
	if oldest > through {
		w.mu.Unlock()
		walPoke(w.prep)
		return false
	}
	if active <= through {
		may := w.maySealLocked()
		if may {
			w.sealed = through
		}
		w.mu.Unlock()
		walPoke(w.prep)
		return may && w.goOn() == nil
	}
	since := time.Since(w.bad[through].found)
	w.mu.Unlock()
	small := min(walSmallPinned, w.segment/16)
	var lost error
	for _, g := range w.all() {
		control, entries := g.neededIn(oldest)
		if control+entries == 0 {
			continue
		}
		if entries > small && since < walPatience && !g.ignores() { // a checkpoint is cheaper
			g.press(true)
			continue
		}
		switch err := w.copyForward([]*GroupLog{g}, oldest); {
		case errors.Is(err, ErrWALDamaged):
			lost = err
			g.press(true)
		case err != nil:
			return false
		}
	}
	if lost != nil && since > w.o.HealWait {
		w.loseOnce(through, lost)
	}
	return w.neededIn(oldest) == 0
}

// loseOnce tells that what is needed of a damaged segment cannot be had.
func (w *WAL) loseOnce(seg uint64, err error) {
	w.mu.Lock()
	b := w.bad[seg]
	tell := b != nil && !b.lost
	if tell {
		b.lost = true
	}
	w.mu.Unlock()
	if tell && w.o.OnLost != nil {
		go w.o.OnLost(fmt.Errorf("write-ahead log: what is damaged is nowhere else: %w", err))
	}
}

// maySealLocked says whether what the active segment still has room for can be done without (doc_wal.go): else it fills up first.
func (w *WAL) maySealLocked() bool {
	b, s := w.budgetLocked(), w.live[w.active]
	return w.freeLocked()-(s.head.size-s.end) >= b.control+b.largest
}

// goOn writes a frame without records: with the active segment sealed, the first of the next one.
func (w *WAL) goOn() error {
	n := walNeed{frames: walFrameSize(0)}
	w.mu.Lock()
	w.takeLocked(n, 1)
	w.mu.Unlock()
	defer w.release(n)
	return w.submit(&walRequest{publish: func(uint64, int) {}})
}
