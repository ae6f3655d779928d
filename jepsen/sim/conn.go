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

// conn is an end of a connection. One goroutine reads at a time.
type conn struct {
	number  int64
	h       *Host
	local   net.Addr
	peer    net.Addr
	in, out *stream
	writeBy atomic.Int64 // Unix ns; 0: whenever
	once    sync.Once
	closed  atomic.Bool
}

var conns atomic.Int64

// pair makes both ends.
func pair(near, far *Host, local, remote string, out, back way) (*conn, *conn) {
	to, from := newStream(out), newStream(back)
	here, there := tcpAddr(local), tcpAddr(remote)
	a := &conn{number: conns.Add(1), h: near, local: here, peer: there, in: from, out: to}
	b := &conn{number: conns.Add(1), h: far, local: there, peer: here, in: to, out: from}
	return a, b
}

func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

func (c *conn) Write(b []byte) (int, error) {
	by := c.writeBy.Load()
	switch {
	case c.closed.Load():
		return 0, net.ErrClosed
	case by != 0 && time.Now().UnixNano() >= by:
		return 0, os.ErrDeadlineExceeded
	case c.in.isBroken():
		return 0, syscall.ECONNRESET
	}
	if !c.out.write(b) { // the other end has closed: it answers with a reset
		c.in.end(piece{reset: true})
	}
	return len(b), nil
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
		c.closed.Store(true)
		c.in.leave()
		c.out.end(last)
		c.h.keep(func() { delete(c.h.ends, c) })
	})
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.peer }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readUntil(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error { c.in.readUntil(t); return nil }

func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.writeBy.Store(0)
	} else {
		c.writeBy.Store(t.UnixNano())
	}
	return nil
}

// piece is bytes under way, the end of them, or that of the connection.
type piece struct {
	b          []byte
	due        time.Time
	end, reset bool
}

// stream is one direction of a connection.
type stream struct {
	way  way
	wake chan struct{} // has one when the reader must look again

	mu    sync.Mutex
	queue []piece
	last  time.Time   // due of the last
	until time.Time   // when reading is over; zero: never
	timer *time.Timer // when the reader looks again by itself
	waits bool        // the reader waits for the timer among others
	done  bool        // the last was put in
	left  bool        // nobody reads any more
	reset bool        // by a rule, or by the other end: nothing passes
}

func newStream(w way) *stream { return &stream{way: w, wake: make(chan struct{}, 1)} }

// poke has the reader look again.
func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
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
	now := time.Now()
	p.due = now.Add(s.way.late(size))
	if p.due.Before(s.last) {
		p.due = s.last // a stream keeps its order
	}
	s.last = p.due
	s.queue = append(s.queue, p)
	switch {
	case len(s.queue) > 1 || !s.waits: // who looks sees it
	case !p.due.After(now):
		s.poke()
	case s.until.IsZero() || p.due.Before(s.until):
		s.timer.Reset(p.due.Sub(now))
	}
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
	s.poke()
}

// readUntil sets when reading is over; zero: never.
func (s *stream) readUntil(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = t
	if s.waits {
		s.poke()
	}
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
		s.poke()
	}
	return s.reset
}

// read returns what has come, and waits until something has.
func (s *stream) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		rule, changed := s.way.rule()
		s.mu.Lock()
		s.waits = false
		now := time.Now()
		var err error
		switch {
		case s.left:
			err = net.ErrClosed
		case !s.until.IsZero() && !now.Before(s.until):
			err = os.ErrDeadlineExceeded
		case s.brokenLocked(rule.Reset):
			err = syscall.ECONNRESET
		}
		if err != nil {
			s.mu.Unlock()
			return 0, err
		}
		next := s.until
		if len(s.queue) > 0 && !rule.Cut {
			due := s.queue[0].due
			if !due.After(now) {
				defer s.mu.Unlock()
				return s.takeLocked(b, now)
			}
			if next.IsZero() || due.Before(next) {
				next = due
			}
		}
		s.waitLocked(now, next)
		s.mu.Unlock()
		select {
		case <-s.timer.C:
		case <-s.wake:
		case <-changed:
		}
	}
}

// waitLocked has the timer look again at a time; zero: never.
func (s *stream) waitLocked(now, next time.Time) {
	s.waits = true
	switch {
	case next.IsZero() && s.timer != nil:
		s.timer.Stop()
	case next.IsZero():
		s.timer = time.NewTimer(0)
		s.timer.Stop()
	case s.timer == nil:
		s.timer = time.NewTimer(next.Sub(now))
	default:
		s.timer.Reset(next.Sub(now))
	}
}

// takeLocked gives what has come of the queue.
func (s *stream) takeLocked(b []byte, now time.Time) (n int, err error) {
	for ; len(s.queue) > 0 && n < len(b); s.queue = s.queue[1:] {
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
