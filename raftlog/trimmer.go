package raftlog

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// trimmer releases the oldest segments once nobody needs them. When room runs short and most of the oldest one is dead, what little a
// group has there is copied forward, and what it has at all once room is nearly gone; else the groups are asked for checkpoints. Copying
// a segment that is mostly alive would gain nothing, and never end.
func (w *WAL) trimmer() {
	for {
		select {
		case <-w.trim:
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
	w.mu.Lock()
	if len(w.live) == 0 || w.active == 0 {
		w.mu.Unlock()
		return false
	}
	oldest := w.live[0].head.number
	low := w.live[w.active].head.number
	spare := len(w.live) - 1 - w.active + len(w.free) + max(0, w.o.Segments-w.files)
	tight := spare <= walReserve+1
	urgent := spare <= walReserve
	w.mu.Unlock()
	groups := w.all()
	var pinning []*GroupLog
	var total int64
	for _, g := range groups {
		g.mu.RLock()
		need, bytes := g.neededLocked(oldest)
		g.mu.RUnlock()
		low = min(low, need)
		if need <= oldest {
			pinning = append(pinning, g)
			total += bytes
		}
	}
	if low > oldest {
		w.releaseBelow(low, groups)
		return true
	}
	if !tight {
		return false
	}
	moved := 0
	for _, g := range pinning {
		g.mu.Lock()
		_, bytes := g.neededLocked(oldest)
		f := g.pressure
		copyIt := bytes == 0 || total <= w.o.SegmentBytes/2 && (urgent || bytes <= walSmallPinned)
		call := !copyIt && f != nil && !g.pressed
		g.pressed = g.pressed || call
		g.mu.Unlock()
		if call {
			go f()
		}
		if copyIt {
			if err := w.copyForward(g, oldest); err != nil {
				w.log.Warn("copy forward", "group", g.id, "error", err)
				return false
			}
			moved++
		}
	}
	return moved == len(pinning)
}

// neededLocked gives the oldest segment the group needs, and the bytes of entries it needs in the segment seg.
func (g *GroupLog) neededLocked(seg uint64) (need uint64, bytes int64) {
	need = ^uint64(0)
	for _, p := range []walPos{g.stablePos, g.checkpoint.pos} {
		if p.len > 0 {
			need = min(need, p.seg)
		}
	}
	for i := range g.slots {
		if p := g.slots[i].pos; g.first+uint64(i) > g.floor {
			need = min(need, p.seg)
			if p.seg <= seg {
				bytes += int64(p.len)
			}
		}
	}
	return need, bytes
}

// releaseBelow lets the groups forget entries below segment low, then frees the segments.
func (w *WAL) releaseBelow(low uint64, groups []*GroupLog) {
	for _, g := range groups {
		g.mu.Lock()
		through := uint64(0)
		for i := range g.slots {
			if index := g.first + uint64(i); index <= g.floor && g.slots[i].pos.seg < low {
				through = index
			}
		}
		g.trimLocked(through)
		g.mu.Unlock()
	}
	w.mu.Lock()
	for len(w.live) > 1 && w.active > 0 && w.live[0].head.number < low {
		w.free = append(w.free, w.live[0])
		w.live = w.live[1:]
		w.active--
	}
	w.roomLocked()
	w.mu.Unlock()
	walPoke(w.prep)
}

// copyForward writes what the group needs in segments up to seg again.
func (w *WAL) copyForward(g *GroupLog, seg uint64) error {
	g.write.Lock()
	defer g.write.Unlock()
	if g.check() != nil {
		return w.Err()
	}
	var records []byte
	var sizes []int
	var publish []func(pos walPos)
	add := func(f func(pos walPos), start int) {
		sizes, publish = append(sizes, len(records)-start), append(publish, f)
	}
	reset := func() { records, sizes, publish = nil, nil, nil }
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		sizes, publish := sizes, publish // submit may return before they are used, when the log is closed
		err := w.submit(&walRequest{records: records, count: len(sizes), publish: func(s uint64, off int) {
			g.mu.Lock()
			for i, f := range publish {
				f(walPos{s, uint32(off), uint32(sizes[i])})
				off += sizes[i]
			}
			g.mu.Unlock()
		}})
		reset()
		return err
	}
	if g.stablePos.len > 0 && g.stablePos.seg <= seg {
		records = walAppendStable(records, g.id, g.stable)
		add(func(p walPos) { g.stablePos = p }, 0)
	}
	if p := g.checkpoint.pos; p.len > 0 && p.seg <= seg {
		r, err := w.read(p, g.id)
		if err != nil {
			return err
		}
		c, err := r.checkpoint()
		if err != nil {
			return err
		}
		start := len(records) // a reset is copied as a checkpoint: what it killed lies before it
		records = walAppendCheckpoint(records, walCheckpoint, g.id, &c)
		add(func(p walPos) { g.checkpoint.pos = p }, start)
	}
	limit := min(walMaxRequest, int(w.o.SegmentBytes/4))
	g.mu.RLock()
	first, last := max(g.first, g.floor+1), g.lastLocked()
	g.mu.RUnlock()
	for index := first; index <= last; index++ {
		g.mu.RLock()
		inside := index >= g.first && index-g.first < uint64(len(g.slots))
		var s walSlot
		if inside {
			s = g.slots[index-g.first]
		}
		g.mu.RUnlock()
		if !inside || s.pos.seg > seg {
			continue
		}
		r, err := w.read(s.pos, g.id)
		var l raft.Log
		if err == nil {
			err = r.log(&l)
		}
		if err != nil {
			return fmt.Errorf("copy entry %d of group %d: %w", index, g.id, err)
		}
		if len(records) > 0 && len(records)+r.size > limit {
			if err := flush(); err != nil {
				return err
			}
		}
		start := len(records)
		records = walAppendEntry(records, g.id, &l, walCopied)
		add(func(p walPos) { g.slots[index-g.first].pos = p }, start)
	}
	return flush()
}
