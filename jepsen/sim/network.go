package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
)

// Network joins hosts in memory, by links that delay, keep back, lose and reset. The last
// host of the links is the clients'; what is dialled from a host to itself passes at once.
//
// It is as a stream of TCP in that bytes come in their order or the connection ends, and as
// UDP in that packets may not come. A write never waits: the model has no end of buffers.
type Network struct {
	links *link.Net
	lags  [][]*lag

	mu        sync.Mutex
	classes   map[string]link.Class // by address
	listeners map[string]*listener
	packets   map[string]*packetConn
	port      int // last one that was given to who asked for any
}

// NewNetwork makes it. Each link draws how long it takes from the stream of its own name.
func NewNetwork(links *link.Net, seed history.Seed) *Network {
	n := &Network{links: links, classes: make(map[string]link.Class), listeners: make(map[string]*listener), packets: make(map[string]*packetConn), port: 40000}
	for from := range links.Hosts() {
		var row []*lag
		for to := range links.Hosts() {
			rng := seed.Stream(fmt.Sprintf("lag/%d>%d", from, to))
			row = append(row, &lag{rng: rng, longest: longestLag << rng.IntN(farthest+1)})
		}
		n.lags = append(n.lags, row)
	}
	return n
}

// lag is how long a link that is well takes.
type lag struct {
	mu  sync.Mutex
	rng *rand.Rand
	// longest is the lag's; see longestLag.
	longest time.Duration
}

// Bounds of a lag: that of a rack up to that of a region, which is drawn for each link,
// and now and then that of a queue somewhere.
const (
	shortestLag, longestLag = 30 * time.Microsecond, 300 * time.Microsecond // doubled up to farthest times
	farthest                = 4
	rareLag                 = 5 * time.Millisecond
	rare                    = 64 // one of so many
)

func (l *lag) draw() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := l.longest
	if l.rng.IntN(rare) == 0 {
		most = max(most, rareLag)
	}
	return shortestLag + time.Duration(l.rng.Int64N(int64(most-shortestLag)))
}

// address is that of a host.
func address(host int) string { return "10.0.0." + strconv.Itoa(host+1) }

// hostOf is whose address that is; -1: nobody's.
func hostOf(addr string) int {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().Is4() {
		return -1
	}
	return int(a.Addr().As4()[3]) - 1
}

// way is one direction between two hosts; the zero way is within one.
type way struct {
	link  *link.Link
	lag   *lag
	class link.Class
}

func (n *Network) way(from, to int, class link.Class) way {
	if from == to {
		return way{}
	}
	return way{n.links.Link(from, to), n.lags[from][to], class}
}

// rule is that in force, and what closes when it changes; nil: never.
func (w way) rule() (link.Rule, <-chan struct{}) {
	if w.link == nil {
		return link.Rule{}, nil
	}
	return w.link.Rule(w.class)
}

// late is how long a piece of a stream takes, beside what a cut keeps it.
func (w way) late(size int) time.Duration {
	if w.link == nil {
		return 0
	}
	return w.lag.draw() + w.link.Chunk(w.class, size)
}

// set says what belongs to which class.
func (n *Network) set(raft, gossip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.classes[raft], n.classes[gossip] = link.Raft, link.Gossip
}

func (n *Network) class(addr string) link.Class {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.classes[addr]
}

// Host is the network as one life of a host has it: with End it is as if the process
// had been killed.
type Host struct {
	n      *Network
	number int

	mu    sync.Mutex
	over  bool
	ends  map[*conn]struct{}
	lns   map[*listener]struct{}
	takes map[*packetConn]struct{}
}

// Host begins a life of a host.
func (n *Network) Host(number int) *Host {
	return &Host{n: n, number: number, ends: make(map[*conn]struct{}), lns: make(map[*listener]struct{}), takes: make(map[*packetConn]struct{})}
}

// keep runs f unless the life is over.
func (h *Host) keep(f func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return syscall.ENETDOWN
	}
	f()
	return nil
}

// End ends what the life has open. Its peers see their connections reset, when the links
// let that pass.
func (h *Host) End() {
	h.mu.Lock()
	h.over = true
	ends, lns, takes := h.ends, h.lns, h.takes
	h.ends, h.lns, h.takes = nil, nil, nil
	h.mu.Unlock()
	for l := range lns {
		l.Close()
	}
	for p := range takes {
		p.Close()
	}
	for _, c := range sorted(ends) {
		c.die()
	}
}

// Listen takes connections to an address of the host.
func (h *Host) Listen(addr string) (net.Listener, error) {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, err := n.pickLocked(addr)
	if err == nil && n.listeners[addr] != nil {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	l := &listener{h: h, addr: addr, come: make(chan struct{}), closed: make(chan struct{})}
	if err := h.keep(func() { h.lns[l] = struct{}{} }); err != nil {
		return nil, err
	}
	n.listeners[addr] = l
	return l, nil
}

func (n *Network) pickLocked(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && port == "0" {
		n.port++
		addr = net.JoinHostPort(host, strconv.Itoa(n.port))
	}
	return addr, err
}

// ListenPacket sends and takes packets.
func (h *Host) ListenPacket(addr string) (net.PacketConn, error) {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, err := n.pickLocked(addr)
	if err == nil && n.packets[addr] != nil {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	p := &packetConn{h: h, addr: addr, in: make(chan packet, packetsKept), closed: make(chan struct{})}
	if err := h.keep(func() { h.takes[p] = struct{}{} }); err != nil {
		return nil, err
	}
	n.packets[addr] = p
	return p, nil
}

// Dial connects to an address. It waits while a link is cut off: a handshake needs both.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to := hostOf(addr)
	if to < 0 || to >= h.n.links.Hosts() {
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.EHOSTUNREACH)
	}
	class := h.n.class(addr)
	out, back := h.n.way(h.number, to, class), h.n.way(to, h.number, class)
	for _, w := range []way{out, back} {
		if err := w.pass(ctx); err != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
	}
	return h.connect(address(h.number), addr, out, back)
}

// near connects to an address of the host itself, from its loopback.
func (h *Host) near(addr string) (net.Conn, error) { return h.connect("127.0.0.1", addr, way{}, way{}) }

func (h *Host) connect(from, addr string, out, back way) (net.Conn, error) {
	h.n.mu.Lock()
	l := h.n.listeners[addr]
	h.n.port++
	local := net.JoinHostPort(from, strconv.Itoa(h.n.port))
	h.n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	near, far := pair(h, l.h, local, addr, out, back)
	if err := errorsOf(h.own(near), l.h.own(far)); err != nil || !l.take(far) {
		near.die()
		far.die()
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	return near, nil
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) own(c *conn) error { return h.keep(func() { h.ends[c] = struct{}{} }) }

// pass takes as long as a packet on the way does, or until ctx ends.
func (w way) pass(ctx context.Context) error {
	t := time.NewTimer(w.late(1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for held := false; ; held = true {
		r, changed := w.rule()
		switch {
		case r.Reset:
			w.link.Broke()
			return syscall.ECONNREFUSED
		case !r.Cut:
			return ctx.Err()
		case !held:
			w.link.Held()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// listener queues without a limit.
type listener struct {
	h    *Host
	addr string

	mu     sync.Mutex
	queue  []*conn
	come   chan struct{} // closes, and is replaced, when the queue grows
	closed chan struct{}
	once   sync.Once
}

func (l *listener) take(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return false
	default:
	}
	l.queue = append(l.queue, c)
	close(l.come)
	l.come = make(chan struct{})
	return true
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		come := l.come
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		select {
		case <-come:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.h.n.mu.Lock()
		delete(l.h.n.listeners, l.addr)
		l.h.n.mu.Unlock()
		l.h.keep(func() { delete(l.h.lns, l) })
		l.mu.Lock()
		close(l.closed)
		queue := l.queue
		l.mu.Unlock()
		for _, c := range queue {
			c.Close()
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return tcpAddr(l.addr) }

func tcpAddr(addr string) net.Addr {
	a, _ := netip.ParseAddrPort(addr)
	return net.TCPAddrFromAddrPort(a)
}

// sorted are the connections in the order in which they were made.
func sorted(set map[*conn]struct{}) []*conn {
	var all []*conn
	for c := range set {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *conn) int { return int(a.number - b.number) })
	return all
}
