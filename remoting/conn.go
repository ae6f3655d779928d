package remoting

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ConnHandler answers what the server asks over a client's connection. It runs
// in a goroutine of its own and owns req; nil is no reply.
type ConnHandler func(ctx context.Context, c *Conn, req *Command) *Command

// DialOptions has a working zero value.
type DialOptions struct {
	Dial         func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	Handler      ConnHandler                                                       // nil: RequestCodeNotSupported
	TLS          *tls.Config                                                       // nil: plain
	Timeout      time.Duration                                                     // of dialling and the TLS handshake; 0: 5 s
	MaxFrame     int                                                               // 0: 16 MiB
	MaxSendBytes int                                                               // frames waiting to be written; above it calls wait; 0: 16 MiB
	Serial       byte                                                              // of requests; JSON or Binary
	Logger       hclog.Logger                                                      // nil: none
}

// maxInbound bounds the server's requests being handled on a Conn; above it
// they are answered SystemBusy, or dropped if one-way.
const maxInbound = 128

// Conn is a client's connection: any number of calls at once.
type Conn struct {
	link    *link
	handler ConnHandler
	serial  byte
	inbound chan struct{}
	wg      sync.WaitGroup
}

// Dial connects. Errors mean that nothing was sent and wrap ErrNotSent.
func Dial(ctx context.Context, addr string, o DialOptions) (*Conn, error) {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: dial %s: %w", ErrNotSent, addr, err)
	}
	if o.TLS != nil {
		cfg := o.TLS
		if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
			cfg = cfg.Clone()
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		tc := tls.Client(nc, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("%w: TLS with %s: %w", ErrNotSent, addr, err)
		}
		nc = tc
	}
	return NewConn(nc, o), nil
}

// NewConn makes nc, which it owns, a client's connection.
func NewConn(nc net.Conn, o DialOptions) *Conn {
	if o.MaxFrame <= 0 {
		o.MaxFrame = MaxFrame
	}
	if o.MaxSendBytes <= 0 {
		o.MaxSendBytes = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	c := &Conn{link: newLink(nc, o.MaxFrame, o.MaxSendBytes, o.Logger), handler: o.Handler, serial: o.Serial, inbound: make(chan struct{}, maxInbound)}
	c.wg.Go(c.link.write)
	c.wg.Go(func() {
		none := func(bool) error { return nil }
		err := c.link.read(none, func(int) error { return nil }, c.request)
		c.link.fail(fmt.Errorf("read: %w", err))
	})
	return c
}

// Call sends a request and waits for its reply; req.Opaque is ignored. An error
// wraps ErrNotSent (certainly not seen by the peer: the queue was full, the
// context ended or the connection broke before the first byte was handed to
// the kernel), ErrConnLost, or ErrNoReply with the context's error: then the
// peer may have done it, or may yet. A reply with an error code is no error.
func (c *Conn) Call(ctx context.Context, req *Command) (*Command, error) {
	return c.link.call(ctx, c.dressed(req))
}

// Send queues a one-way request, waiting for room; it sets the flag. An error
// wraps ErrNotSent; without one it may or may not arrive.
func (c *Conn) Send(ctx context.Context, req *Command) error {
	r := *c.dressed(req)
	r.Flag |= FlagOneway
	r.Opaque = c.link.opaque.Add(1)
	f, err := c.link.encode(&r, r.Opaque)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return c.link.wait(ctx, f, r.Opaque)
}

// dressed is req in the connection's serialisation.
func (c *Conn) dressed(req *Command) *Command {
	if c.serial == req.Serial {
		return req
	}
	r := *req
	r.Serial = c.serial
	return &r
}

func (c *Conn) request(req *Command, _ int, _ error) {
	if req == nil {
		return
	}
	select {
	case c.inbound <- struct{}{}:
		c.wg.Go(func() {
			defer func() { <-c.inbound }()
			c.handle(req)
		})
	default:
		c.link.log.Warn("too many requests from the server", "code", req.Code, "limit", maxInbound)
		if !req.IsOneway() {
			c.link.send(req.Reply(SystemBusy, "[OVERLOAD] client is busy"), false)
		}
	}
}

func (c *Conn) handle(req *Command) {
	opaque, serial, oneway := req.Opaque, req.Serial, req.IsOneway()
	reply := c.guarded(req)
	if oneway || reply == nil {
		return
	}
	r := *reply
	r.Opaque, r.Serial = opaque, serial
	r.Flag = r.Flag&^FlagOneway | FlagReply
	if err := c.link.send(&r, false); err != nil {
		c.link.log.Debug("reply not sent", "code", req.Code, "error", err)
	}
}

func (c *Conn) guarded(req *Command) (reply *Command) {
	code := req.Code
	if c.handler == nil {
		return req.Reply(RequestCodeNotSupported, fmt.Sprintf("request code %d not supported", code))
	}
	defer func() {
		if p := recover(); p != nil {
			c.link.log.Error("handler panicked", "code", code, "panic", p, "stack", string(debug.Stack()))
			reply = req.Reply(SystemError, fmt.Sprintf("panic in handler of code %d", code))
		}
	}()
	return c.handler(c.link.ctx, c, req)
}

// Done closes when the connection has ended; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.link.done }

func (c *Conn) Err() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.link.err
}

// Heard is when the peer was last heard of: it sent something, or the connection was made.
func (c *Conn) Heard() time.Time { return c.link.began.Add(time.Duration(c.link.heard.Load())) }

func (c *Conn) RemoteAddr() net.Addr { return c.link.nc.RemoteAddr() }
func (c *Conn) LocalAddr() net.Addr  { return c.link.nc.LocalAddr() }

// Close ends the connection and its calls, and waits for its goroutines. Not
// to be called from its Handler.
func (c *Conn) Close() error {
	c.link.fail(ErrClosed)
	c.wg.Wait()
	return nil
}
