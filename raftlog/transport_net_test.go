package raftlog_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/netcut"
	"raftmq/raftlog"
)

// nodeNet is the network of a test's nodes, with links that can be cut: loopback, or pipes in memory.
type nodeNet struct {
	cuts  *netcut.Net
	pipes bool

	mu   sync.Mutex
	addr map[string]string
	ears map[string]*pipeListener
}

// newNodeNet is a network over loopback.
func newNodeNet() *nodeNet {
	return &nodeNet{cuts: netcut.New(), addr: make(map[string]string), ears: make(map[string]*pipeListener)}
}

// inBubble runs f with a network of pipes and a clock of its own. The bubble bursts if a goroutine is left at the end.
func inBubble(t *testing.T, f func(t *testing.T, n *nodeNet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNodeNet()
		n.pipes = true
		f(t, n)
	})
}

func (n *nodeNet) listen(node string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pipes {
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		n.ears[node] = l
		return l, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		n.addr[node] = l.Addr().String()
	}
	return l, err
}

func (n *nodeNet) dial(ctx context.Context, node string) (net.Conn, error) {
	n.mu.Lock()
	addr, ear := n.addr[node], n.ears[node]
	n.mu.Unlock()
	if !n.pipes {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	if ear == nil {
		return nil, fmt.Errorf("dial %s: %w", node, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	select {
	case ear.conns <- far:
		return near, nil
	case <-ear.done:
		return nil, fmt.Errorf("dial %s: %w", node, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// open makes a transport; change, if any, alters its configuration.
func (n *nodeNet) open(t testing.TB, node string, change func(*raftlog.TransportConfig)) *raftlog.Transport {
	t.Helper()
	l, err := n.listen(node)
	require.NoError(t, err)
	c := raftlog.TransportConfig{Cluster: "c", Node: node, Incarnation: 1, Listener: l, Dial: n.cuts.Dialer(node, n.dial)}
	if change != nil {
		change(&c)
	}
	tr, err := raftlog.NewTransport(c)
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	return tr
}

// pipeListener is a listener of pipes.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// verdicts collects what Watch tells.
type verdicts chan string

func watchOf(t *raftlog.Transport) verdicts {
	v := make(verdicts, 100)
	t.Watch(func(node string, up bool) { v <- fmt.Sprintf("%s %v", node, up) })
	return v
}

func (v verdicts) next(t testing.TB) string {
	t.Helper()
	select {
	case s := <-v:
		return s
	case <-time.After(time.Minute):
		require.Fail(t, "no verdict")
		return ""
	}
}

func (v verdicts) none(t testing.TB) {
	t.Helper()
	select {
	case s := <-v:
		require.Fail(t, "a verdict", s)
	default:
	}
}

// serveGroup answers the group's requests with f until the test ends.
func serveGroup(t testing.TB, g *raftlog.GroupTransport, f func(cmd any, rpc raft.RPC)) {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case rpc := <-g.Consumer():
				f(rpc.Command, rpc)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
}

// accept is a follower that agrees with everything.
func accept(cmd any, rpc raft.RPC) {
	a := cmd.(*raft.AppendEntriesRequest)
	rpc.Respond(&raft.AppendEntriesResponse{Term: a.Term, LastLog: a.PrevLogEntry + uint64(len(a.Entries)), Success: true}, nil)
}

// appendOf is a request of n entries of some bytes after index prev.
func appendOf(prev uint64, n, bytes int) *raft.AppendEntriesRequest {
	id := []byte("n1.1")
	a := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: id, Addr: id},
		Term:      4, PrevLogEntry: prev, PrevLogTerm: 3,
	}
	if prev == 0 {
		a.PrevLogTerm = 0
	}
	for i := range n {
		data := make([]byte, bytes)
		for j := range data {
			data[j] = byte(i + j)
		}
		a.Entries = append(a.Entries, &raft.Log{Index: prev + 1 + uint64(i), Term: 4, Data: data})
	}
	return a
}
