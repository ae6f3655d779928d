package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"raftmq/remoting"
)

// DefaultEndpoint is the name-server port of a node on this machine.
const DefaultEndpoint = "127.0.0.1:9876"

// Client is a program's access to a cluster. Its methods may be called from
// any goroutine.
type Client struct {
	endpoints   []string
	tls         *tls.Config
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	dialTimeout time.Duration
	log         *slog.Logger
	id          string // client id, unique
	codecs      codecs

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup // every goroutine of the client itself
	conns    conns
	routes   routes
	requests requests
	presence *presence

	mu        sync.Mutex
	closed    bool
	endpoint  int // the one that answered last
	producers map[*Producer]struct{}
	consumers map[*Consumer]struct{} // that run, one of a group
	joined    int64                  // when the last of them began to, Unix ms
}

// Option changes a client.
type Option func(*Client)

// WithEndpoints names nodes' name-server ports, host:port; one that answers is
// enough. Default: DefaultEndpoint.
func WithEndpoints(addrs ...string) Option {
	return func(c *Client) { c.endpoints = append([]string(nil), addrs...) }
}

// WithTLS speaks TLS to every node. Default: plain.
func WithTLS(cfg *tls.Config) Option { return func(c *Client) { c.tls = cfg } }

// WithLogger takes what happens in the background. Default: nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(c *Client) { c.log = l } }

// WithDialTimeout bounds connecting to a node. Default: 1 s.
func WithDialTimeout(d time.Duration) Option { return func(c *Client) { c.dialTimeout = d } }

// WithDialer connects in place of net.Dialer.
func WithDialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(c *Client) { c.dial = dial }
}

// Dial returns a client once a node has answered. The error names each
// endpoint and why it did not.
func Dial(ctx context.Context, opts ...Option) (*Client, error) {
	c := &Client{endpoints: []string{DefaultEndpoint}, dialTimeout: time.Second, presence: newPresence(),
		producers: make(map[*Producer]struct{}), consumers: make(map[*Consumer]struct{})}
	for _, o := range opts {
		o(c)
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if len(c.endpoints) == 0 {
		return nil, fmt.Errorf("%w: no endpoints", ErrInvalid)
	}
	for _, e := range c.endpoints {
		if _, _, err := net.SplitHostPort(e); err != nil {
			return nil, fmt.Errorf("%w: endpoint %q is not host:port", ErrInvalid, e)
		}
	}
	host, _ := os.Hostname()
	c.id = fmt.Sprintf("%s@%d#%s", strings.ReplaceAll(host, "@", "_"), os.Getpid(), randomHex(8))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.conns.init(c)
	c.routes.init(c)
	if err := c.Ping(ctx); err != nil {
		c.Close(ctx)
		return nil, fmt.Errorf("dial %s: %w", strings.Join(c.endpoints, ","), err)
	}
	c.spawn(c.heartbeats)
	c.spawn(c.routes.poll)
	return c, nil
}

// Ping asks one node for the cluster's addresses.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.clusterInfo(ctx)
	return err
}

// Close closes the producers that are open, all within ctx, then the
// connections, and returns when no goroutine is left. Consumers' Runs and
// readers should have ended; those that have not, fail with ErrClosed.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	open := make([]*Producer, 0, len(c.producers))
	for p := range c.producers {
		open = append(open, p)
	}
	c.mu.Unlock()
	var errs []error
	tell, done := c.endsSoonAfter(ctx)
	defer done()
	for _, p := range open {
		errs = append(errs, p.close(ctx, tell))
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	return errors.Join(errs...)
}

// inbound answers what nodes ask over our connections.
func (c *Client) inbound(_ context.Context, _ *remoting.Conn, req *remoting.Command) *remoting.Command {
	switch req.Code {
	case remoting.NotifyConsumerIDsChanged:
		var h remoting.ConsumerGroupHeader
		if h.Decode(req.Ext) == nil {
			for _, s := range c.running(h.ConsumerGroup) {
				s.told.Store(true)
				s.rebalanceSoon()
			}
		}
		return req.Reply(remoting.OK, "")
	case remoting.CheckTransactionState:
		c.asked(req)
		return req.Reply(remoting.OK, "")
	case remoting.PushReplyMessageToClient:
		return c.replied(req)
	case remoting.GetConsumerRunningInfo:
		return c.fares(req)
	case remoting.ResetConsumerClientOffset:
		var h remoting.ResetOffsetHeader
		var b remoting.ResetOffsetBody
		if err := h.Decode(req.Ext); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		if err := remoting.DecodeBody(req.Body, &b); err != nil {
			return req.Reply(remoting.InvalidParameter, err.Error())
		}
		for _, s := range c.running(h.Group) {
			s.reset(b.OffsetTable)
		}
		return req.Reply(remoting.OK, "")
	}
	return req.Reply(remoting.RequestCodeNotSupported, fmt.Sprintf("request code %d not supported", req.Code))
}

// join notes that s begins to run. Members are told apart by their client's id: two of one
// group here would each take the queues of that id.
func (c *Client) join(s *Consumer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	for other := range c.consumers {
		if other.group == s.group {
			return fmt.Errorf("%w: another consumer of group %s runs in this client", ErrInvalid, s.group)
		}
	}
	// Later than any before: the end of that one's run may reach a node after this has begun.
	c.joined = max(time.Now().UnixMilli(), c.joined+1)
	s.joined.Store(c.joined)
	c.consumers[s] = struct{}{}
	return nil
}

func (c *Client) running(group string) (out []*Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.consumers {
		if s.group == group {
			out = append(out, s)
		}
	}
	return out
}

// spawn starts a goroutine that Close waits for; false after Close.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
