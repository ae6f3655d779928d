// Package netcut cuts, hangs and heals the links between nodes in tests.
//
// A Net stands between nodes and their connections: each node dials through its own Dialer. A link is directed, from the one who
// sends the bytes to the one who gets them, whoever dialled. It promises that nothing passes a link while it is cut or hung, and
// does not imitate delay, loss or reordering inside a connection.
package netcut

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Dial connects to a node.
type Dial func(ctx context.Context, node string) (net.Conn, error)

// Net is the links between nodes, all healthy at first. Safe for concurrent use.
type Net struct {
	mu      sync.Mutex
	cut     map[[2]string]bool
	hung    map[[2]string]bool
	changed chan struct{} // closed and replaced on every change
	conns   map[*Conn]struct{}
}

// New returns a Net without faults.
func New() *Net {
	return &Net{
		cut: make(map[[2]string]bool), hung: make(map[[2]string]bool), changed: make(chan struct{}),
		conns: make(map[*Conn]struct{}),
	}
}

// Dialer returns how from dials, through the Net.
func (n *Net) Dialer(from string, dial Dial) Dial {
	return func(ctx context.Context, node string) (net.Conn, error) {
		n.mu.Lock()
		for n.hung[[2]string{from, node}] || n.hung[[2]string{node, from}] {
			changed := n.changed
			n.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			n.mu.Lock()
		}
		cut := n.cut[[2]string{from, node}] || n.cut[[2]string{node, from}]
		n.mu.Unlock()
		if cut {
			return nil, fmt.Errorf("dial %s from %s: %w", node, from, syscall.ECONNREFUSED)
		}
		raw, err := dial(ctx, node)
		if err != nil {
			return nil, err
		}
		c := &Conn{Conn: raw, n: n, from: from, to: node, closed: make(chan struct{}), moved: make(chan struct{})}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut[[2]string{from, node}] || n.cut[[2]string{node, from}] {
			raw.Close()
			return nil, fmt.Errorf("dial %s from %s: %w", node, from, syscall.ECONNREFUSED)
		}
		n.conns[c] = struct{}{}
		return c, nil
	}
}

// Cut refuses dials between the two nodes, and closes their connections.
func (n *Net) Cut(a, b string) {
	n.change(func() {
		n.cut[[2]string{a, b}] = true
		n.breakLocked(a, b)
	})
}

// Break closes the connections between the two nodes; dials go on.
func (n *Net) Break(a, b string) {
	n.change(func() { n.breakLocked(a, b) })
}

func (n *Net) breakLocked(a, b string) {
	for c := range n.conns {
		if c.from == a && c.to == b || c.from == b && c.to == a {
			delete(n.conns, c)
			c.once.Do(func() { close(c.closed) })
			c.Conn.Close()
		}
	}
}

// Hang keeps what from sends to to from arriving, in connections that exist and in new ones; nobody is told.
func (n *Net) Hang(from, to string) {
	n.change(func() { n.hung[[2]string{from, to}] = true })
}

// Heal makes the links between the two nodes healthy. What hung arrives.
func (n *Net) Heal(a, b string) {
	n.change(func() {
		for _, l := range [][2]string{{a, b}, {b, a}} {
			delete(n.cut, l)
			delete(n.hung, l)
		}
	})
}

// HealAll makes every link healthy.
func (n *Net) HealAll() {
	n.change(func() {
		clear(n.cut)
		clear(n.hung)
	})
}

func (n *Net) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// hangs returns a channel to wait on while the link hangs; nil: it does not.
func (n *Net) hangs(from, to string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hung[[2]string{from, to}] {
		return n.changed
	}
	return nil
}

// Conn is a connection that hangs when its link does.
type Conn struct {
	net.Conn
	n        *Net
	from, to string
	once     sync.Once
	closed   chan struct{}

	mu              sync.Mutex
	readBy, writeBy time.Time
	moved           chan struct{} // closed and replaced when a deadline moves
}

// Read waits while what the other end sends hangs, also with bytes that came while it waited.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.pass(c.to, c.from, false); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		if err := c.pass(c.to, c.from, false); err != nil {
			return 0, err // lost, as is the connection
		}
	}
	return n, err
}

// Write waits while what this end sends hangs.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.pass(c.from, c.to, true); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// pass waits until bytes may go from from to to.
func (c *Conn) pass(from, to string, write bool) error {
	for {
		changed := c.n.hangs(from, to)
		if changed == nil {
			return nil
		}
		c.mu.Lock()
		by, moved := c.readBy, c.moved
		if write {
			by = c.writeBy
		}
		c.mu.Unlock()
		var late <-chan time.Time
		if !by.IsZero() {
			timer := time.NewTimer(time.Until(by))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-moved:
		case <-late:
			return os.ErrDeadlineExceeded
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

// Close closes the connection and ends what waits.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}

func (c *Conn) setDeadlines(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.moved)
	c.moved = make(chan struct{})
}

// SetDeadline bounds reads and writes, hung ones too.
func (c *Conn) SetDeadline(t time.Time) error {
	c.setDeadlines(func() { c.readBy, c.writeBy = t, t })
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline bounds reads, hung ones too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.setDeadlines(func() { c.readBy = t })
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline bounds writes, hung ones too.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.setDeadlines(func() { c.writeBy = t })
	return c.Conn.SetWriteDeadline(t)
}
