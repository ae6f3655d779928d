package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// ErrUnreachable means that the request was certainly not delivered: there was no link to the node, or the link broke before
// the first byte of the request was written.
var ErrUnreachable = errors.New("raftlog: node unreachable")

// ErrLinkLost means that the link broke, or the time was up, after the request may have been delivered.
var ErrLinkLost = errors.New("raftlog: link lost before the answer")

// ErrRefused means that the other node answered that nobody there took the request: it has no effect.
var ErrRefused = errors.New("raftlog: refused")

// RemoteError is the answer of a handler, or of a group, that said no.
type RemoteError struct{ Node, Text string }

func (e *RemoteError) Error() string { return e.Node + ": " + e.Text }

// Bounds and times of the transport. Each says what would happen without it.
const (
	helloTimeout   = 2 * time.Second        // a silent connection holds a goroutine
	dialTimeout    = time.Second            // SYNs are repeated ever more slowly after a cut
	writeTimeout   = 10 * time.Second       // a full socket holds its writer
	callTimeout    = 10 * time.Second       // an answer that never comes holds a replicator; a slow disk gets this long
	linkWait       = time.Second            // a vote, a pipeline or a forwarded call for a node that is down
	appendWait     = time.Minute            // every failure makes Raft back off longer, to 10 s; a peer that is back would wait for that
	groupWait      = 500 * time.Millisecond // a group that is about to be opened
	redialMin      = 10 * time.Millisecond
	redialMax      = 250 * time.Millisecond
	beatTick       = 25 * time.Millisecond // answers to heartbeats are gathered this long, heartbeats at least
	streamIdle     = 30 * time.Second      // a snapshot that does not move
	streamWorking  = time.Second           // how often the receiver of a snapshot says that it lives
	maxHandshakes  = 256                   // connections that have not said hello
	maxCalls       = 256                   // control calls of one connection being handled
	maxNotices     = 1024                  // notifications of one connection waiting for a handler
	maxWaiting     = 1024                  // requests waiting for their group to be opened
	maxBacklog     = 128                   // accepted connections of a class that nobody took
	groupQueue     = 64                    // requests a group has not answered
	outboxBytes    = 16 << 20              // frames not yet written to one connection
	replyOutbox    = 4 << 20               // answers not yet written; a peer that does not read them is cut off
	pipelineWindow = 16                    // appends of one pipeline not answered
	pipelineBytes  = 8 << 20
)

// TransportConfig is how a node talks to its peers. Zero durations and sizes take the defaults named.
type TransportConfig struct {
	Cluster, Node string
	Incarnation   uint64
	Listener      net.Listener // owned by the transport: Close closes it
	// Dial connects to a node; it is the only way out. It resolves the name. An error that is syscall.ECONNREFUSED tells at
	// once that nobody is there.
	Dial func(ctx context.Context, node string) (net.Conn, error)
	// TLS both serves and dials; nil: plain. Both ends show a certificate for the node's name, or for ServerName if that is set.
	TLS    *tls.Config
	Folder uint64 // names this node's data; see Known
	Level  uint64 // of the features that this program knows; see Known
	// Known judges who says hello, and who answers one; its error is the reason of the refusal. nil: everybody of the cluster. Called
	// concurrently.
	Known func(Peer) error
	// Unjudged is a class of connections that Known is not asked about, on either end; "": none. A Listener takes them, and PeerOf
	// says who is there.
	Unjudged string
	// Answered is told who answered a hello that we said as an incarnation, and how, each time: with the reason of the refusal, or "".
	// Not of the class Unjudged. Called concurrently. nil: nobody is told.
	Answered func(p Peer, as uint64, reason string)
	Ping     time.Duration // 50 ms between pings
	Silence  time.Duration // 300 ms without an answer: the node is down
	MaxBytes int           // 4 MiB of entries in one AppendEntries, unless a single entry is larger
	MaxEntry int           // twice MaxBytes; a larger entry, control message or frame is refused
	Logger   hclog.Logger
}

func (c *TransportConfig) fill() error {
	if c.Cluster == "" || c.Node == "" || c.Listener == nil || c.Dial == nil {
		return errors.New("raftlog: a transport needs cluster, node, listener and dial")
	}
	if len(c.Cluster) > 256 || len(c.Node) > 256 {
		return errors.New("raftlog: cluster or node name longer than 256 bytes")
	}
	if c.Ping == 0 {
		c.Ping = 50 * time.Millisecond
	}
	if c.Silence == 0 {
		c.Silence = 300 * time.Millisecond
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 20
	}
	if c.MaxEntry == 0 {
		c.MaxEntry = 2 * c.MaxBytes
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return nil
}

// Transport carries the Raft traffic of all groups, control calls and other protocols' connections between the nodes of a cluster,
// over one listener. To each peer it keeps a control connection (votes, heartbeats, pings, calls) and a data connection
// (AppendEntries); snapshots have connections of their own. Requests of one group on the data connection are delivered, and
// answered, in order. Heartbeats take the ordinary way through the group's Consumer: the library's fast path is never installed.
// Safe for concurrent use.
type Transport struct {
	cluster, node     string
	self              []byte // node.incarnation
	incarnation       atomic.Uint64
	cfg               TransportConfig
	serveTLS, dialTLS *tls.Config
	frameLimit        int
	log               hclog.Logger
	stats             transportStats
	epoch             time.Time

	done   chan struct{}
	ctx    context.Context // ends with done
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine; Add only under mu and before closed

	mu        sync.Mutex
	closed    bool
	conns     map[net.Conn]Peer // who is there, once the hello has said so
	peers     map[string]*netPeer
	watched   map[string]bool // SetPeers
	handlers  map[byte]func(context.Context, string, []byte) ([]byte, error)
	listeners map[string]*classListener

	groups groupTable
	events linkEvents
}

// NewTransport starts serving c.Listener.
func NewTransport(c TransportConfig) (*Transport, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	t := &Transport{
		cluster: c.Cluster, node: c.Node, cfg: c,
		self:       []byte(nodeAddress(c.Node, c.Incarnation)),
		frameLimit: max(c.MaxBytes, c.MaxEntry) + wireSlack,
		log:        c.Logger,
		epoch:      time.Now(),
		done:       make(chan struct{}),
		conns:      make(map[net.Conn]Peer),
		peers:      make(map[string]*netPeer),
		watched:    make(map[string]bool),
		handlers:   make(map[byte]func(context.Context, string, []byte) ([]byte, error)),
		listeners:  make(map[string]*classListener),
	}
	t.incarnation.Store(c.Incarnation)
	if c.TLS != nil {
		t.dialTLS = c.TLS.Clone()
		t.serveTLS = c.TLS.Clone()
		t.serveTLS.ClientAuth = tls.RequireAndVerifyClientCert
		if t.serveTLS.ClientCAs == nil {
			t.serveTLS.ClientCAs = c.TLS.RootCAs
		}
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.groups.init(t)
	t.events.init()
	t.start(t.accept)
	t.start(func() { t.events.run(t.done) })
	return t, nil
}

// start runs f in a goroutine that Close waits for; false once closed.
func (t *Transport) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// after runs f in d, unless the transport is closed by then; Close waits for an f that has begun.
func (t *Transport) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return
		}
		t.wg.Add(1)
		t.mu.Unlock()
		defer t.wg.Done()
		f()
	})
}

// hold remembers a connection for Close; false, with the connection closed, if that has come already.
func (t *Transport) hold(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return false
	}
	t.conns[c] = Peer{}
	return true
}

// name notes who is at the other end of a held connection of a class, and judges it once more: Expel may have passed since the
// hello was judged. Of the class Unjudged neither is done.
func (t *Transport) name(c net.Conn, class string, p Peer) error {
	if class == t.cfg.Unjudged {
		return nil
	}
	t.mu.Lock()
	if _, held := t.conns[c]; held {
		t.conns[c] = p
	}
	t.mu.Unlock()
	return t.knows(class, p)
}

// Expel closes all connections with a node's incarnations before this one, but those of the class Unjudged. Whoever is there dials
// again, and is judged anew.
func (t *Transport) Expel(node string, before uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, p := range t.conns {
		if p.Node == node && p.Incarnation < before {
			c.Close()
		}
	}
}

func (t *Transport) drop(c net.Conn) {
	c.Close()
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
}

// Close closes the listener and every connection, fails what waits and returns when every goroutine has ended: it waits for
// handlers and watchers that are running, so they must not call it.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return nil
	}
	t.closed = true
	close(t.done)
	err := t.cfg.Listener.Close() // before the connections: a peer that dials again at once finds this node down
	for c := range t.conns {
		c.Close()
	}
	clear(t.conns)
	listeners := t.listeners
	t.mu.Unlock()
	t.cancel()
	for _, l := range listeners {
		l.Close()
	}
	t.groups.close()
	t.wg.Wait()
	return err
}

// adopt makes this node speak as another incarnation from now on. No group is open. Connections of the one before are closed, and
// dialled again if they are wanted.
func (t *Transport) adopt(incarnation uint64) {
	if t.incarnation.Load() == incarnation {
		return
	}
	t.self = []byte(nodeAddress(t.node, incarnation))
	t.incarnation.Store(incarnation)
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		c.Close()
	}
}

// accept serves the listener until it is closed.
func (t *Transport) accept() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := t.cfg.Listener.Accept()
		if err != nil {
			select {
			case <-t.done:
				return
			case <-time.After(redialMin): // out of descriptors, perhaps
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		if !t.hold(conn) || !t.start(func() { t.welcome(conn, func() { <-slots }) }) {
			conn.Close()
			return
		}
	}
}

// welcome reads the hello of a connection and hands it to its class.
func (t *Transport) welcome(raw net.Conn, greeted func()) {
	conn, h, err := t.greet(raw)
	greeted()
	if err == nil {
		err = t.name(raw, h.class, h.peer())
	}
	if err != nil {
		t.drop(raw)
		t.log.Debug("connection refused", "from", h.node, "address", raw.RemoteAddr(), "error", err)
		return
	}
	switch h.class {
	case classControl, classData:
		t.serveSession(conn, h, func() { t.drop(raw) })
	case classSnapshot:
		t.receiveSnapshot(conn, h)
		t.drop(raw)
	default:
		t.hand(conn, raw, h)
	}
}

// SetPeers names the nodes to which a control connection and pings are kept, instead of those named before. Links to nodes no longer
// named are closed, and reappear only if something is sent there.
func (t *Transport) SetPeers(nodes []string) {
	want := make(map[string]bool)
	for _, n := range nodes {
		if n != t.node {
			want[n] = true
		}
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	var gone []*netPeer
	for n := range t.watched {
		if p := t.peers[n]; !want[n] && p != nil {
			delete(t.peers, n)
			gone = append(gone, p)
		}
	}
	t.watched = want
	for n := range want {
		p := t.peerLocked(n)
		if !p.pinged {
			p.pinged = true
			t.wg.Go(p.ping)
		}
	}
	t.mu.Unlock()
	for _, p := range gone {
		p.close()
	}
}

func (t *Transport) peer(node string) *netPeer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peerLocked(node)
}

func (t *Transport) peerLocked(node string) *netPeer {
	p := t.peers[node]
	if p == nil {
		p = newPeer(t, node)
		t.peers[node] = p
	}
	return p
}

// Alive says whether a node of SetPeers answers.
func (t *Transport) Alive(node string) bool {
	if node == t.node {
		return true
	}
	t.mu.Lock()
	p := t.peers[node]
	t.mu.Unlock()
	return p != nil && p.verdict.Load() == linkUp
}

// Watch has f called with every change of a link to a node of SetPeers, the first verdict included, in order, from one goroutine that
// all watchers share. Down means no answer for Silence, or nobody where the node should be. f must not wait for long.
func (t *Transport) Watch(f func(node string, up bool)) { t.events.watch(f) }

// nodeAddress is the server id and address of a node's replicas.
func nodeAddress(node string, incarnation uint64) string {
	return node + "." + strconv.FormatUint(incarnation, 10)
}

// NodeOf takes an address apart: "n2.3" is node "n2", incarnation 3. An address without an incarnation has incarnation 0.
func NodeOf(addr raft.ServerAddress) (node string, incarnation uint64) {
	s := string(addr)
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		if n, err := strconv.ParseUint(s[i+1:], 10, 64); err == nil {
			return s[:i], n
		}
	}
	return s, 0
}

// TransportStats counts since the transport was made.
type TransportStats struct {
	FramesIn, FramesOut, BytesIn, BytesOut uint64
	Flushes                                uint64 // writes to connections; FramesOut/Flushes is what coalescing gains
	Heartbeats, HeartbeatFrames            uint64 // sent
	Dials, DialsFailed, HellosRefused      uint64
	Busy                                   uint64 // requests refused because a group, or the node, had too many
	NoticesDropped                         uint64
	Clamped                                uint64 // requests whose commit index reached past what they verified
	Connections, Groups                    int
}

type transportStats struct {
	framesIn, framesOut, bytesIn, bytesOut, flushes      atomic.Uint64
	beats, beatFrames, dials, dialsFailed, refused, busy atomic.Uint64
	notices, clamped                                     atomic.Uint64
}

// Stats returns the counters.
func (t *Transport) Stats() TransportStats {
	s := &t.stats
	t.mu.Lock()
	conns := len(t.conns)
	t.mu.Unlock()
	return TransportStats{
		FramesIn: s.framesIn.Load(), FramesOut: s.framesOut.Load(), BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		Flushes: s.flushes.Load(), Heartbeats: s.beats.Load(), HeartbeatFrames: s.beatFrames.Load(),
		Dials: s.dials.Load(), DialsFailed: s.dialsFailed.Load(), HellosRefused: s.refused.Load(), Busy: s.busy.Load(),
		NoticesDropped: s.notices.Load(), Clamped: s.clamped.Load(), Connections: conns, Groups: t.groups.len(),
	}
}

func unreachable(node string, why error) error {
	if why == nil {
		return fmt.Errorf("%w: %s", ErrUnreachable, node)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, node, why)
}
