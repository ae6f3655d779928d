package raftlog

import "sync"

// gate counts proposals in flight and keeps new ones out while leadership is
// handed on.
type gate struct {
	mu     sync.Mutex
	shut   bool
	inside int
	idle   *sync.Cond
}

func (g *gate) init() { g.idle = sync.NewCond(&g.mu) }

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	if g.inside--; g.inside == 0 {
		g.idle.Broadcast()
	}
	g.mu.Unlock()
}

// close keeps proposals out; false if they are kept out already.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.shut
	g.shut = true
	return !was
}

func (g *gate) open() {
	g.mu.Lock()
	g.shut = false
	g.mu.Unlock()
}

// drained reports whether nothing is in flight.
func (g *gate) drained() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside == 0
}
