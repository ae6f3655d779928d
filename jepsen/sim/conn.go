package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is an end of a connection.
type conn struct {
	number      int64
	h           *Host
	local, peer string
	in, out     *stream
	readBy      deadline
	writeBy     deadline
	once        sync.Once
	closed      chan struct{}
}

var conns atomic.Int64

// pair makes both ends.
func pair(near, far *Host, local, remote string, out, back way) (*conn, *conn) {
	to, from := newStream(out), newStream(back)
	a := &conn{number: conns.Add(1), h: near, local: local, peer: remote, in: from, out: to, closed: make(chan struct{})}
	b := &conn{number: conns.Add(1), h: far, local: remote, peer: local, in: to, out: from, closed: make(chan struct{})}
	a.readBy.init()
	a.writeBy.init()
	b.readBy.init()
	b.writeBy.init()
	return a, b
}

func (c *conn) Read(b []byte) (int, error) {
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	return c.in.read(b, &c.readBy, c.closed)
}

func (c *conn) Write(b []byte) (int, error) {
	switch {
	case c.isClosed():
		return 0, net.ErrClosed
	case c.writeBy.isOver():
		return 0, os.ErrDeadlineExceeded
	case c.in.isBroken():
		return 0, syscall.ECONNRESET
	}
	if !c.out.write(b) { // the other end has closed: it answers with a reset
		c.in.end(piece{reset: true})
	}
	return len(b), nil
}

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close sends what was written, and then the end.
func (c *conn) Close() error {
	c.finish(piece{end: true})
	return nil
}

// die ends it as the end of a process does.
func (c *conn) die() { c.finish(piece{reset: true}) }

func (c *conn) finish(last piece) {
	c.once.Do(func() {
		close(c.closed)
		c.in.leave()
		c.out.end(last)
		c.h.keep(func() { delete(c.h.ends, c) })
	})
}

func (c *conn) LocalAddr() net.Addr  { return tcpAddr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return tcpAddr(c.peer) }

func (c *conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.readBy.set(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.writeBy.set(t); return nil }

// piece is bytes under way, the end of them, or that of the connection.
type piece struct {
	b          []byte
	due        time.Time
	end, reset bool
}

// stream is one direction of a connection.
type stream struct {
	way way

	mu    sync.Mutex
	queue []piece
	last  time.Time     // due of the last
	done  bool          // the last was put in
	left  bool          // nobody reads any more
	reset bool          // by a rule, or by the other end: nothing passes
	grows chan struct{} // closes, and is replaced, when any of these change
}

func newStream(w way) *stream { return &stream{way: w, grows: make(chan struct{})} }

func (s *stream) changedLocked() {
	close(s.grows)
	s.grows = make(chan struct{})
}

// write puts bytes on the way; false: nobody reads there any more.
func (s *stream) write(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return false
	}
	if !s.done {
		s.putLocked(piece{b: append([]byte(nil), b...)}, len(b))
	}
	return true
}

func (s *stream) putLocked(p piece, size int) {
	if r, _ := s.way.rule(); r.Cut {
		s.way.link.Held()
	}
	p.due = time.Now().Add(s.way.late(size))
	if p.due.Before(s.last) {
		p.due = s.last // a stream keeps its order
	}
	s.last = p.due
	s.queue = append(s.queue, p)
	s.changedLocked()
}

// end puts the last piece in.
func (s *stream) end(p piece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.putLocked(p, 1)
		s.done = true
	}
}

// leave says that nobody reads any more.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	s.queue = nil
}

func (s *stream) isBroken() bool {
	r, _ := s.way.rule()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brokenLocked(r.Reset)
}

func (s *stream) brokenLocked(rule bool) bool {
	if rule && !s.reset {
		s.reset = true
		s.way.link.Broke()
		s.changedLocked()
	}
	return s.reset
}

// read returns what has come, and waits until something has.
func (s *stream) read(b []byte, by *deadline, closed <-chan struct{}) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		over, moved := by.state()
		select {
		case <-over:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		rule, changed := s.way.rule()
		s.mu.Lock()
		if s.brokenLocked(rule.Reset) {
			s.mu.Unlock()
			return 0, syscall.ECONNRESET
		}
		grows := s.grows
		var wait time.Duration
		some := len(s.queue) > 0
		if some {
			wait = time.Until(s.queue[0].due)
		}
		if some && wait <= 0 && !rule.Cut {
			defer s.mu.Unlock()
			return s.takeLocked(b)
		}
		s.mu.Unlock()
		var due <-chan time.Time
		if some && wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			due = t.C
		}
		select {
		case <-due:
		case <-grows:
		case <-changed:
		case <-over:
		case <-moved:
		case <-closed:
			return 0, net.ErrClosed
		}
	}
}

// takeLocked gives what has come of the queue.
func (s *stream) takeLocked(b []byte) (n int, err error) {
	for now := time.Now(); len(s.queue) > 0 && n < len(b); s.queue = s.queue[1:] {
		p := &s.queue[0]
		switch {
		case p.due.After(now):
			return n, nil
		case n > 0 && (p.end || p.reset):
			return n, nil
		case p.end:
			return 0, io.EOF // stays
		case p.reset:
			s.reset = true
			return 0, syscall.ECONNRESET
		}
		k := copy(b[n:], p.b)
		n += k
		if k < len(p.b) {
			p.b = p.b[k:]
			return n, nil
		}
	}
	return n, nil
}

// deadline is a time by which reads or writes are over.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closes at the time
	turns  chan struct{} // closes, and is replaced, when it is set
}

func (d *deadline) init() { d.passed, d.turns = make(chan struct{}), make(chan struct{}) }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = make(chan struct{})
	passed := d.passed
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(passed)
	default:
		d.timer = time.AfterFunc(wait, func() { close(passed) })
	}
	close(d.turns)
	d.turns = make(chan struct{})
}

// state is what closes when the time is over, and what does when another is set.
func (d *deadline) state() (over, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed, d.turns
}

func (d *deadline) isOver() bool {
	over, _ := d.state()
	select {
	case <-over:
		return true
	default:
		return false
	}
}
