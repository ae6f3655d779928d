package raftlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Archive is where a group's applied entries are kept outside the write-ahead log.
type Archive interface {
	FirstIndex() uint64                       // oldest retained; 0: none
	LastIndex() uint64                        // newest
	GetLog(index uint64, out *raft.Log) error // raft.ErrLogNotFound outside; at FirstIndex-1 index and term, if known
}

// Checkpoint says what an archive holds durably. State belongs to whoever receives it.
type Checkpoint struct {
	Index, Term        uint64
	ConfigurationIndex uint64
	Configuration      raft.Configuration
	State              []byte
}

// walSlot is one entry's place, and the entry itself while it is cached. len 0: a hole during replay.
type walSlot struct {
	pos  walPos
	term uint64
	log  *raft.Log
}

// GroupLog is one Raft group's log and stable store. Reads run beside everything; changes of one group wait for each other.
//
// A change that finds no room waits for it, at most the write deadline, and then returns ErrWALFull.
type GroupLog struct {
	w  *WAL
	id uint64

	write  sync.Mutex // held by a change until it is durable and published; whoever holds it never waits for room
	saving sync.Mutex // one checkpoint after the other
	ready  walNeed    // under write: what a suffix was removed with, for the entries in its place

	entryBytes atomic.Int64 // of entries above floor
	pending    int64        // under WAL.mu: bytes of entries let in and not yet stored

	mu         sync.RWMutex
	slots      []walSlot // of first, first+1, ...
	first      uint64
	floor      uint64 // entries at and below it are not needed here
	cacheFrom  uint64 // entries below it are not cached
	cacheBytes int64
	stable     map[string][]byte
	stablePos  walPos
	staged     []byte // LastVoteTerm waiting for LastVoteCand
	checkpoint walMark
	archive    Archive
	pressure   func()
	asked      time.Time // by pressure for a checkpoint that has not come; zero: not
	askedLast  time.Time
	asking     bool // pressure runs
	dropped    bool
}

// walMark is where the latest checkpoint is.
type walMark struct {
	index uint64
	pos   walPos
}

// SetArchive says where entries below the log's are. Call it before Raft starts.
func (g *GroupLog) SetArchive(a Archive) {
	g.mu.Lock()
	g.archive = a
	g.mu.Unlock()
}

// OnPressure sets what is called, on a goroutine of its own, when the group should make a checkpoint: it keeps more than a little of
// the log while room runs short. While that lasts it is called again, one call after the other.
func (g *GroupLog) OnPressure(f func()) {
	g.mu.Lock()
	g.pressure = f
	g.mu.Unlock()
}

// Bytes is what the group keeps in the log: entries above the checkpoint, and the checkpoint.
func (g *GroupLog) Bytes() int64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.entryBytes.Load() + int64(g.checkpoint.pos.len) + int64(g.stablePos.len)
}

func (g *GroupLog) lastLocked() uint64 {
	if len(g.slots) == 0 {
		return 0
	}
	return g.first + uint64(len(g.slots)) - 1
}

// FirstIndex is the oldest entry of archive and log together, 0 if there is none.
func (g *GroupLog) FirstIndex() (uint64, error) {
	g.mu.RLock()
	a, first, n := g.archive, g.first, len(g.slots)
	g.mu.RUnlock()
	if a != nil {
		if af := a.FirstIndex(); af > 0 && (n == 0 || af < first && a.LastIndex()+1 >= first) {
			return af, nil
		}
	}
	if n == 0 {
		return 0, nil
	}
	return first, nil
}

// LastIndex is the newest entry, 0 if there is none.
func (g *GroupLog) LastIndex() (uint64, error) {
	g.mu.RLock()
	a, last := g.archive, g.lastLocked()
	g.mu.RUnlock()
	if last == 0 && a != nil && a.FirstIndex() > 0 {
		return a.LastIndex(), nil
	}
	return last, nil
}

// IsMonotonic says that gaps are allowed: true makes raft delete the whole log after installing a snapshot, or panic.
func (g *GroupLog) IsMonotonic() bool { return false }

// GetLog reads an entry: from memory, else the log, else, also if it is damaged there, the archive; raft.ErrLogNotFound if none has it.
// Slices of a cached entry are those given to StoreLogs and must not be changed.
func (g *GroupLog) GetLog(index uint64, out *raft.Log) error {
	for {
		g.mu.RLock()
		a := g.archive
		if index < g.first || index-g.first >= uint64(len(g.slots)) {
			g.mu.RUnlock()
			if a == nil {
				return raft.ErrLogNotFound
			}
			return a.GetLog(index, out)
		}
		s := g.slots[index-g.first]
		g.mu.RUnlock()
		if s.log != nil {
			*out = *s.log
			return nil
		}
		r, err := g.w.read(s.pos, g.id)
		if err == nil {
			if err = r.log(out); err == nil && (out.Index != index || out.Term != s.term) {
				err = fmt.Errorf("%w: group %d: entry %d where %d was", ErrWALDamaged, g.id, out.Index, index)
			}
		}
		if err == nil || a != nil && errors.Is(err, ErrWALDamaged) && a.GetLog(index, out) == nil && out.Index == index && out.Term == s.term {
			return nil
		}
		g.mu.RLock()
		same := index >= g.first && index-g.first < uint64(len(g.slots)) && g.slots[index-g.first].pos == s.pos
		g.mu.RUnlock()
		if same {
			return err
		}
	}
}

// Has reports whether the log has an entry of that term at the index, whether or not it can be read now.
// What is in the archive only does not count.
func (g *GroupLog) Has(index, term uint64) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return index >= g.first && index-g.first < uint64(len(g.slots)) && g.slots[index-g.first].term == term
}

// StoreLog is StoreLogs of one.
func (g *GroupLog) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs makes consecutive entries durable; they replace what is in the log from the first of them on, and what lies below a gap. It
// keeps their slices. ErrWALFull: nothing was stored. After other errors a first part of them may be there.
func (g *GroupLog) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	bytes := int64(0)
	for i, l := range logs {
		n := int64(walEntrySize(l))
		if n > g.w.maxRecord() {
			return fmt.Errorf("store entry %d of group %d: %d bytes, a segment holds records of %d", l.Index, g.id, n, g.w.maxRecord())
		}
		if l.Index == 0 || l.Index > walMaxIndex || i > 0 && l.Index != logs[i-1].Index+1 {
			return fmt.Errorf("store entry %d of group %d: after %d", l.Index, g.id, logs[max(0, i-1)].Index)
		}
		bytes += n
	}
	n, err := g.room(g.w.entriesNeed(g, len(logs), bytes))
	if err != nil {
		return fmt.Errorf("store entries from %d of group %d: %w", logs[0].Index, g.id, err)
	}
	defer g.w.release(n)
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.check(); err != nil {
		return err
	}
	first := g.instead(logs[0].Index)
	limit := int(walShare(g.w.segment, walMaxRequest))
	for len(logs) > 0 {
		n, size := 1, len(first)+walEntrySize(logs[0])
		for n < len(logs) && size+walEntrySize(logs[n]) <= limit {
			size += walEntrySize(logs[n])
			n++
		}
		if err := g.store(first, logs[:n], size); err != nil {
			return err
		}
		first, logs = nil, logs[n:]
	}
	return nil
}

// room gets what n asks for, or takes what a removed suffix left.
func (g *GroupLog) room(n walNeed) (walNeed, error) {
	r := g.takeReady()
	if r.records >= n.records && r.frames >= n.frames {
		return r, nil
	}
	g.w.release(r)
	return n, g.w.admit(n)
}

func (g *GroupLog) takeReady() walNeed {
	g.write.Lock()
	defer g.write.Unlock()
	r := g.ready
	g.ready = walNeed{}
	return r
}

// instead is the record that removes what an entry at the index does not follow.
func (g *GroupLog) instead(index uint64) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch {
	case len(g.slots) == 0 || index == g.lastLocked()+1:
		return nil
	case index > g.lastLocked():
		return walAppendIndex(nil, walTrim, g.id, index-1)
	}
	return walAppendIndex(nil, walTruncate, g.id, index)
}

func (g *GroupLog) store(first []byte, logs []*raft.Log, size int) error {
	buf, _ := g.w.buffers.Get().(*[]byte)
	if buf == nil || cap(*buf) < size {
		b := make([]byte, 0, size)
		buf = &b
	}
	records := append((*buf)[:0], first...)
	kept := make([]raft.Log, len(logs))
	count := len(logs)
	if len(first) > 0 {
		count++
	}
	for i, l := range logs {
		kept[i] = *l
		records = walAppendEntry(records, g.id, l, 0)
	}
	err := g.w.submit(&walRequest{records: records, count: count, publish: func(seg uint64, off int) {
		g.mu.Lock()
		if off += len(first); len(first) > 0 {
			g.cutLocked(kept[0].Index)
		}
		for i := range kept {
			n := walEntrySize(&kept[i])
			g.putLocked(kept[i].Index, walSlot{pos: walPos{seg, uint32(off), uint32(n)}, term: kept[i].Term, log: &kept[i]})
			off += n
		}
		for g.cacheBytes > walGroupCache {
			g.evictLocked(g.cacheFrom)
		}
		g.mu.Unlock()
		g.w.cache(walCached{g, kept[len(kept)-1].Index, int64(size)})
	}})
	if err == nil { // else the committer may still be reading it
		g.w.buffers.Put(buf)
	}
	return err
}

func (g *GroupLog) check() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.dropped {
		return ErrGroupDropped
	}
	return g.w.Err()
}

// putLocked enters an entry: it replaces the same index, follows the last, or, over a gap, starts the log anew.
func (g *GroupLog) putLocked(index uint64, s walSlot) {
	switch {
	case len(g.slots) == 0 || index > g.lastLocked()+1 || index+1 < g.first:
		g.cutLocked(g.first)
		g.slots, g.first, g.cacheFrom = g.slots[:0], index, index
		g.slots = append(g.slots, s)
	case index+1 == g.first:
		g.slots, g.first = slices.Insert(g.slots, 0, s), index
		g.cacheFrom = min(g.cacheFrom, index)
	case index == g.lastLocked()+1:
		g.slots = append(g.slots, s)
	default:
		g.accountLocked(index, -1)
		g.slots[index-g.first] = s
		g.cacheFrom = min(g.cacheFrom, index)
	}
	g.accountLocked(index, 1)
}

// accountLocked adds or takes away an entry's bytes.
func (g *GroupLog) accountLocked(index uint64, sign int64) {
	s := g.slots[index-g.first]
	if index > g.floor {
		g.needLocked(s.pos, sign)
	}
	if s.log != nil {
		g.cacheBytes += sign * int64(s.pos.len)
	}
}

// needLocked says that an entry is needed, or no longer.
func (g *GroupLog) needLocked(p walPos, sign int64) {
	g.entryBytes.Add(sign * int64(p.len))
	g.w.need(p, sign)
	g.w.held.Add(sign * int64(p.len))
}

// cutLocked removes the entries from the index on.
func (g *GroupLog) cutLocked(from uint64) {
	from = max(from, g.first)
	for len(g.slots) > 0 && g.lastLocked() >= from {
		g.accountLocked(g.lastLocked(), -1)
		g.slots[len(g.slots)-1] = walSlot{}
		g.slots = g.slots[:len(g.slots)-1]
	}
	g.cacheFrom = min(g.cacheFrom, from)
}

// trimLocked removes the entries through the index.
func (g *GroupLog) trimLocked(through uint64) {
	for len(g.slots) > 0 && g.first <= through {
		g.accountLocked(g.first, -1)
		g.slots[0] = walSlot{}
		g.slots = g.slots[1:]
		g.first++
	}
	g.cacheFrom = max(g.cacheFrom, g.first)
}

// floorLocked says that entries through the index are not needed.
func (g *GroupLog) floorLocked(index uint64) {
	for i := max(g.floor+1, g.first); len(g.slots) > 0 && i <= min(index, g.lastLocked()); i++ {
		g.needLocked(g.slots[i-g.first].pos, -1)
	}
	g.floor = max(g.floor, index)
}

// DeleteRange removes entries at one end of the log, durably. A range inside it is an error. A suffix goes only when there is room for
// an append in its place, which the next StoreLogs has: raft takes what was removed for its last entry if that one fails.
func (g *GroupLog) DeleteRange(min, max uint64) error {
	first, last, freed := g.bounds(min)
	if last == 0 || max < first || min > last || min > max {
		return g.check()
	}
	if min > first && max < last {
		return fmt.Errorf("delete entries %d to %d of group %d: inside %d to %d", min, max, g.id, first, last)
	}
	var ready walNeed
	if max >= last {
		ready = g.w.entriesNeed(g, math.MaxInt, g.w.o.MaxAppend)
		ready.freed = freed
		var err error
		if ready, err = g.room(ready); err != nil {
			return fmt.Errorf("delete entries from %d of group %d: %w", min, g.id, err)
		}
	}
	records, change := walAppendIndex(nil, walTruncate, g.id, min), func() { g.cutLocked(min) }
	if min <= first {
		records, change = walAppendIndex(nil, walTrim, g.id, max), func() { g.trimLocked(max) }
	}
	err := g.change(controlNeed(g, len(records)), records, func(walPos) { change() })
	if err == nil {
		g.write.Lock()
		g.ready, ready = ready, g.ready
		g.write.Unlock()
	}
	g.w.release(ready)
	g.w.regrant()
	return err
}

// bounds gives the log's ends, and the bytes needed of entries from the index on.
func (g *GroupLog) bounds(from uint64) (first, last uint64, bytes int64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for i := max(from, g.first, g.floor+1); i <= g.lastLocked(); i++ {
		bytes += int64(g.slots[i-g.first].pos.len)
	}
	return g.first, g.lastLocked(), bytes
}

// change makes one control record durable and then, under mu, known.
func (g *GroupLog) change(n walNeed, records []byte, known func(walPos)) error {
	if err := g.w.admit(n); err != nil {
		return err
	}
	defer g.w.release(n)
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.check(); err != nil {
		return err
	}
	return g.submit(records, known)
}

// submit is the part of change that needs the write lock.
func (g *GroupLog) submit(records []byte, known func(walPos)) error {
	return g.w.submit(&walRequest{records: records, count: 1, publish: func(seg uint64, off int) {
		g.mu.Lock()
		known(walPos{seg, uint32(off), uint32(len(records))})
		g.mu.Unlock()
	}})
}

// stableLocked makes m the stable values, which are at p.
func (g *GroupLog) stableLocked(m map[string][]byte, p walPos) {
	g.w.need(g.stablePos, -1)
	g.w.need(p, 1)
	g.stable, g.stablePos = m, p
}

// Drop durably forgets the group. Its id must not be used again.
func (g *GroupLog) Drop() error {
	records := walAppendDrop(nil, g.id)
	err := g.change(controlNeed(g, len(records)), records, func(walPos) {
		g.clearLocked()
		g.dropped = true
	})
	if errors.Is(err, ErrGroupDropped) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop group %d: %w", g.id, err)
	}
	g.w.release(g.takeReady())
	g.w.mu.Lock()
	if g.w.groups[g.id] == g {
		delete(g.w.groups, g.id)
	}
	g.w.mu.Unlock()
	walPoke(g.w.trim)
	g.w.regrant()
	return nil
}

func (g *GroupLog) clearLocked() {
	g.cutLocked(0)
	g.slots, g.first, g.floor = nil, 0, 0
	g.holdLocked(g.checkpoint.pos, -1)
	g.checkpoint = walMark{}
	g.stableLocked(nil, walPos{})
	g.staged = nil
}
