package raftlog

import "sync"

// gate counts what this replica has asked of its Raft and not been answered, keeps
// proposals out while leadership is handed on, and everything once the replica
// closes.
type gate struct {
	mu     sync.Mutex
	shut   bool // to proposals
	over   bool
	inside int
	idle   chan struct{} // closed when inside falls to 0; nil: nobody waits
}

// propose lets a proposal in: ErrNotLeader or ErrClosed if not.
func (g *gate) propose() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.over:
		return ErrClosed
	case g.shut:
		return ErrNotLeader
	}
	g.inside++
	return nil
}

// ask lets any other request in, or answers ErrClosed.
func (g *gate) ask() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return ErrClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// close keeps proposals out; false if they are kept out already.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || g.over {
		return false
	}
	g.shut = true
	return true
}

func (g *gate) open() {
	g.mu.Lock()
	g.shut = false
	g.mu.Unlock()
}

// end keeps everything out for good.
func (g *gate) end() {
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
}

// drained returns a channel that is closed once nothing is inside.
func (g *gate) drained() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.idle == nil {
		g.idle = make(chan struct{})
		if g.inside == 0 {
			close(g.idle)
			defer func() { g.idle = nil }()
		}
	}
	return g.idle
}
