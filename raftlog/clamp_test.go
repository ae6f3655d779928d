package raftlog

import (
	"bufio"
	"context"
	"net"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// unclamped is a request that verifies entries through 302 and whose commit index is 500.
func unclamped() *raft.AppendEntriesRequest {
	a := sampleAppend()
	a.LeaderCommitIndex = 500
	return a
}

func clampTransport(t *testing.T, dial func(ctx context.Context, node string) (net.Conn, error)) (*Transport, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if dial == nil {
		dial = func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
	}
	tr, err := NewTransport(TransportConfig{Cluster: "c", Node: "n1", Incarnation: 1, Listener: l, Dial: dial})
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	return tr, l.Addr().String()
}

// A peer that does not clamp, of another build perhaps, is clamped here.
func TestClampOnReceive(t *testing.T) {
	tr, addr := clampTransport(t, nil)
	g := tr.Group(1)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(netHello{cluster: "c", node: "n2", class: classData, target: "n1", incarnation: 1}.encode())
	require.NoError(t, err)
	_, _, err = readHelloBody(conn)
	require.NoError(t, err)
	_, err = conn.Write(bytesOf(encodeAppend(wireTarget{1, 1, 1}, unclamped(), "n2.1")))
	require.NoError(t, err)
	a := (<-g.Consumer()).Command.(*raft.AppendEntriesRequest)
	require.EqualValues(t, 302, a.LeaderCommitIndex)
	require.EqualValues(t, 1, tr.Stats().Clamped)
}

// What leaves is clamped, one by one and in a pipeline, also when it was topped up from the log: to what it then verifies.
func TestClampOnSend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	tr, _ := clampTransport(t, func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	})
	got := make(chan *raft.AppendEntriesRequest, 1)
	go func() { // a peer that looks at what comes and accepts it
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		readHelloBody(conn)
		conn.Write(helloAnswer{cluster: "c", node: "n2", incarnation: 1}.encode())
		in := bufio.NewReader(conn)
		for {
			b, err := readPayload(in, 1<<20, nil)
			if err != nil {
				return
			}
			r := &wireReader{b: b[1:]}
			call := r.target().call
			a, clamped, err := decodeAppend(r, []byte("n1.1"))
			if err != nil || clamped {
				a = nil // it came with more
			}
			got <- a
			conn.Write(bytesOf(encodeReply(call, &raft.AppendEntriesResponse{Term: 5, Success: true}, nil, false)))
		}
	}()
	g := tr.Group(1)
	store := raft.NewInmemStore()
	for more := range 2 { // entries that follow
		for i := range uint64(more) {
			require.NoError(t, store.StoreLogs(append(sampleAppend().Entries, &raft.Log{Index: 303 + i, Term: 5})))
			g.SetLog(NewLog(store, nil))
		}
		var resp raft.AppendEntriesResponse
		require.NoError(t, g.AppendEntries("n2.1", "n2.1", unclamped(), &resp))
		a := <-got
		require.NotNil(t, a, "a commit index beyond what the request verifies")
		require.EqualValues(t, 302+more, a.LeaderCommitIndex)

		p, err := g.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		f, err := p.AppendEntries(unclamped(), &resp)
		require.NoError(t, err)
		a = <-got
		require.NotNil(t, a, "pipelined")
		require.EqualValues(t, 302+more, a.LeaderCommitIndex)
		require.NoError(t, f.Error())
		require.NoError(t, p.Close())
	}
}

// changingLog cuts its end off when entry at is read, and goes on with another leader's.
type changingLog struct {
	*Log
	at uint64
	do func()
}

func (c *changingLog) GetLog(index uint64, out *raft.Log) error {
	err := c.Log.LogStore.GetLog(index, out)
	if index == c.at && c.do != nil {
		do := c.do
		c.do = nil
		do()
	}
	return err
}

// Nothing is added to a request from a log that became another leader's after the request was made, or while it is read: no leader ever
// had such entries behind each other.
func TestTopUpTakesOneLogOnly(t *testing.T) {
	entries := func(term, from, to uint64) (all []*raft.Log) {
		for i := from; i <= to; i++ {
			all = append(all, &raft.Log{Index: i, Term: term})
		}
		return all
	}
	request := func() *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 2, PrevLogTerm: 1, Entries: entries(5, 3, 4)}
	}
	open := func() (*Log, *raft.InmemStore) {
		store := raft.NewInmemStore()
		require.NoError(t, store.StoreLogs(append(entries(1, 1, 2), entries(5, 3, 8)...)))
		return NewLog(store, nil), store
	}
	replace := func(l *Log, from uint64) {
		require.NoError(t, l.DeleteRange(from, 8))
		require.NoError(t, l.StoreLogs(entries(4, from, 9))) // of an older term than the request, and newer in the log
	}
	log, _ := open()
	a := request()
	backlogOf(log).topUp(a, 1, 1<<20)
	require.Len(t, a.Entries, 6)

	for from := uint64(3); from <= 4; from++ { // before: the request's own end is gone
		log, _ := open()
		replace(log, from)
		a := request()
		backlogOf(log).topUp(a, 1, 1<<20)
		require.Len(t, a.Entries, 2)
	}
	for at := uint64(4); at <= 8; at++ { // meanwhile
		log, store := open()
		changing := &changingLog{Log: NewLog(store, nil), at: at}
		log.LogStore = changing
		changing.do = func() {
			log.LogStore = store
			replace(log, max(at-1, 5))
			log.LogStore = changing
		}
		a := request()
		backlogOf(log).topUp(a, 1, 1<<20)
		require.Len(t, a.Entries, 2, "at entry %d", at)
	}
}

func backlogOf(log *Log) *backlog {
	b := new(backlog)
	b.log.Store(log)
	return b
}
