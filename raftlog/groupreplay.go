package raftlog

import (
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// replay applies a record on open.
func (g *GroupLog) replay(r walRecord, pos walPos) error {
	if r.flags&^walCopied != 0 {
		return fmt.Errorf("record flags %#x: %w", r.flags, ErrWALVersion)
	}
	switch r.kind {
	case walEntry:
		var l raft.Log
		if err := r.log(&l); err != nil {
			return err
		}
		if l.Index == 0 || l.Index > walMaxIndex {
			return fmt.Errorf("%w: entry %d", errWALRecord, l.Index)
		}
		if n := len(g.slots); r.flags&walCopied != 0 && n > 0 && l.Index+1 < g.first {
			if err := g.w.mayHole(g.first - l.Index); err != nil {
				return err
			}
			g.slots = slices.Concat(make([]walSlot, g.first-l.Index), g.slots) // holes, filled by the copies that follow
			g.first = l.Index
			g.cacheFrom = min(g.cacheFrom, g.first)
		}
		// What lies between may have been copied behind this entry: holes again. Where a floor was installed there is nothing to come.
		if n := len(g.slots); n > 0 && l.Index > g.lastLocked()+1 && l.Index-1 > g.floor {
			if err := g.w.mayHole(l.Index - g.lastLocked()); err != nil {
				return err
			}
			g.slots = append(g.slots, make([]walSlot, l.Index-g.lastLocked()-1)...)
		}
		g.putLocked(l.Index, walSlot{pos: pos, term: l.Term})
	case walTruncate, walTrim:
		i, err := r.index()
		if err != nil {
			return err
		}
		if r.kind == walTruncate {
			g.cutLocked(i)
		} else {
			g.trimLocked(i)
		}
	case walStable:
		m, err := r.stable()
		if err != nil {
			return err
		}
		g.stableLocked(m, pos)
	case walCheckpoint, walReset:
		c, err := r.checkpoint()
		if err != nil {
			return err
		}
		if c.Index > walMaxIndex {
			return fmt.Errorf("%w: checkpoint at %d", errWALRecord, c.Index)
		}
		g.markLocked(r.kind, c.Index, pos)
	case walDrop:
		g.clearLocked()
	default:
		return fmt.Errorf("record type %d: %w", r.kind, ErrWALVersion)
	}
	return nil
}

// recovered checks that no needed entry is missing, and lets go of what lies below a hole.
func (g *GroupLog) recovered() error {
	for i := len(g.slots) - 1; i >= 0; i-- {
		if g.slots[i].pos.len > 0 {
			continue
		}
		index := g.first + uint64(i)
		if index > g.floor {
			return fmt.Errorf("%w: group %d: entry %d is missing", ErrWALDamaged, g.id, index)
		}
		g.trimLocked(index)
		break
	}
	return nil
}
