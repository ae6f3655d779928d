package raftlog

import (
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// walCopy gathers what is needed of one segment, of several groups, into frames. It holds the write lock of each group from its first
// record until that is durable, so that nothing newer comes before the copy.
type walCopy struct {
	w       *WAL
	seg     uint64
	limit   int
	locked  []*GroupLog
	records []byte
	moved   []walMoved
}

// walMoved is one record; known is called under the group's mu.
type walMoved struct {
	g     *GroupLog
	size  int
	known func(walPos)
}

// copyForward writes what the groups need in the segment again.
func (w *WAL) copyForward(groups []*GroupLog, seg uint64) error {
	c := walCopy{w: w, seg: seg, limit: int(walShare(w.segment, walMaxRequest))}
	for _, g := range groups {
		if err := c.group(g); err != nil {
			c.unlock()
			return fmt.Errorf("group %d: %w", g.id, err)
		}
	}
	return c.flush()
}

func (c *walCopy) group(g *GroupLog) error {
	g.write.Lock()
	c.locked = append(c.locked, g)
	if g.check() != nil {
		return c.w.Err() // nil: dropped, nothing is needed
	}
	if g.stablePos.len > 0 && g.stablePos.seg == c.seg {
		b := walAppendStable(nil, g.id, g.stable)
		if err := c.add(g, b, func(p walPos) { g.stableLocked(g.stable, p) }); err != nil {
			return err
		}
	}
	if p := g.checkpoint.pos; p.len > 0 && p.seg == c.seg {
		if err := c.checkpoint(g, p); err != nil {
			return err
		}
	}
	g.mu.RLock()
	first := g.first + uint64(g.neededFromLocked())
	slots := slices.Clone(g.slots[g.neededFromLocked():])
	g.mu.RUnlock()
	for i, s := range slots {
		if s.pos.seg != c.seg {
			continue
		}
		if err := c.entry(g, first+uint64(i), s); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint copies a reset too as a checkpoint: what it killed lies before it.
func (c *walCopy) checkpoint(g *GroupLog, p walPos) error {
	r, err := c.w.read(p, g.id)
	if err != nil {
		return err
	}
	at, err := r.checkpoint()
	if err != nil {
		return err
	}
	return c.add(g, walAppendCheckpoint(nil, walCheckpoint, g.id, &at), func(p walPos) {
		g.holdLocked(g.checkpoint.pos, -1)
		g.holdLocked(p, 1)
		g.checkpoint.pos = p
	})
}

// entry copies one, from memory if the disk has lost it.
func (c *walCopy) entry(g *GroupLog, index uint64, s walSlot) error {
	r, err := c.w.read(s.pos, g.id)
	var l raft.Log
	if err == nil {
		err = r.log(&l)
	} else if s.log != nil {
		l, err = *s.log, nil
	}
	if err != nil {
		return fmt.Errorf("copy entry %d: %w", index, err)
	}
	return c.add(g, walAppendEntry(nil, g.id, &l, walCopied), func(p walPos) {
		g.accountLocked(index, -1)
		g.slots[index-g.first].pos = p
		g.accountLocked(index, 1)
	})
}

func (c *walCopy) add(g *GroupLog, record []byte, known func(walPos)) error {
	if len(c.records) > 0 && len(c.records)+len(record) > c.limit {
		if err := c.write(); err != nil {
			return err
		}
	}
	c.records = append(c.records, record...)
	c.moved = append(c.moved, walMoved{g, len(record), known})
	return nil
}

// write makes what was gathered durable; of the locks only the last group's is still needed.
func (c *walCopy) write() error {
	if len(c.moved) == 0 {
		return nil
	}
	moved := c.moved // submit may return before it is used, when the log is closed
	n := walNeed{frames: walFrameSize(len(c.records))}
	c.w.mu.Lock()
	c.w.takeLocked(n, 1)
	c.w.mu.Unlock()
	err := c.w.submit(&walRequest{records: c.records, count: len(moved), publish: func(seg uint64, off int) {
		for _, m := range moved {
			m.g.mu.Lock()
			m.known(walPos{seg, uint32(off), uint32(m.size)})
			m.g.mu.Unlock()
			off += m.size
		}
	}})
	c.w.release(n)
	c.records, c.moved = nil, nil
	for len(c.locked) > 1 {
		c.locked[0].write.Unlock()
		c.locked = c.locked[1:]
	}
	return err
}

func (c *walCopy) flush() error {
	defer c.unlock()
	return c.write()
}

func (c *walCopy) unlock() {
	for _, g := range c.locked {
		g.write.Unlock()
	}
	c.locked = nil
}
