package raftlog

import "time"

const (
	// walAskAgain is how often groups are asked for checkpoints while somebody waits for room: the last one may have come too early to
	// help.
	walAskAgain = 20 * time.Millisecond
	// walPatience is how long a group has for a checkpoint before its entries are copied forward.
	walPatience = 500 * time.Millisecond
	// walHealAgain is how often it is tried to empty a damaged segment.
	walHealAgain = 100 * time.Millisecond
)

// trimmer releases the oldest segments once nobody needs them. When room runs short, it asks those that keep much for checkpoints, and
// copies forward what is needed of the oldest segment: at once what is little, the rest when the checkpoints do not come. It also empties
// damaged segments.
func (w *WAL) trimmer() {
	for {
		var again <-chan time.Time
		switch p := w.pressure(); {
		case p.waiting:
			again = time.After(walAskAgain)
		case p.damaged:
			again = time.After(walHealAgain)
		case p.hold || p.tight:
			again = time.After(walPatience)
		}
		select {
		case <-w.trim:
		case <-again:
			walPoke(w.prep)
		case <-w.stop:
			return
		case <-w.failed:
			return
		}
		for w.trimOne() {
			select {
			case <-w.stop:
				return
			default:
			}
		}
	}
}

// trimOne releases what it can, and if room is short empties the oldest segment; true to try again.
func (w *WAL) trimOne() bool {
	if w.releaseOldest() || w.heal() {
		return true
	}
	w.mu.Lock()
	p := w.pressureLocked()
	grows := w.growsLocked() && !w.full
	oldest, empty := w.live[0].head.number, w.active == 0
	w.mu.Unlock()
	if grows || !p.hold && !p.tight {
		walPoke(w.prep)
		return false
	}
	groups := w.all()
	if p.hold {
		w.pressHolders(groups)
	}
	if empty || !p.tight {
		return false
	}
	return w.empty(oldest, groups, p)
}

// pressHolders asks for checkpoints those that wait, and those that hold at least as much as the mean. Who was asked in vain does not
// count: the others can give something too.
func (w *WAL) pressHolders(groups []*GroupLog) {
	total, n := int64(0), int64(0)
	for _, g := range groups {
		if b := g.entryBytes.Load(); b > 0 && !g.ignores() {
			total, n = total+b, n+1
		}
	}
	w.mu.Lock()
	waiting := map[*GroupLog]bool{}
	for _, n := range w.waiting {
		waiting[n.g] = true
	}
	w.mu.Unlock()
	for _, g := range groups {
		if b := g.entryBytes.Load(); b > 0 && (waiting[g] || b >= total/max(1, n)) {
			g.press(len(waiting) > 0)
		}
	}
}

// ignores says that the group was asked for a checkpoint, had time enough to make it, and did not.
func (g *GroupLog) ignores() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.pressure == nil || !g.asked.IsZero() && time.Since(g.asked) > walPatience
}

// press asks for a checkpoint, unless the answer to an earlier question is being made, or the last question was just now.
func (g *GroupLog) press(haste bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gap := walPatience
	if haste {
		gap = walAskAgain
	}
	now := time.Now()
	if g.pressure == nil || g.asking || now.Sub(g.askedLast) < gap {
		return
	}
	if g.asked.IsZero() {
		g.asked = now
	}
	g.asking, g.askedLast = true, now
	go g.ask(g.pressure)
}

func (g *GroupLog) ask(pressure func()) {
	pressure()
	g.mu.Lock()
	g.asking = false
	g.mu.Unlock()
}

// empty copies forward what groups need of the segment; true if that was all. Without haste it does so only where at least half of the
// segment is won, so that it comes to an end.
func (w *WAL) empty(seg uint64, groups []*GroupLog, p walPressure) bool {
	cheap := w.neededIn(seg) <= w.segment/2
	small := min(walSmallPinned, w.segment/16)
	var move []*GroupLog
	for _, g := range groups {
		control, entries := g.neededIn(seg)
		switch {
		case control+entries == 0:
		case p.control, entries <= small && (cheap || p.entries), p.entries && (cheap || g.ignores()):
			move = append(move, g)
		default:
			g.press(p.entries)
		}
	}
	if err := w.copyForward(move, seg); err != nil {
		w.log.Warn("copy forward", "error", err)
		return false
	}
	return len(move) > 0 && w.neededIn(seg) == 0
}

// neededIn gives the bytes that the group needs in the segment.
func (g *GroupLog) neededIn(seg uint64) (control, entries int64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, p := range []walPos{g.stablePos, g.checkpoint.pos} {
		if p.len > 0 && p.seg == seg {
			control += int64(p.len)
		}
	}
	if g.entryBytes.Load() == 0 {
		return control, 0
	}
	for i := g.neededFromLocked(); i < len(g.slots); i++ {
		if g.slots[i].pos.seg == seg {
			entries += int64(g.slots[i].pos.len)
		}
	}
	return control, entries
}

// neededFromLocked is the place in slots of the first entry that is needed.
func (g *GroupLog) neededFromLocked() int {
	if g.floor < g.first {
		return 0
	}
	return int(min(g.floor+1-g.first, uint64(len(g.slots))))
}

// releaseOldest frees the segments that nobody needs, up to the first that somebody does; true if there was one.
func (w *WAL) releaseOldest() bool {
	w.mu.Lock()
	n := 0
	for n < w.active && w.neededIn(w.live[n].head.number) == 0 {
		n++
	}
	if n == 0 {
		w.mu.Unlock()
		return false
	}
	low := w.live[n].head.number
	w.mu.Unlock()
	for _, g := range w.all() {
		g.forgetBelow(low)
	}
	w.mu.Lock()
	w.free = append(w.free, w.live[:n]...)
	w.live = w.live[n:]
	w.active -= n
	w.grantLocked()
	w.mu.Unlock()
	walPoke(w.prep)
	return true
}

// forgetBelow removes entries that are not needed and lie in segments below low.
func (g *GroupLog) forgetBelow(low uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	through := uint64(0)
	for i, s := range g.slots[:g.neededFromLocked()] {
		if s.pos.seg < low {
			through = g.first + uint64(i)
		}
	}
	g.trimLocked(through)
}
