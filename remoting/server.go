package remoting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Handler answers requests. Serve runs in a goroutine of its own and may
// block; ctx ends with the connection. It owns req. The reply it returns is
// given req's opaque and serialisation, so a reply of another node can be
// passed on; the reply to a one-way request is dropped. Nil means that the
// reply comes later by c.Send: until then the request counts as in flight. A
// panic is logged and answered with SystemError.
type Handler interface {
	Serve(ctx context.Context, c *ServerConn, req *Command) *Command
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, c *ServerConn, req *Command) *Command

func (f HandlerFunc) Serve(ctx context.Context, c *ServerConn, req *Command) *Command {
	return f(ctx, c, req)
}

// Server serves connections of any number of listeners. Set its fields before
// the first Serve.
type Server struct {
	Handler          Handler
	MaxFrame         int           // 0: 16 MiB
	MaxInFlight      int           // requests of a connection not answered yet; above it reading stops; 0: 4096
	MaxInFlightBytes int           // their frames; one frame is always let in; 0: 32 MiB
	MaxSendBytes     int           // frames waiting to be written to a peer; above it the peer is closed; 0: 32 MiB
	MaxConns         int           // further connections are closed at once; 0: 65536
	Open             *Budget       // of connections, 1 each, of all servers that are given it; further ones are closed at once
	Requests         *Budget       // of the frames in flight on all connections; above it SystemBusy is answered
	Queued           *Budget       // of the frames waiting to be written; above it peers with more than 1 MiB waiting are closed
	IdleTimeout      time.Duration // without a frame from the peer; 0: 120 s, negative: none
	FrameTimeout     time.Duration // from a frame's first byte to its last; 0: 30 s
	Logger           hclog.Logger  // nil: none

	OnOpen, OnClose func(*ServerConn) // before the first and after the last request
	OnDrain         func()            // Shutdown began: answer what is held
	// Unsaid reports whether a refusal by the server itself is kept from a peer, which would take it for another
	// answer: its own time-out speaks. nil: each is told.
	Unsaid func(req *Command, refusal Code) bool

	once      sync.Once
	draining  chan struct{}
	conns     sync.WaitGroup
	ids       atomic.Uint64
	warned    atomic.Int64 // Unix ns
	mu        sync.Mutex
	stopped   bool
	listeners map[net.Listener]struct{}
	open      map[*ServerConn]struct{}
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("remoting: server closed")

var errDraining = errors.New("remoting: shutting down")

func (s *Server) unsaid(req *Command, refusal Code) bool {
	return s.Unsaid != nil && s.Unsaid(req, refusal)
}

func (s *Server) init() {
	s.once.Do(func() {
		def := func(p *int, n int) {
			if *p <= 0 {
				*p = n
			}
		}
		def(&s.MaxFrame, MaxFrame)
		def(&s.MaxInFlight, 4096)
		def(&s.MaxInFlightBytes, 32<<20)
		def(&s.MaxSendBytes, 32<<20)
		def(&s.MaxConns, 65536)
		if s.IdleTimeout == 0 {
			s.IdleTimeout = 120 * time.Second
		}
		if s.FrameTimeout == 0 {
			s.FrameTimeout = 30 * time.Second
		}
		if s.Logger == nil {
			s.Logger = hclog.NewNullLogger()
		}
		s.draining = make(chan struct{})
		s.listeners = make(map[net.Listener]struct{})
		s.open = make(map[*ServerConn]struct{})
	})
}

// Draining closes when Shutdown begins: a handler that waits answers then.
func (s *Server) Draining() <-chan struct{} {
	s.init()
	return s.draining
}

// Serve accepts connections of ln, which it closes, until Shutdown, Close
// (ErrServerClosed) or an error that does not pass.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		ln.Close()
		return ErrServerClosed
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
		ln.Close()
	}()
	var delay time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			delay = 0
			s.start(nc)
			continue
		}
		select {
		case <-s.draining:
			return ErrServerClosed
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		// Out of files or the like: it may pass.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.Logger.Warn("accept failed", "listener", ln.Addr(), "error", err, "again", delay)
		select {
		case <-s.draining:
			return ErrServerClosed
		case <-time.After(delay):
		}
	}
}

func (s *Server) start(nc net.Conn) {
	l := newLink(nc, s.MaxFrame, s.MaxSendBytes, s.Logger)
	l.requests, l.queued = s.Requests, s.Queued
	c := &ServerConn{link: l, server: s, id: s.ids.Add(1), pending: make(map[int32]pending), freed: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.stopped || len(s.open) >= s.MaxConns || !s.Open.Take(1) {
		full := !s.stopped
		s.mu.Unlock()
		l.cancel()
		nc.Close()
		if full {
			s.tooMany(nc.RemoteAddr())
		}
		return
	}
	l.queued.join(l)
	s.open[c] = struct{}{}
	s.conns.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.conns.Done()
		c.serve()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
		s.Open.Give(1)
	}()
}

// tooMany warns, once in a while.
func (s *Server) tooMany(peer net.Addr) {
	now := time.Now().UnixNano()
	if last := s.warned.Load(); now-last > int64(10*time.Second) && s.warned.CompareAndSwap(last, now) {
		s.Logger.Warn("too many connections: further ones are closed", "open", s.Conns(), "peer", peer)
	}
}

func (s *Server) stop() (first bool, conns []*ServerConn) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !s.stopped
	if first {
		s.stopped = true
		close(s.draining)
	}
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.open {
		conns = append(conns, c)
	}
	return first, conns
}

// Shutdown stops accepting and reading, calls OnDrain, waits until every
// request in flight is answered and written, and closes the connections. When
// ctx ends first it closes them as they are and returns ctx's error. Requests
// that were not read yet are not answered.
func (s *Server) Shutdown(ctx context.Context) error {
	first, conns := s.stop()
	for _, c := range conns {
		c.link.nc.SetReadDeadline(time.Unix(1, 0))
	}
	if first && s.OnDrain != nil {
		s.OnDrain()
	}
	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, c := range conns {
		c.Close()
	}
	<-done
	return ctx.Err()
}

// Close ends the server and its connections without waiting for answers; it
// returns when every handler has returned.
func (s *Server) Close() error {
	_, conns := s.stop()
	for _, c := range conns {
		c.Close()
	}
	s.conns.Wait()
	return nil
}

// Conns is the number of open connections.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
