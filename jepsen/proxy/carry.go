package proxy

import (
	"context"
	"net"
	"sync"
	"time"

	"raftmq/jepsen/link"
)

// carry is one connection through a relay.
type carry struct {
	p         *Proxy
	out, back *link.Link // from who called, and to it
	class     link.Class
	near, far *net.TCPConn
}

func (p *Proxy) carry(from, to int, class link.Class) *carry {
	return &carry{p: p, out: p.links.Link(from, to), back: p.links.Link(to, from), class: class}
}

// dialWait bounds a relay's own connection.
const dialWait = 5 * time.Second

// connect connects to the address when neither way is cut off.
func (c *carry) connect(addr string) bool {
	if c.await(c.p.ctx) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.p.ctx, dialWait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	c.far = conn.(*net.TCPConn)
	return true
}

type resetError struct{}

func (resetError) Error() string { return "proxy: reset by a rule" }

// await returns when neither way is cut off: a handshake needs both.
func (c *carry) await(ctx context.Context) error {
	for _, l := range []*link.Link{c.out, c.back, c.out} {
		if err := c.pass(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// pass returns when l is not cut off.
func (c *carry) pass(ctx context.Context, l *link.Link) error {
	for held := false; ; held = true {
		r, changed := l.Rule(c.class)
		switch {
		case r.Reset:
			l.Broke()
			return resetError{}
		case !r.Cut:
			return nil
		case !held:
			l.Held()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// piece is bytes under way; none: the end.
type piece struct {
	b   []byte
	due time.Time
}

// Bounds of what a direction holds.
const (
	pieceBytes = 32 << 10
	pieces     = 32
)

// run relays both ways until both have ended, or one breaks.
func (c *carry) run(conn net.Conn) {
	c.near = conn.(*net.TCPConn)
	defer c.p.drop(c.far)
	defer c.p.drop(c.near)
	if !c.p.keep(c.near) || !c.p.keep(c.far) {
		return
	}
	ctx, cancel := context.WithCancel(c.p.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.resets(ctx) })
	var ways sync.WaitGroup
	ways.Go(func() { c.way(ctx, c.near, c.far, c.out) })
	ways.Go(func() { c.way(ctx, c.far, c.near, c.back) })
	ways.Wait()
	cancel()
	wg.Wait()
}

// resets breaks the connection when a rule says so.
func (c *carry) resets(ctx context.Context) {
	for {
		o, outChanged := c.out.Rule(c.class)
		b, backChanged := c.back.Rule(c.class)
		if o.Reset || b.Reset {
			if o.Reset {
				c.out.Broke()
			} else {
				c.back.Broke()
			}
			c.reset()
			return
		}
		select {
		case <-outChanged:
		case <-backChanged:
		case <-ctx.Done():
			return
		}
	}
}

func (c *carry) reset() {
	for _, x := range []*net.TCPConn{c.near, c.far} {
		x.SetLinger(0)
		x.Close()
	}
}

// way carries what is read from one end to the other. An end is carried like bytes: who
// sends it has left, and who is to hear of it does so when the link passes.
func (c *carry) way(ctx context.Context, from, to *net.TCPConn, l *link.Link) {
	ctx, cancel := context.WithCancel(ctx)
	queue := make(chan piece, pieces)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for x := range queue {
			select {
			case <-time.After(time.Until(x.due)):
			case <-ctx.Done():
			}
			if c.pass(ctx, l) != nil {
				c.reset()
				break
			}
			if x.b == nil {
				to.CloseWrite()
				break
			}
			if _, err := to.Write(x.b); err != nil {
				c.reset() // who sent it must not believe in it
				break
			}
		}
		for range queue { // the reader must not wait for ever
		}
	})
	var last time.Time
	for {
		b := make([]byte, pieceBytes)
		n, err := from.Read(b)
		due := time.Now().Add(l.Chunk(c.class, max(n, 1)))
		if due.Before(last) {
			due = last // a stream keeps its order
		}
		last = due
		if n > 0 {
			queue <- piece{b[:n], due}
		}
		if err != nil || ctx.Err() != nil {
			queue <- piece{nil, due}
			break
		}
	}
	close(queue)
	wg.Wait()
	cancel()
}
