package raftlog

import (
	"fmt"
	"slices"
)

// walNeed is room that a change of a group asks for before it takes the group's write lock: the trimmer takes the lock too.
type walNeed struct {
	g       *GroupLog
	entries bool
	records int64 // bytes that will be needed from then on
	freed   int64 // bytes no longer needed then
	frames  int64 // bytes to be written
	granted chan struct{}
}

// entriesNeed is the need of a StoreLogs of this many bytes of records, each of them small or in a frame of its own.
func (w *WAL) entriesNeed(g *GroupLog, count int, bytes int64) walNeed {
	frames := min(int64(count), bytes/(walShare(w.segment, walMaxRequest)/2)+2)
	return walNeed{g: g, entries: true, records: bytes, frames: bytes + frames*(walFrameHeader+walIndexRecord+8)}
}

func controlNeed(g *GroupLog, bytes int) walNeed {
	return walNeed{g: g, frames: walFrameSize(bytes)}
}

// admit waits for room. Older requests for entries go first, but for those of groups that have more than their share. ErrWALFull:
// there was none within the deadline.
func (w *WAL) admit(n walNeed) error {
	w.mu.Lock()
	if b := w.budgetLocked(); len(w.waiting) == 0 && w.mayHoldLocked(b, &n) && w.mayWriteLocked(b, &n, w.freeLocked()) {
		w.takeLocked(n, 1)
		held := w.held.Load() + w.pending
		if held > b.hold() {
			walPoke(w.trim)
		}
		if held > b.grow() && w.growsLocked() {
			walPoke(w.prep)
		}
		w.mu.Unlock()
		return nil
	}
	n.granted = make(chan struct{})
	w.waiting = append(w.waiting, &n)
	w.grantLocked()
	w.mu.Unlock()
	walPoke(w.prep)
	walPoke(w.trim)
	timeout := make(chan struct{})
	p := newPatience(w.o.WriteDeadline, func() { close(timeout) })
	defer p.stop()
	select {
	case <-n.granted:
		return nil
	case <-timeout:
	case <-w.failed:
	case <-w.stop:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.isGranted() {
		return nil
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(o *walNeed) bool { return o == &n })
	w.grantLocked()
	select {
	case <-w.failed:
		return w.failErr
	case <-w.stop:
		return ErrWALClosed
	default:
	}
	b := w.budgetLocked()
	return fmt.Errorf("%w: group %d holds %d bytes, all groups %d of %d: no room for %d more within %s", ErrWALFull, n.g.id,
		n.g.entryBytes.Load()+n.g.pending, w.held.Load()+w.pending, b.entries, n.records, w.o.WriteDeadline)
}

// release gives back what admit took, once it is written or was given up.
func (w *WAL) release(n walNeed) {
	w.mu.Lock()
	w.takeLocked(n, -1)
	w.grantLocked()
	w.mu.Unlock()
}

func (w *WAL) takeLocked(n walNeed, sign int64) {
	w.writing += sign * n.frames
	if n.entries {
		w.pending += sign * n.records
		n.g.pending += sign * n.records
	} else {
		w.pending += sign * max(0, n.records-n.freed) // what a checkpoint has grown by
	}
}

func (n *walNeed) isGranted() bool {
	select {
	case <-n.granted:
		return true
	default:
		return false
	}
}

// grantLocked lets in whom there is room for.
func (w *WAL) grantLocked() {
	if len(w.waiting) == 0 {
		return
	}
	b, free := w.budgetLocked(), w.freeLocked()
	first := true // no older entries wait for free bytes
	w.waiting = slices.DeleteFunc(w.waiting, func(n *walNeed) bool {
		if !w.mayHoldLocked(b, n) || n.entries && !first {
			return false
		}
		if !w.mayWriteLocked(b, n, free) {
			first = first && !n.entries
			return false
		}
		w.takeLocked(*n, 1)
		close(n.granted)
		return true
	})
}

// mayHoldLocked limits what is needed at the same time. Of what there is for entries, a group may have as much as it leaves (the first
// that is stuck comes to a half, the next to a quarter: there is always something left for the others), but at least two appends. Stable
// values are always let in: their room is set aside.
func (w *WAL) mayHoldLocked(b walBudget, n *walNeed) bool {
	total := w.held.Load() + w.pending + n.records - n.freed
	if !n.entries {
		return n.records <= n.freed || total <= b.live
	}
	own := n.g.entryBytes.Load() + n.g.pending + n.records - n.freed
	return total <= b.entries && (own <= b.entries-total || own <= w.o.need())
}

// mayWriteLocked leaves free bytes to those that come before.
func (w *WAL) mayWriteLocked(b walBudget, n *walNeed, free int64) bool {
	left := b.copying
	if n.entries {
		left = b.control
	}
	return free-b.spread(w.writing+n.frames)-b.largest >= left
}

// budgetLocked is of the files there are, without what is set aside for stable values.
func (w *WAL) budgetLocked() walBudget {
	b := newWALBudget(w.segment, w.files)
	aside := int64(len(w.groups)) * walMaxStable
	b.live = max(0, b.live-aside)
	b.entries = b.live / 8 * 7
	return b
}

// freeLocked is what can be written before a segment must be released.
func (w *WAL) freeLocked() int64 {
	if len(w.live) == 0 {
		return 0
	}
	s := w.live[w.active]
	return s.head.size - s.end + int64(len(w.live)-1-w.active+len(w.free))*(w.segment-walFirstFrame)
}

// regrant lets in who waited for bytes that are no longer needed.
func (w *WAL) regrant() {
	w.mu.Lock()
	w.grantLocked()
	w.mu.Unlock()
}

// walPressure says who waits in vain.
type walPressure struct {
	waiting bool // anybody
	hold    bool // entries because too much is needed, or soon
	entries bool // entries for free bytes, or soon
	control bool // control records for free bytes, or soon
	tight   bool // entries will before long
	damaged bool // nobody: a damaged segment is to be emptied
}

// pressureLocked: what it says is no longer so after the trimmer has gone round once.
func (w *WAL) pressureLocked() walPressure {
	b, free := w.budgetLocked(), w.freeLocked()
	p := walPressure{
		waiting: len(w.waiting) > 0,
		hold:    w.held.Load()+w.pending > b.hold(),
		entries: free < b.control+b.largest,
		control: free < b.copying+b.largest,
		tight:   free < b.control+2*b.segment,
		damaged: len(w.bad) > 0,
	}
	for _, n := range w.waiting {
		switch {
		case !w.mayHoldLocked(b, n):
			p.hold = true
		case n.entries:
			p.entries = true
		default:
			p.control = true
		}
	}
	return p
}

func (w *WAL) pressure() walPressure {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pressureLocked()
}
