package remoting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// ServerConn is a client's connection. Its methods may be called from any
// goroutine.
type ServerConn struct {
	link   *link
	server *Server
	id     uint64
	values sync.Map

	handlers sync.WaitGroup
	freed    chan struct{} // one token: something was answered

	mu      sync.Mutex
	count   int // requests in flight
	bytes   int // of their frames
	charged int // of bytes: taken from the server's budget
	pending map[int32]pending
	wide    bool // pending had many at a time, and room for them since
}

// pending are the requests with one opaque that wait for their replies; a
// peer in its right mind has one at a time.
type pending struct{ count, bytes int }

// ID is unique among the server's connections.
func (c *ServerConn) ID() uint64           { return c.id }
func (c *ServerConn) RemoteAddr() net.Addr { return c.link.nc.RemoteAddr() }
func (c *ServerConn) LocalAddr() net.Addr  { return c.link.nc.LocalAddr() }

// Done closes when the connection has ended.
func (c *ServerConn) Done() <-chan struct{} { return c.link.done }

// Draining closes when the server begins to shut down.
func (c *ServerConn) Draining() <-chan struct{} { return c.server.draining }

// Set keeps a value with the connection; Get returns it, nil if there is none.
func (c *ServerConn) Set(key, value any) { c.values.Store(key, value) }

// GetOrSet returns the value kept with the connection, or keeps this one.
func (c *ServerConn) GetOrSet(key, value any) any {
	v, _ := c.values.LoadOrStore(key, value)
	return v
}

// Unset forgets a value.
func (c *ServerConn) Unset(key any) { c.values.Delete(key) }

func (c *ServerConn) Get(key any) any {
	v, _ := c.values.Load(key)
	return v
}

// Send queues a reply, or a request nobody waits for, and does not block. The
// error says that cmd was certainly not sent; when the queue is full the
// connection is closed (ErrSlowPeer).
func (c *ServerConn) Send(cmd *Command) error {
	c.mu.Lock()
	few := c.count <= fewInFlight
	c.mu.Unlock()
	err := c.link.send(cmd, few)
	if cmd.IsReply() && !errors.Is(err, ErrTooLarge) {
		c.answered(cmd.Opaque)
	}
	return err
}

// Room waits until the peer has little left to read of what it was sent: what makes
// large replies asks first, so that a peer that does not read costs no more than it
// has asked for already. It returns at once when the connection has ended.
func (c *ServerConn) Room(ctx context.Context) {
	l := c.link
	l.mu.Lock()
	if l.outSize <= fairQueue {
		l.mu.Unlock()
		return
	}
	if l.low == nil {
		l.low = make(chan struct{})
	}
	low := l.low
	l.mu.Unlock()
	select {
	case <-low:
	case <-l.done:
	case <-ctx.Done():
	}
}

// Forget lets go of a request with that opaque that will not be answered. Its
// handler returns nil.
func (c *ServerConn) Forget(opaque int32) { c.answered(opaque) }

// Call sends a request to the client and waits for its reply. Errors are
// those of Conn.Call.
func (c *ServerConn) Call(ctx context.Context, req *Command) (*Command, error) {
	return c.link.call(ctx, req)
}

// Close ends the connection at once; what is queued is lost.
func (c *ServerConn) Close() error {
	c.link.fail(ErrClosed)
	return nil
}

// InFlight is the number of requests not answered yet, and of their bytes.
func (c *ServerConn) InFlight() (requests, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.bytes
}

func (c *ServerConn) serve() {
	s := c.server
	if s.OnOpen != nil {
		s.OnOpen(c)
	}
	var writer sync.WaitGroup
	writer.Go(c.link.write)
	err := c.link.read(c.before, c.admit, c.request)
	select {
	case <-s.draining:
		c.drain()
	default:
	}
	level := s.Logger.Debug
	if errors.Is(err, ErrFrame) {
		level = s.Logger.Warn
	}
	level("connection ended", "peer", c.RemoteAddr(), "error", err)
	c.link.fail(err)
	c.handlers.Wait()
	writer.Wait()
	c.mu.Lock()
	rest := c.charged // of requests that are never answered
	c.charged, c.pending = 0, nil
	c.mu.Unlock()
	c.link.requests.Give(rest)
	if s.OnClose != nil {
		s.OnClose(c)
	}
}

// before sets the deadline of the next bytes: of a frame that has begun, or of the
// next.
func (c *ServerConn) before(begun bool) error {
	t := c.server.IdleTimeout
	if begun {
		t = c.server.FrameTimeout
	}
	if t > 0 {
		c.link.nc.SetReadDeadline(time.Now().Add(t))
	}
	// After the deadline: Shutdown closes draining first, then sets its own.
	select {
	case <-c.server.draining:
		return errDraining
	default:
		return nil
	}
}

// admit waits until a frame of size may be read.
func (c *ServerConn) admit(size int) error {
	for {
		c.mu.Lock()
		if c.count == 0 || c.count < c.server.MaxInFlight && c.bytes+size <= c.server.MaxInFlightBytes {
			c.count++
			c.bytes += size
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-c.freed:
		case <-c.link.done:
			return io.ErrClosedPipe
		case <-c.server.draining:
			return errDraining
		}
	}
}

// release lets go of a request; charged are those of its bytes that were taken from
// the server's budget.
func (c *ServerConn) release(bytes, charged int) {
	c.mu.Lock()
	c.count--
	c.bytes -= bytes
	charged = min(charged, c.charged)
	c.charged -= charged
	c.mu.Unlock()
	c.link.requests.Give(charged)
	signal(c.freed)
}

// answered lets go of one request with that opaque. Of several it is not known which; their
// bytes are given back with the last.
func (c *ServerConn) answered(opaque int32) {
	c.mu.Lock()
	p, ok := c.pending[opaque]
	if !ok {
		c.mu.Unlock()
		return
	}
	bytes := 0
	if p.count--; p.count == 0 {
		bytes = p.bytes
		if delete(c.pending, opaque); c.wide && len(c.pending) <= fewFrames/4 { // a map does not shrink
			few := make(map[int32]pending, len(c.pending))
			maps.Copy(few, c.pending)
			c.pending, c.wide = few, false
		}
	} else {
		c.pending[opaque] = p
	}
	c.mu.Unlock()
	c.release(bytes, bytes)
}

// request starts the handler; req is nil when the frame was a reply, err is not
// when its body was dropped.
func (c *ServerConn) request(req *Command, size int, err error) {
	if err != nil {
		c.release(size, 0)
		if req != nil && !req.IsOneway() && !c.server.unsaid(req, SystemBusy) {
			// Not Send: another request with its opaque may be in flight, which this does not answer.
			c.link.send(req.Reply(SystemBusy, "[OVERLOAD] the node has too many bytes in flight; certainly not stored"), false)
		}
		return
	}
	c.mu.Lock()
	c.charged += size
	c.mu.Unlock()
	if req == nil {
		c.release(size, size)
		return
	}
	if !req.IsOneway() {
		c.mu.Lock()
		p := c.pending[req.Opaque]
		c.pending[req.Opaque] = pending{p.count + 1, p.bytes + size}
		c.wide = c.wide || len(c.pending) > fewFrames
		c.mu.Unlock()
	}
	c.handlers.Add(1)
	go c.handle(req, size)
}

func (c *ServerConn) handle(req *Command, size int) {
	defer c.handlers.Done()
	// The handler owns req and may change it.
	opaque, serial, oneway := req.Opaque, req.Serial, req.IsOneway()
	reply := c.guarded(req)
	if oneway {
		c.release(size, size)
		return
	}
	if reply == nil {
		return
	}
	r := *reply
	r.Opaque, r.Serial = opaque, serial
	r.Flag = r.Flag&^FlagOneway | FlagReply
	if err := c.Send(&r); errors.Is(err, ErrTooLarge) {
		c.server.Logger.Error("reply does not fit a frame", "code", req.Code, "error", err)
		c.Send(&Command{Code: SystemError, Language: Java, Version: Version, Opaque: opaque, Flag: FlagReply, Remark: err.Error(), Serial: serial})
	}
}

// guarded is the handler with its panics turned into SystemError.
func (c *ServerConn) guarded(req *Command) (reply *Command) {
	code, opaque, oneway := req.Code, req.Opaque, req.IsOneway()
	defer func() {
		if p := recover(); p != nil {
			c.server.Logger.Error("handler panicked", "code", code, "peer", c.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
			reply = req.Reply(SystemError, fmt.Sprintf("panic in handler of code %d", code))
			if !oneway && c.server.unsaid(req, SystemError) {
				c.Forget(opaque)
				reply = nil
			}
		}
	}()
	return c.server.Handler.Serve(c.link.ctx, c, req)
}

// drain waits until what was read is answered and written.
func (c *ServerConn) drain() {
	for {
		c.mu.Lock()
		// What is counted but not pending is one-way, or a frame cut short.
		n := len(c.pending)
		c.mu.Unlock()
		if n == 0 {
			break
		}
		select {
		case <-c.freed:
		case <-c.link.done:
			return
		}
	}
	idle := make(chan struct{})
	go func() {
		c.handlers.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-c.link.done:
		return
	}
	c.link.flush(c.link.ctx)
}
