package raftlog_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// The library's leader reads a pipeline until the first refusal and goes on sending into it until its next look at the reader. A
// pipeline that waits for its reader then waits for ever: its window is full of answers that nobody takes, and the leader's replicator
// hangs in AppendEntries (hashicorp/raft issue 612). In this bubble that would be a deadlock.
func TestPipelineBreaksAtTheFirstRefusal(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		handled := 0
		serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
			if handled++; handled == 3 {
				rpc.Respond(&raft.AppendEntriesResponse{Term: 4, LastLog: 1}, nil)
				return
			}
			accept(cmd, rpc)
		})
		p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		readerGone := make(chan struct{})
		go func() {
			defer close(readerGone)
			for range 3 { // until the refusal, as pipelineDecode does
				if f := <-p.Consumer(); !f.Response().Success {
					return
				}
			}
		}()
		sent := 0
		for ; ; sent++ {
			if _, err = p.AppendEntries(appendOf(uint64(sent+1), 1, 100), new(raft.AppendEntriesResponse)); err != nil {
				break
			}
			require.Less(t, sent, 1000)
			synctest.Wait()
		}
		require.ErrorContains(t, err, "refused")
		require.Equal(t, 3, sent)
		<-readerGone
		require.NoError(t, p.Close())
	})
}

// A sender may end where its log cannot be read, without a word to its reader: that ends when the
// pipeline is closed, else the replica could not be closed.
func TestTheReaderOfAClosedPipelineEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		serveGroup(t, g2, accept)
		p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		read := make(chan int)
		go func() { // as pipelineDecode does
			n := 0
			for f := range p.Consumer() {
				if !f.Response().Success {
					break
				}
				n += len(f.Request().Entries)
			}
			read <- n
		}()
		_, err = p.AppendEntries(appendOf(1, 1, 100), new(raft.AppendEntriesResponse))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, p.Close())
		select {
		case n := <-read:
			require.Equal(t, 1, n)
		case <-time.After(time.Minute):
			t.Fatal("it reads on")
		}
	})
}

// A reader that has gone, for a newer term say, costs an error and not a wait.
func TestPipelineDoesNotWaitForItsReader(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		serveGroup(t, g2, accept)
		p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		for i := 0; err == nil; i++ {
			_, err = p.AppendEntries(appendOf(uint64(i+1), 1, 100), new(raft.AppendEntriesResponse))
			require.Less(t, i, 1000)
		}
		require.ErrorContains(t, err, "nobody takes the answers")
		require.NoError(t, p.Close())
	})
}

// What is under way when the link breaks, or when no answer comes for ten seconds, fails, and the reader is told once, at once.
func TestPipelineEndsWithItsLink(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(n *nodeNet, g *raftlog.GroupTransport)
		after time.Duration
	}{
		{"cut", func(n *nodeNet, _ *raftlog.GroupTransport) { n.cuts.Cut("n1", "n2") }, 0},
		{"no answer", func(*nodeNet, *raftlog.GroupTransport) {}, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodeNet) {
				g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
				_ = g2 // nobody consumes
				p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
				require.NoError(t, err)
				var futures []raft.AppendFuture
				for i := range uint64(16) {
					f, err := p.AppendEntries(appendOf(i+1, 1, 100), new(raft.AppendEntriesResponse))
					require.NoError(t, err)
					futures = append(futures, f)
				}
				blocked := make(chan error, 1)
				go func() {
					_, err := p.AppendEntries(appendOf(17, 1, 100), new(raft.AppendEntriesResponse))
					blocked <- err
				}()
				synctest.Wait()
				require.Empty(t, blocked, "the window is 16")
				began := time.Now()
				c.do(n, g1)
				f := <-p.Consumer()
				require.Equal(t, c.after, time.Since(began))
				require.Same(t, futures[0], f)
				require.False(t, f.Response().Success)
				for _, f := range futures {
					require.ErrorIs(t, f.Error(), raftlog.ErrLinkLost)
				}
				require.Error(t, <-blocked)
				require.Empty(t, p.Consumer())
				require.NoError(t, p.Close())
			})
		})
	}
}

// A request of more than MaxBytes is sent in several; it is answered once, with the last.
func TestPipelineSplitsLargeRequests(t *testing.T) {
	n := newNodeNet()
	limit := func(c *raftlog.TransportConfig) { c.MaxBytes = 4 << 10 }
	g1, g2 := n.open(t, "n1", limit).Group(1), n.open(t, "n2", limit).Group(1)
	parts := make(chan [3]uint64, 10) // previous index, its term, entries
	serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
		a := cmd.(*raft.AppendEntriesRequest)
		parts <- [3]uint64{a.PrevLogEntry, a.PrevLogTerm, uint64(len(a.Entries))}
		if a.LeaderCommitIndex != a.PrevLogEntry+uint64(len(a.Entries)) {
			t.Errorf("commit index %d", a.LeaderCommitIndex)
		}
		accept(cmd, rpc)
	})
	p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
	require.NoError(t, err)
	a := appendOf(10, 7, 1<<10)
	a.LeaderCommitIndex = 100
	f, err := p.AppendEntries(a, new(raft.AppendEntriesResponse))
	require.NoError(t, err)
	require.Same(t, f, <-p.Consumer())
	require.NoError(t, f.Error())
	require.True(t, f.Response().Success)
	require.Equal(t, uint64(17), f.Response().LastLog)
	require.Len(t, f.Request().Entries, 7)
	require.Len(t, parts, 3)
	require.Equal(t, [][3]uint64{{10, 3, 3}, {13, 4, 3}, {16, 4, 1}}, [][3]uint64{<-parts, <-parts, <-parts})
	require.NoError(t, p.Close())
}

// faultyStore fails some appends.
type faultyStore struct {
	*raft.InmemStore
	mu  sync.Mutex
	rnd *rand.Rand
	on  bool
}

func (s *faultyStore) StoreLogs(logs []*raft.Log) error {
	s.mu.Lock()
	fail := s.on && s.rnd.IntN(20) == 0
	s.mu.Unlock()
	if fail {
		return errors.New("a failing disk")
	}
	return s.InmemStore.StoreLogs(logs)
}

func (s *faultyStore) set(on bool) {
	s.mu.Lock()
	s.on = on
	s.mu.Unlock()
}

// A follower that refuses one append in twenty keeps up: with the library's own transport it stays behind for ever.
func TestFollowerThatRefusesSomeAppendsKeepsUp(t *testing.T) {
	n := newNodeNet()
	names := []string{"n1", "n2", "n3"}
	var rs []*replica
	var faulty *faultyStore
	for _, name := range names {
		tr := n.open(t, name, nil)
		tr.SetPeers(names)
		r := &replica{node: name, fsm: newLogFSM(), net: tr.Group(1)}
		c, snaps, logs := raftConfig(name), raft.NewInmemSnapshotStore(), &faultyStore{InmemStore: raft.NewInmemStore(), rnd: rand.New(rand.NewPCG(1, 2))}
		if name == "n3" {
			faulty = logs
			c.HeartbeatTimeout, c.ElectionTimeout = 5*time.Second, 5*time.Second // it shall follow
		}
		require.NoError(t, raft.BootstrapCluster(c, logs, logs, snaps, r.net, servers(names...)))
		var err error
		r.raft, err = raft.NewRaft(c, r.fsm, logs, logs, snaps, r.net)
		require.NoError(t, err)
		t.Cleanup(func() {
			r.net.Close()
			require.NoError(t, r.raft.Shutdown().Error())
		})
		rs = append(rs, r)
	}
	leader := leaderOf(t, rs)
	require.NotEqual(t, "n3", leader.node)
	faulty.set(true)
	var futures []raft.ApplyFuture
	for range 3000 {
		futures = append(futures, leader.raft.Apply([]byte("entry"), 0))
		if len(futures)%20 == 0 {
			require.NoError(t, futures[len(futures)-1].Error())
		}
	}
	for _, f := range futures {
		require.NoError(t, f.Error())
	}
	faulty.set(false)
	require.Len(t, waitEqual(t, rs), 3000)
}
