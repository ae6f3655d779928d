package raftlog

import (
	"errors"
	"fmt"
	"time"

	"raftmq/internal/vfs"
)

// ErrCheckpointSize says that a group's state is larger than a segment of the write-ahead log has room for in one record. It is a
// vfs.ErrNoSpace: nothing was done, the checkpoint before holds, and a smaller state is kept again.
var ErrCheckpointSize = fmt.Errorf("raftlog: checkpoint larger than the write-ahead log has room for: %w", vfs.ErrNoSpace)

// Fits is an ErrCheckpointSize for a checkpoint that SaveCheckpoint would refuse for its size.
func (g *GroupLog) Fits(c Checkpoint) error {
	state := c.State
	c.State = nil
	n := int64(len(walAppendCheckpoint(nil, walCheckpoint, g.id, &c)) + len(state))
	if most := g.w.maxRecord(); n > most {
		return fmt.Errorf("%w: group %d at entry %d: %d bytes, a segment holds records of %d", ErrCheckpointSize, g.id, c.Index, n, most)
	}
	return nil
}

// SaveCheckpoint makes c durable. Entries through c.Index may go from the log: the archive holds them, durably. c.Index must not go back.
// ErrWALFull: the checkpoints of all groups together take more than the log can keep; ErrCheckpointSize: this one does; the one before
// holds.
func (g *GroupLog) SaveCheckpoint(c Checkpoint) error {
	return g.saveCheckpoint(walCheckpoint, c, func() error { return nil })
}

// Reset removes every entry and makes c the checkpoint, together.
func (g *GroupLog) Reset(c Checkpoint) error {
	return g.saveCheckpoint(walReset, c, func() error { return nil })
}

// saveCheckpoint has sync make durable elsewhere what c names when the log has room to keep c: what was synced is not refused for want of
// it, since who syncs takes the checkpoint before for kept.
func (g *GroupLog) saveCheckpoint(kind walType, c Checkpoint, sync func() error) error {
	g.saving.Lock()
	defer g.saving.Unlock()
	g.mu.RLock()
	before, freed := g.checkpoint, int64(g.checkpoint.pos.len)
	for i, s := range g.slots {
		if index := g.first + uint64(i); index > g.floor && (kind == walReset || index <= c.Index) {
			freed += int64(s.pos.len)
		}
	}
	g.mu.RUnlock()
	if kind == walCheckpoint && c.Index < before.index {
		return fmt.Errorf("save checkpoint of group %d at %d: before %d", g.id, c.Index, before.index)
	}
	if err := g.Fits(c); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	if c.Index > walMaxIndex {
		return fmt.Errorf("save checkpoint of group %d at %d: an index beyond all", g.id, c.Index)
	}
	records := walAppendCheckpoint(nil, kind, g.id, &c)
	n := controlNeed(g, len(records))
	n.records, n.freed = int64(len(records)), freed
	wrap := func(err error) error { return fmt.Errorf("save checkpoint of group %d at %d: %w", g.id, c.Index, err) }
	if err := g.w.admit(n); errors.Is(err, ErrWALFull) && !errors.Is(err, ErrWALFailed) {
		return wrap(fmt.Errorf("%w: %w", err, vfs.ErrNoSpace))
	} else if err != nil {
		return wrap(err)
	}
	write := controlNeed(g, len(records))
	n.frames = 0
	g.w.release(write) // a sync may take long: others may write meanwhile, and what is kept counts
	defer g.w.release(n)
	if err := sync(); err != nil {
		return err
	}
	if err := g.change(write, records, func(p walPos) { g.markLocked(kind, c.Index, p) }); err != nil {
		return wrap(err)
	}
	walPoke(g.w.trim)
	g.w.regrant()
	return nil
}

func (g *GroupLog) markLocked(kind walType, index uint64, pos walPos) {
	if kind == walReset {
		g.cutLocked(0)
		g.floor, g.first = index, index+1
		g.cacheFrom = g.first
	}
	g.floorLocked(index)
	g.holdLocked(g.checkpoint.pos, -1)
	g.holdLocked(pos, 1)
	g.checkpoint = walMark{index, pos}
	g.asked = time.Time{}
}

// holdLocked says that a checkpoint is needed, or no longer.
func (g *GroupLog) holdLocked(p walPos, sign int64) {
	g.w.need(p, sign)
	g.w.held.Add(sign * int64(p.len))
}

// Checkpoint reads the latest checkpoint; ok is false if there is none.
func (g *GroupLog) Checkpoint() (c Checkpoint, ok bool, err error) {
	g.write.Lock() // no copy moves it meanwhile
	defer g.write.Unlock()
	if g.checkpoint.pos.len == 0 {
		return c, false, nil
	}
	r, err := g.w.read(g.checkpoint.pos, g.id)
	if err == nil {
		c, err = r.checkpoint()
	}
	if err != nil {
		return Checkpoint{}, false, fmt.Errorf("read checkpoint of group %d: %w", g.id, err)
	}
	return c, true, nil
}
