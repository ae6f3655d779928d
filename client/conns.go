package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/remoting"
)

// conns holds one connection for each address that was needed.
type conns struct {
	c    *Client
	mu   sync.Mutex
	open map[string]*connection
	down map[string]time.Time // addresses that could not be reached, until when they are tried last
}

// connection is being dialled until ready closes; then conn or err is set.
type connection struct {
	ready chan struct{}
	conn  *remoting.Conn
	clock remoting.PeerClock // of the node
	err   error
	deaf  atomic.Pointer[time.Time] // since when nothing was heard though something was asked; nil: never
}

// deafFor is how long nothing at all may be heard on a connection on which something was asked:
// it may be dead, and the network say so after many minutes only.
const deafFor = 6 * time.Second

// clockFresh is how old what is known of a node's clock may be for a deadline: heartbeats
// tell it every 30 s. A deadline is early by a fiftieth of it at most.
const clockFresh = 35 * time.Second

// downFor is how long an address that refused comes after the others.
const downFor = 500 * time.Millisecond

func (s *conns) init(c *Client) {
	s.c, s.open, s.down = c, make(map[string]*connection), make(map[string]time.Time)
}

// call sends req to addr and waits for the answer. The node is told until when: what it comes
// to later it does not do. That holds from the second request of a connection on. Errors are those of
// remoting.Conn.Call: one that wraps ErrNotSent is a certain no.
func (s *conns) call(ctx context.Context, addr string, req *remoting.Command) (*remoting.Command, error) {
	e, err := s.get(ctx, addr)
	if err != nil {
		return nil, err
	}
	if by, ok := ctx.Deadline(); ok {
		e.clock.Bound(req, by, clockFresh)
	}
	begun := time.Now()
	reply, err := e.conn.Call(ctx, req)
	if err == nil {
		e.clock.Heard(reply)
	} else if errors.Is(err, remoting.ErrNoReply) && e.dead(begun) {
		s.c.log.Info("nothing is heard on a connection: it is made anew", "addr", addr)
		s.c.spawn(func() { e.conn.Close() })
	}
	return reply, err
}

// dead reports whether nothing was heard for too long; what was asked at begun was not answered.
func (e *connection) dead(begun time.Time) bool {
	heard := e.conn.Heard()
	if !heard.Before(begun) {
		return false
	}
	since := e.deaf.Load()
	if since == nil || !since.After(heard) {
		since = &begun
		e.deaf.Store(since)
	}
	return time.Since(*since) > deafFor
}

// get returns the live connection to addr, dialling it once for all who ask.
func (s *conns) get(ctx context.Context, addr string) (*connection, error) {
	s.mu.Lock()
	e := s.open[addr]
	if e == nil || e.ended() {
		e = &connection{ready: make(chan struct{})}
		if !s.c.spawn(func() { s.keep(addr, e) }) {
			s.mu.Unlock()
			return nil, fmt.Errorf("%w: %w", remoting.ErrNotSent, ErrClosed)
		}
		s.open[addr] = e
	}
	s.mu.Unlock()
	select {
	case <-e.ready:
		return e, e.err
	default:
	}
	select {
	case <-e.ready:
		return e, e.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: dial %s: %w", remoting.ErrNotSent, addr, ctx.Err())
	}
}

// connected reports whether there is a connection to addr.
func (s *conns) connected(addr string) bool {
	s.mu.Lock()
	e := s.open[addr]
	s.mu.Unlock()
	if e == nil {
		return false
	}
	select {
	case <-e.ready:
		return !e.ended()
	default:
		return false
	}
}

func (e *connection) ended() bool {
	select {
	case <-e.ready:
	default:
		return false
	}
	if e.err != nil {
		return true
	}
	select {
	case <-e.conn.Done():
		return true
	default:
		return false
	}
}

// keep dials addr and watches the connection until it ends.
func (s *conns) keep(addr string, e *connection) {
	e.conn, e.err = remoting.Dial(s.c.ctx, addr, remoting.DialOptions{Dial: s.c.dial, Handler: s.c.inbound, TLS: s.c.tls,
		Timeout: s.c.dialTimeout, MaxSendBytes: 64 << 20})
	s.mu.Lock()
	if e.err != nil {
		s.down[addr] = time.Now().Add(downFor)
	} else {
		delete(s.down, addr)
	}
	s.mu.Unlock()
	close(e.ready)
	if e.err == nil {
		s.c.log.Debug("connected", "addr", addr)
		select {
		case <-e.conn.Done():
			s.c.log.Info("connection ended", "addr", addr, "error", e.conn.Err())
		case <-s.c.ctx.Done():
		}
		e.conn.Close()
		s.c.beatSoon()
	}
	s.mu.Lock()
	if s.open[addr] == e {
		delete(s.open, addr)
	}
	s.mu.Unlock()
}

// avoid puts an address last for a while: it does not answer.
func (s *conns) avoid(addr string) {
	s.mu.Lock()
	s.down[addr] = time.Now().Add(4 * downFor)
	s.mu.Unlock()
}

// order puts addresses that were refused a moment ago last. It may change
// addrs.
func (s *conns) order(addrs []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.down) == 0 {
		return addrs
	}
	now := time.Now()
	up := make([]string, 0, len(addrs))
	var last []string
	for _, a := range addrs {
		if until, ok := s.down[a]; ok && now.Before(until) {
			last = append(last, a)
		} else {
			up = append(up, a)
		}
	}
	return append(up, last...)
}

// Times of one request that may be asked again elsewhere.
const (
	askTry   = 3 * time.Second  // one node's answer
	askTotal = 10 * time.Second // when the caller's context sets no end
)

// effect is what comes of a request that is asked again.
type effect int

const (
	looks    effect = iota // nothing: it asks for something
	changes                // no harm; but it may be done when no answer was had
	notTwice               // harm
)

// ask sends a request that may be done twice to one address after the other
// until one answers otherwise than "later". addrs is asked again before each
// round.
func (c *Client) ask(ctx context.Context, op string, addrs func() []string, req *remoting.Command) (*remoting.Command, string, error) {
	return c.asking(ctx, op, addrs, req, looks)
}

// asking is ask; what is not to be done twice ends after a try that may have been done. If
// one may have been, the error of what has an effect is ErrUncertain.
func (c *Client) asking(ctx context.Context, op string, addrs func() []string, req *remoting.Command, does effect) (*remoting.Command, string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTotal)
		defer cancel()
	}
	req.SetExt("rmq", "1")
	maybe := false // a try may have been done
	ended := func(err error) error {
		if maybe && does != looks {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return fmt.Errorf("%s: %w", op, err)
	}
	var last error
	for wait := newBackoff(20*time.Millisecond, time.Second); ; {
		list := c.conns.order(addrs())
		if len(list) == 0 {
			last = fmt.Errorf("%w: no address known", ErrUnavailable)
		}
		for i, addr := range list {
			try, cancel := context.WithTimeout(ctx, askTry)
			r, err := c.conns.call(try, addr, req)
			cancel()
			if errors.Is(err, remoting.ErrNoReply) && ctx.Err() == nil {
				c.conns.avoid(addr)
			}
			now := err != nil && !errors.Is(err, remoting.ErrNotSent) || err == nil && r.Code == remoting.OutcomeUnknown
			maybe = maybe || now
			switch {
			case err != nil && (c.isClosed() || errors.Is(err, ErrClosed)):
				return nil, addr, ended(ErrClosed)
			case err != nil && errors.Is(err, remoting.ErrTooLarge):
				return nil, addr, fmt.Errorf("%s: %w: %w", op, ErrTooLarge, err)
			case err != nil:
				last = fmt.Errorf("%w: %s: %w", ErrUnavailable, addr, err)
			case isLater(r.Code):
				last = refusal(op, "", "", addr, r)
			case r.Code == remoting.RequestCodeNotSupported && i+1 < len(list):
				last = refusal(op, "", "", addr, r) // by this node, or this port of it
			default:
				return r, addr, nil
			}
			if now && does == notTwice {
				return nil, addr, ended(last)
			}
			if ctx.Err() != nil {
				return nil, addr, ended(fmt.Errorf("%w (%w)", ctx.Err(), last))
			}
		}
		if err := wait.sleep(ctx); err != nil {
			return nil, "", ended(fmt.Errorf("%w (%w)", err, last))
		}
	}
}

// isLater says that a code only means "not now" to a request that may be
// repeated.
func isLater(code remoting.Code) bool {
	switch code {
	case remoting.ServiceNotAvailable, remoting.SystemBusy, remoting.FlowControl, remoting.OutcomeUnknown, remoting.NotLeaderForQueue:
		return true
	}
	return false
}

// endpointList is whom to ask what a name server is asked, in this order.
func (c *Client) endpointList() []string {
	c.mu.Lock()
	list := append(append([]string(nil), c.endpoints[c.endpoint:]...), c.endpoints[:c.endpoint]...)
	c.mu.Unlock() // before routes.mu, under which begin wants it
	return append(list, c.routes.addresses("")...)
}

// askEndpoint asks the name server: the endpoint that answered last first,
// after all endpoints the brokers, which are the same nodes.
func (c *Client) askEndpoint(ctx context.Context, op string, req *remoting.Command) (*remoting.Command, string, error) {
	r, addr, err := c.ask(ctx, op, c.endpointList, req)
	if err == nil {
		c.mu.Lock()
		for i, e := range c.endpoints {
			if e == addr {
				c.endpoint = i
			}
		}
		c.mu.Unlock()
	}
	return r, addr, err
}

// askBroker asks a broker name's nodes; empty: any. Where they are is asked again if no
// address is known (who was asked first had just started, and had not heard of any), or none
// of them could be reached: they may be elsewhere by now.
func (c *Client) askBroker(ctx context.Context, op, broker string, req *remoting.Command) (*remoting.Command, string, error) {
	return c.ask(ctx, op, c.brokerList(ctx, broker), req)
}

// askChange is askBroker for what has an effect: ErrUncertain if it may have been done, and
// nobody said so in time.
func (c *Client) askChange(ctx context.Context, op, broker string, req *remoting.Command) (*remoting.Command, string, error) {
	return c.asking(ctx, op, c.brokerList(ctx, broker), req, changes)
}

// askOnce is askChange for what is not to be done twice.
func (c *Client) askOnce(ctx context.Context, op, broker string, req *remoting.Command) (*remoting.Command, string, error) {
	return c.asking(ctx, op, c.brokerList(ctx, broker), req, notTwice)
}

// brokerList is whom to ask, in each round.
func (c *Client) brokerList(ctx context.Context, broker string) func() []string {
	asked := false
	return func() []string {
		list := c.routes.addresses(broker)
		if len(list) == 0 || asked && !slices.ContainsFunc(list, c.conns.connected) {
			try, cancel := context.WithTimeout(ctx, askTry)
			defer cancel()
			if _, err := c.clusterInfo(try); err == nil {
				list = c.routes.addresses(broker)
			}
		}
		asked = true
		return list
	}
}

// clusterInfo asks for every broker name and keeps their addresses.
func (c *Client) clusterInfo(ctx context.Context) (*remoting.ClusterInfo, error) {
	r, addr, err := c.askEndpoint(ctx, "cluster info", remoting.NewRequest(remoting.GetBrokerClusterInfo, nil))
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal("cluster info", "", "", addr, r)
	}
	var info remoting.ClusterInfo
	if err := remoting.DecodeBody(r.Body, &info); err != nil {
		return nil, fmt.Errorf("cluster info from %s: %w", addr, err)
	}
	for name, b := range info.BrokerAddrTable {
		c.routes.learn(name, b.BrokerAddrs)
	}
	return &info, nil
}
