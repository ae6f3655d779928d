package raftlog

import (
	"bufio"
	"context"
	"net"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// aheadPeer shows what comes and answers as it is told to, in order.
type aheadPeer struct {
	got    chan *raft.AppendEntriesRequest
	answer chan bool // success
}

func newAheadPipe(t *testing.T) (*GroupTransport, *appendPipeline, *aheadPeer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	tr, _ := clampTransport(t, func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	})
	peer := &aheadPeer{got: make(chan *raft.AppendEntriesRequest, 100), answer: make(chan bool, 100)}
	go peer.serve(l)
	g := tr.Group(1)
	p, err := g.AppendEntriesPipeline("n2.1", "n2.1")
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return g, p.(*appendPipeline), peer
}

func (p *aheadPeer) serve(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	readHelloBody(conn)
	conn.Write(helloAnswer{cluster: "c", node: "n2", incarnation: 1}.encode())
	in, calls := bufio.NewReader(conn), make(chan uint64, 100)
	go func() {
		for call := range calls {
			conn.Write(bytesOf(encodeReply(call, &raft.AppendEntriesResponse{Term: 5, Success: <-p.answer}, nil, false)))
		}
	}()
	defer close(calls)
	for {
		b, err := readPayload(in, 1<<20, nil)
		if err != nil {
			return
		}
		r := &wireReader{b: b[1:]}
		call := r.target().call
		a, _, err := decodeAppend(r, []byte("n1.1"))
		if err != nil {
			return
		}
		p.got <- a
		calls <- call
	}
}

func aheadEntries(from, to uint64) (all []*raft.Log) {
	for i := from; i <= to; i++ {
		all = append(all, &raft.Log{Index: i, Term: 5})
	}
	return all
}

// asks is Raft's request for the entries from, to.
func asks(t *testing.T, p *appendPipeline, from, to uint64) raft.AppendFuture {
	t.Helper()
	f, err := p.AppendEntries(&raft.AppendEntriesRequest{
		Term: 5, PrevLogEntry: from - 1, PrevLogTerm: 5, Entries: aheadEntries(from, to), LeaderCommitIndex: 100,
	}, new(raft.AppendEntriesResponse))
	require.NoError(t, err)
	return f
}

func (p *aheadPeer) gets(t *testing.T, from, to uint64) {
	t.Helper()
	a := <-p.got
	require.Equal(t, from-1, a.PrevLogEntry)
	require.Len(t, a.Entries, int(to-from+1))
	require.LessOrEqual(t, a.LeaderCommitIndex, to)
}

func ahead(g *GroupTransport, from, to uint64) {
	g.sendAhead(raft.RPCHeader{}, 100, aheadEntries(from, to))
}

// Raft's requests are answered by those that went ahead, whether their answers have come or not, and in order.
func TestAheadIsSentOnce(t *testing.T) {
	g, p, peer := newAheadPipe(t)
	ahead(g, 5, 6) // nothing was sent yet: no telling what the peer has
	f := asks(t, p, 5, 6)
	peer.gets(t, 5, 6)
	ahead(g, 7, 7)
	peer.gets(t, 7, 7)
	ahead(g, 8, 10)
	peer.gets(t, 8, 10)
	for range 3 {
		peer.answer <- true
	}
	require.Same(t, f, <-p.Consumer())
	both := asks(t, p, 7, 10)
	require.Same(t, both, <-p.Consumer())
	require.True(t, both.Response().Success)

	ahead(g, 11, 11)
	peer.gets(t, 11, 11)
	more := asks(t, p, 11, 13) // Raft has more meanwhile: the rest is sent
	peer.gets(t, 12, 13)
	peer.answer <- true
	require.Empty(t, p.Consumer(), "answered before its end")
	peer.answer <- true
	require.Same(t, more, <-p.Consumer())
	require.NoError(t, more.Error())
	require.Empty(t, peer.got)
}

// What does not go on where the pipeline is, or is of another term, or would be too much, stays with Raft.
func TestAheadGoesOnlyWhereAllBeforeWent(t *testing.T) {
	g, p, peer := newAheadPipe(t)
	asks(t, p, 5, 5)
	peer.gets(t, 5, 5)
	ahead(g, 7, 7)
	g.sendAhead(raft.RPCHeader{}, 0, []*raft.Log{{Index: 6, Term: 6}})
	asks(t, p, 6, 7)
	peer.gets(t, 6, 7)
	for i := uint64(8); i < 8+2*aheadLimit; i++ {
		ahead(g, i, i)
	}
	for i := uint64(8); i < 8+aheadLimit; i++ {
		peer.gets(t, i, i)
	}
	asks(t, p, 8, 8+aheadLimit) // one more than went ahead
	peer.gets(t, 8+aheadLimit, 8+aheadLimit)
	require.Empty(t, peer.got)
}

// A request that ends within what was sent ahead is sent: Raft may have to stop there.
func TestAheadThatDoesNotFitIsSentAgain(t *testing.T) {
	g, p, peer := newAheadPipe(t)
	asks(t, p, 5, 5)
	peer.gets(t, 5, 5)
	ahead(g, 6, 9)
	peer.gets(t, 6, 9)
	part := asks(t, p, 6, 7)
	peer.gets(t, 6, 7)
	rest := asks(t, p, 8, 9)
	peer.gets(t, 8, 9)
	for range 4 {
		peer.answer <- true
	}
	<-p.Consumer()
	require.Same(t, part, <-p.Consumer())
	require.Same(t, rest, <-p.Consumer())
}

// A refusal of what Raft has not asked for yet breaks the pipeline: its next request tells it.
func TestARefusalAheadBreaksThePipeline(t *testing.T) {
	g, p, peer := newAheadPipe(t)
	first := asks(t, p, 5, 5)
	ahead(g, 6, 6)
	peer.answer <- true
	peer.answer <- false
	require.Same(t, first, <-p.Consumer())
	<-p.broken
	_, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 5, PrevLogTerm: 5, Entries: aheadEntries(6, 6)}, new(raft.AppendEntriesResponse))
	require.ErrorIs(t, err, errPipelineBroken)
	require.Empty(t, p.Consumer())
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Empty(t, g.pipes)
}

// A peer is told of a commit that it may have, and not of one beyond what it has been sent: it would refuse that, and log a warning each time.
func TestACommitIsPushedToThoseThatWereSentIt(t *testing.T) {
	g, p, peer := newAheadPipe(t)
	push := func(index uint64) {
		g.tell("n2.1", &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: index, PrevLogTerm: 5, LeaderCommitIndex: index})
	}
	push(4) // nothing was sent yet: no telling what the peer has
	peer.gets(t, 5, 4)
	asks(t, p, 5, 6)
	peer.gets(t, 5, 6)
	push(9)
	push(6)
	peer.gets(t, 7, 6)
	asks(t, p, 7, 9)
	peer.gets(t, 7, 9)
}
