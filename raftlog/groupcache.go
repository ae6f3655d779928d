package raftlog

import (
	"slices"
)

// walCached is one StoreLogs in the node's cache, oldest first.
type walCached struct {
	g       *GroupLog
	through uint64
	bytes   int64
}

// cache enters c into the node's cache and evicts the oldest beyond its bound.
func (w *WAL) cache(c walCached) {
	w.mu.Lock()
	w.cacheQ = append(w.cacheQ, c)
	w.cached += c.bytes
	n := 0
	for ; w.cached > walNodeCache; n++ {
		w.cached -= w.cacheQ[n].bytes
	}
	old := slices.Clone(w.cacheQ[:n])
	clear(w.cacheQ[:n])
	w.cacheQ = w.cacheQ[n:]
	w.mu.Unlock()
	for _, o := range old {
		o.g.mu.Lock()
		o.g.evictLocked(o.through)
		o.g.mu.Unlock()
	}
}

// evictLocked drops cached entries through the index.
func (g *GroupLog) evictLocked(through uint64) {
	for ; g.cacheFrom <= through; g.cacheFrom++ {
		if g.cacheFrom < g.first || g.cacheFrom-g.first >= uint64(len(g.slots)) {
			continue
		}
		s := &g.slots[g.cacheFrom-g.first]
		if s.log != nil {
			g.cacheBytes -= int64(s.pos.len)
			s.log = nil
		}
	}
}
