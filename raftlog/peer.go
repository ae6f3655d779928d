package raftlog

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// netPeer is this node's side of its links to another node.
type netPeer struct {
	t             *Transport
	node          string
	control, data *peerLine
	done          chan struct{} // closed when the peer is given up
	once          sync.Once
	pinged        bool // the ping goroutine runs; guarded by the transport

	heard     atomic.Int64 // ns since the transport's epoch of the last frame from there
	verdict   atomic.Int32 // linkUnknown, linkUp, linkDown
	judgement sync.Mutex   // held while verdict changes, so that events keep the order
	judged    bool         // verdicts are wanted: the node is one of SetPeers
}

const (
	linkUnknown int32 = iota
	linkUp
	linkDown
)

func newPeer(t *Transport, node string) *netPeer {
	p := &netPeer{t: t, node: node, done: make(chan struct{})}
	p.control = &peerLine{p: p, class: classControl, changed: make(chan struct{}), kick: make(chan struct{}, 1)}
	p.data = &peerLine{p: p, class: classData, changed: make(chan struct{}), kick: make(chan struct{}, 1)}
	return p
}

// close gives the peer up: its links are closed, its goroutines end.
func (p *netPeer) close() {
	p.once.Do(func() { close(p.done) })
	p.judgement.Lock()
	p.judged = false
	p.judgement.Unlock()
	p.control.reset(raft.ErrTransportShutdown)
	p.data.reset(raft.ErrTransportShutdown)
}

// peerLine keeps the link of one class to a peer: it dials when somebody wants the link, or always if keep is set.
type peerLine struct {
	p     *netPeer
	class string
	kick  chan struct{} // dial without waiting for the back-off to end

	mu      sync.Mutex
	link    *peerLink
	keep    bool
	running bool
	waiting int
	lastErr error
	changed chan struct{} // closed and replaced when link or lastErr changes
}

// now returns the link if there is one.
func (l *peerLine) now() *peerLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.liveLocked()
}

// liveLocked returns the link unless it has ended.
func (l *peerLine) liveLocked() *peerLink {
	if l.link == nil {
		return nil
	}
	select {
	case <-l.link.dead:
		return nil
	default:
		return l.link
	}
}

// get waits for the link until ctx or stop ends. The error wraps ErrUnreachable, or is ErrTransportShutdown.
func (l *peerLine) get(ctx context.Context, stop <-chan struct{}) (*peerLink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting++
	defer func() { l.waiting-- }()
	for {
		if link := l.liveLocked(); link != nil {
			return link, nil
		}
		if !l.startLocked() {
			return nil, raft.ErrTransportShutdown
		}
		changed := l.changed
		l.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-stop:
			err = raft.ErrTransportShutdown
		case <-l.p.done:
			err = raft.ErrTransportShutdown
		case <-l.p.t.done:
			err = raft.ErrTransportShutdown
		}
		l.mu.Lock()
		if errors.Is(err, raft.ErrTransportShutdown) {
			return nil, err
		}
		if err != nil && l.liveLocked() == nil {
			if l.lastErr != nil {
				err = l.lastErr
			}
			return nil, unreachable(l.p.node, err)
		}
	}
}

// wait is get for at most d.
func (l *peerLine) wait(d time.Duration, stop <-chan struct{}) (*peerLink, error) {
	if link := l.now(); link != nil {
		return link, nil
	}
	ctx, cancel := context.WithTimeout(l.p.t.ctx, d)
	defer cancel()
	return l.get(ctx, stop)
}

// hold keeps the line dialled from now on.
func (l *peerLine) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = true
	l.startLocked()
}

func (l *peerLine) startLocked() bool {
	if l.running {
		return true
	}
	l.running = l.p.t.start(l.run)
	return l.running
}

// reset closes the link, if any.
func (l *peerLine) reset(err error) {
	if link := l.now(); link != nil {
		link.fail(err)
	}
}

// hurry ends a back-off.
func (l *peerLine) hurry() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run dials, serves the link, and dials again, while somebody wants it.
func (l *peerLine) run() {
	t, back := l.p.t, redialMin
	for l.wanted() {
		link, err := l.dial()
		if err != nil {
			l.set(nil, err)
			l.p.unanswered(l.class, err)
			timer := time.NewTimer(back)
			select {
			case <-timer.C:
			case <-l.kick:
			case <-l.p.done:
			case <-t.done:
			}
			timer.Stop()
			back = min(2*back, redialMax)
			continue
		}
		back = redialMin
		l.set(link, nil)
		l.p.answered(l.class)
		link.serve()
		l.set(nil, link.err)
	}
}

// wanted says whether to go on; if not, the goroutine is over.
func (l *peerLine) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.p.done:
		l.running, l.keep = false, false
	case <-l.p.t.done:
		l.running = false
	default:
		l.running = l.keep || l.waiting > 0
	}
	return l.running
}

func (l *peerLine) set(link *peerLink, err error) {
	l.mu.Lock()
	l.link, l.lastErr = link, err
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
}

func (l *peerLine) dial() (*peerLink, error) {
	t := l.p.t
	conn, answer, err := t.dialClass(t.ctx, l.p.done, l.p.node, l.class)
	if err != nil {
		return nil, err
	}
	return newLink(l.p, conn, answer.incarnation), nil
}

// dialClass dials a node for a class and remembers the connection until it is dropped.
func (t *Transport) dialClass(ctx context.Context, done <-chan struct{}, node, class string) (*heldConn, helloAnswer, error) {
	t.stats.dials.Add(1)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, raw, answer, err := t.introduce(done, func() (net.Conn, error) { return t.cfg.Dial(ctx, node) }, node, class)
	if err == nil && !t.hold(raw) {
		err = raft.ErrTransportShutdown
	}
	if err == nil {
		if err = t.name(raw, class, answer.peer()); err != nil {
			t.drop(raw)
		}
	}
	if err != nil {
		t.stats.dialsFailed.Add(1)
		return nil, answer, err
	}
	return &heldConn{Conn: conn, t: t, raw: raw, peer: answer.peer()}, answer, nil
}

// heldConn is a connection that the transport closes with itself, until it is closed.
type heldConn struct {
	net.Conn
	t    *Transport
	raw  net.Conn // what the transport holds
	peer Peer
}

// SyscallConn gives the socket of a connection without TLS.
func (c *heldConn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.raw.(syscall.Conn); ok && c.Conn == c.raw {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// PeerOf says who is at the other end of a connection from Dial or a Listener.
func PeerOf(conn net.Conn) (p Peer, ok bool) {
	c, ok := conn.(*heldConn)
	if ok {
		p = c.peer
	}
	return p, ok
}

// hangUp closes the connection without ceremony: closing TLS may wait for a peer that does not read.
func (c *heldConn) hangUp() { c.t.drop(c.raw) }

func (c *heldConn) Close() error {
	err := c.Conn.Close()
	c.t.drop(c.raw)
	return err
}
