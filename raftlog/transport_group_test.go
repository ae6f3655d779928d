package raftlog_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// A request arrives as it was sent, but for the commit index, which never reaches past what the request verifies.
func TestCommitIndexIsClampedToWhatIsVerified(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		got := make(chan *raft.AppendEntriesRequest, 10)
		serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
			got <- cmd.(*raft.AppendEntriesRequest)
			accept(cmd, rpc)
		})
		for _, c := range []struct {
			name              string
			prev              uint64
			entries           int
			commit, delivered uint64
		}{
			{"behind", 10, 3, 5, 5},
			{"all of it", 10, 3, 13, 13},
			{"beyond the entries", 10, 3, 20, 13},
			{"beyond the previous entry", 10, 0, 20, 10},
			{"heartbeat", 0, 0, 20, 0},
		} {
			a := appendOf(c.prev, c.entries, 10)
			a.LeaderCommitIndex = c.commit
			var resp raft.AppendEntriesResponse
			require.NoError(t, g1.AppendEntries("n2.1", "n2.1", a, &resp))
			require.True(t, resp.Success)
			b := <-got
			require.Equal(t, c.delivered, b.LeaderCommitIndex, c.name)
			require.Len(t, b.Entries, c.entries)
			for i, e := range b.Entries {
				require.Equal(t, a.Entries[i], e)
			}
			require.Equal(t, []uint64{a.Term, a.PrevLogEntry, a.PrevLogTerm}, []uint64{b.Term, b.PrevLogEntry, b.PrevLogTerm})
			require.Equal(t, a.RPCHeader, b.RPCHeader)

			p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
			require.NoError(t, err)
			a.LeaderCommitIndex = c.commit
			f, err := p.AppendEntries(a, &resp)
			require.NoError(t, err)
			require.NoError(t, f.Error())
			require.Equal(t, c.delivered, (<-got).LeaderCommitIndex, "pipelined: %s", c.name)
			require.NoError(t, p.Close())
		}
	})
}

// staleFollower is a real Raft whose log goes on with entries 4 and 5 of a deposed leader. It is fed by hand.
func staleFollower(t *testing.T, trans raft.Transport) *logFSM {
	t.Helper()
	store, snaps, fsm := raft.NewInmemStore(), raft.NewInmemSnapshotStore(), newLogFSM()
	c := raftConfig("n2")
	c.HeartbeatTimeout, c.ElectionTimeout = time.Hour, time.Hour
	require.NoError(t, raft.BootstrapCluster(c, store, store, snaps, trans, servers("n1", "n2", "n3")))
	for i := uint64(2); i <= 5; i++ {
		text := "shared"
		if i > 3 {
			text = "of the deposed leader"
		}
		require.NoError(t, store.StoreLog(&raft.Log{Index: i, Term: 1, Data: []byte(text)}))
	}
	r, err := raft.NewRaft(c, fsm, store, store, snaps, trans)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Shutdown().Error()) })
	return fsm
}

// A leader of term 2 has committed through 5, and catches a follower up whose entries 4 and 5 are of a deposed leader. The library takes
// a commit index of 5 for leave to apply them; the clamp keeps it from that.
func TestClampKeepsADeposedLeadersEntriesFromBeingApplied(t *testing.T) {
	requests := func() []*raft.AppendEntriesRequest {
		first, second := appendOf(2, 1, 0), appendOf(3, 2, 0)
		first.Term, second.Term = 2, 2
		first.PrevLogTerm, second.PrevLogTerm = 1, 1
		first.Entries[0].Term, first.Entries[0].Data = 1, []byte("shared")
		for _, l := range second.Entries {
			l.Term, l.Data = 2, []byte("of the leader")
		}
		first.LeaderCommitIndex, second.LeaderCommitIndex = 5, 5
		return []*raft.AppendEntriesRequest{first, second}
	}
	feed := func(t *testing.T, from raft.Transport, target raft.ServerAddress, fsm *logFSM) []string {
		t.Helper()
		for _, a := range requests() {
			var resp raft.AppendEntriesResponse
			require.NoError(t, from.AppendEntries("n2.1", target, a, &resp))
			require.True(t, resp.Success)
		}
		for {
			entries, grown := fsm.all()
			if len(entries) >= 4 {
				return entries
			}
			<-grown
		}
	}
	t.Run("ours", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *nodeNet) {
			g2 := n.open(t, "n2", nil).Group(1)
			got := feed(t, n.open(t, "n1", nil).Group(1), "n2.1", staleFollower(t, g2))
			require.Equal(t, []string{"2 shared", "3 shared", "4 of the leader", "5 of the leader"}, got)
		})
	})
	t.Run("without the clamp", func(t *testing.T) { // why we have it: this is a transport of the library's
		addr, far := raft.NewInmemTransport("n2.1")
		_, near := raft.NewInmemTransport("n1.1")
		near.Connect(addr, far)
		got := feed(t, near, addr, staleFollower(t, far))
		require.Equal(t, []string{"2 shared", "3 shared", "4 of the deposed leader", "5 of the deposed leader"}, got)
	})
}

// Requests of a group are delivered and answered in their order, whatever the sizes.
func TestGroupKeepsOrder(t *testing.T) {
	n := newNodeNet()
	g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
	got := make(chan uint64, 300)
	serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
		got <- cmd.(*raft.AppendEntriesRequest).PrevLogEntry
		accept(cmd, rpc)
	})
	p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
	require.NoError(t, err)
	go func() {
		for i := range uint64(300) {
			if _, err := p.AppendEntries(appendOf(i+1, 1, int(i*i)), new(raft.AppendEntriesResponse)); err != nil {
				panic(err)
			}
		}
	}()
	for i := range uint64(300) {
		f := <-p.Consumer()
		require.NoError(t, f.Error())
		require.Equal(t, i+1, f.Request().PrevLogEntry)
		require.Equal(t, i+2, f.Response().LastLog)
		require.Equal(t, i+1, <-got)
	}
	require.NoError(t, p.Close())
}

// Entries are cut to MaxBytes in place, but never to none; one that no frame takes is refused without harm to the link.
func TestEntriesAreCutToMaxBytes(t *testing.T) {
	n := newNodeNet()
	limit := func(c *raftlog.TransportConfig) { c.MaxBytes = 4 << 10 }
	g1, g2 := n.open(t, "n1", limit).Group(1), n.open(t, "n2", limit).Group(1)
	sizes := make(chan int, 10)
	serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
		sizes <- len(cmd.(*raft.AppendEntriesRequest).Entries)
		accept(cmd, rpc)
	})
	for _, c := range []struct{ n, bytes, sent int }{{10, 1 << 10, 3}, {10, 100, 10}, {3, 7 << 10, 1}, {3, 4 << 10, 1}} {
		a := appendOf(5, c.n, c.bytes)
		a.LeaderCommitIndex = 100
		var resp raft.AppendEntriesResponse
		require.NoError(t, g1.AppendEntries("n2.1", "n2.1", a, &resp))
		require.Len(t, a.Entries, c.sent)
		require.Equal(t, c.sent, <-sizes)
		require.Equal(t, uint64(5+c.sent), resp.LastLog)
		require.Equal(t, uint64(5+c.sent), a.LeaderCommitIndex)
	}
	var resp raft.AppendEntriesResponse
	require.ErrorContains(t, g1.AppendEntries("n2.1", "n2.1", appendOf(5, 1, 80<<10), &resp), "the limit is")
	require.NoError(t, g1.AppendEntries("n2.1", "n2.1", appendOf(5, 1, 10), &resp))
}

// Requests to a group that is about to be opened wait for it, in order; those to a group that is not are refused after half a second.
func TestRequestsWaitForTheirGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1 := n.open(t, "n1", nil).Group(1)
		n2 := n.open(t, "n2", nil)
		var resp raft.AppendEntriesResponse
		began := time.Now()
		err := g1.AppendEntries("n2.1", "n2.1", appendOf(1, 1, 1), &resp)
		require.ErrorIs(t, err, raftlog.ErrRefused)
		require.ErrorContains(t, err, "no group 1 here")
		require.Equal(t, 500*time.Millisecond, time.Since(began))

		p, err := g1.AppendEntriesPipeline("n2.1", "n2.1")
		require.NoError(t, err)
		for i := range uint64(10) {
			_, err := p.AppendEntries(appendOf(i+1, 1, 1), new(raft.AppendEntriesResponse))
			require.NoError(t, err)
		}
		time.Sleep(400 * time.Millisecond)
		serveGroup(t, n2.Group(1), accept)
		for i := range uint64(10) {
			require.Equal(t, i+2, (<-p.Consumer()).Response().LastLog)
		}
		require.NoError(t, p.Close())
	})
}

// A request for a replica's former self is refused by the node.
func TestOldIncarnationIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1 := n.open(t, "n1", nil).Group(1)
		g2 := n.open(t, "n2", func(c *raftlog.TransportConfig) { c.Incarnation = 4 }).Group(1)
		require.Equal(t, raft.ServerAddress("n2.4"), g2.LocalAddr())
		serveGroup(t, g2, accept)
		var resp raft.AppendEntriesResponse
		for _, a := range []*raft.AppendEntriesRequest{appendOf(1, 1, 1), appendOf(0, 0, 0)} {
			err := g1.AppendEntries("n2.3", "n2.3", a, &resp)
			require.ErrorIs(t, err, raftlog.ErrRefused)
			require.ErrorContains(t, err, "this is incarnation 4, not 3")
			require.NoError(t, g1.AppendEntries("n2.4", "n2.4", a, &resp))
		}
		var vote raft.RequestVoteResponse
		require.ErrorIs(t, g1.RequestVote("n2.3", "n2.3", &raft.RequestVoteRequest{Term: 9}, &vote), raftlog.ErrRefused)
	})
}

// Votes, pre-votes and TimeoutNow arrive as they were sent, and so do their answers and refusals.
func TestSmallRequestsArriveWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		var got any
		serveGroup(t, g2, func(cmd any, rpc raft.RPC) {
			got = cmd
			switch c := cmd.(type) {
			case *raft.RequestVoteRequest:
				if c.Term == 0 {
					rpc.Respond(nil, fmt.Errorf("unsupported"))
					return
				}
				rpc.Respond(&raft.RequestVoteResponse{Term: c.Term + 1, Granted: c.Term == 5}, nil)
			case *raft.RequestPreVoteRequest:
				rpc.Respond(&raft.RequestPreVoteResponse{Term: c.Term + 2, Granted: true}, nil)
			case *raft.TimeoutNowRequest:
				rpc.Respond(&raft.TimeoutNowResponse{}, nil)
			}
		})
		h := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("another id"), Addr: []byte("another address")}
		vote := &raft.RequestVoteRequest{RPCHeader: h, Term: 5, Candidate: h.Addr, LastLogIndex: 7, LastLogTerm: 4, LeadershipTransfer: true}
		var voted raft.RequestVoteResponse
		require.NoError(t, g1.RequestVote("n2.1", "n2.1", vote, &voted))
		require.Equal(t, vote, got)
		require.Equal(t, uint64(6), voted.Term)
		require.True(t, voted.Granted)
		require.Equal(t, "n2.1", string(voted.ID))

		pre := &raft.RequestPreVoteRequest{RPCHeader: h, Term: 5, LastLogIndex: 7, LastLogTerm: 4}
		var prevoted raft.RequestPreVoteResponse
		require.NoError(t, g1.RequestPreVote("n2.1", "n2.1", pre, &prevoted))
		require.Equal(t, pre, got)
		require.Equal(t, uint64(7), prevoted.Term)
		require.True(t, prevoted.Granted)

		now := &raft.TimeoutNowRequest{RPCHeader: h}
		require.NoError(t, g1.TimeoutNow("n2.1", "n2.1", now, new(raft.TimeoutNowResponse)))
		require.Equal(t, now, got)

		err := g1.RequestVote("n2.1", "n2.1", &raft.RequestVoteRequest{}, &voted)
		var remote *raftlog.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, "unsupported", remote.Text)

		require.True(t, g2.Inject(now))
		synctest.Wait()
		require.Same(t, now, got)
	})
}

// A group that does not answer takes up to its queue, is refused more, and holds up no other group on the connection.
func TestSlowGroupHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		n2.Group(1) // nobody consumes
		serveGroup(t, n2.Group(2), accept)
		slow, quick := n1.Group(1), n1.Group(2)
		answers := make(chan error, 100)
		for range 100 {
			go func() {
				answers <- slow.AppendEntries("n2.1", "n2.1", appendOf(1, 1, 1000), new(raft.AppendEntriesResponse))
			}()
		}
		synctest.Wait()
		require.Len(t, answers, 100-64)
		for range 100 - 64 {
			require.ErrorIs(t, <-answers, raftlog.ErrRefused)
		}
		began := time.Now()
		for range 1000 {
			require.NoError(t, quick.AppendEntries("n2.1", "n2.1", appendOf(1, 1, 1000), new(raft.AppendEntriesResponse)))
		}
		require.Zero(t, time.Since(began))

		// Closing it ends what waits, at once.
		require.NoError(t, slow.Close())
		synctest.Wait()
		require.Len(t, answers, 64)
		require.Error(t, slow.AppendEntries("n2.1", "n2.1", appendOf(1, 1, 1), new(raft.AppendEntriesResponse)))
	})
}

// Entries wait up to a minute for the link of a peer that cannot be reached, so that Raft does not back off for long, and a heartbeat a second.
func TestAppendWaitsForTheLink(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		g1, g2 := n.open(t, "n1", nil).Group(1), n.open(t, "n2", nil).Group(1)
		serveGroup(t, g2, accept)
		for wait, a := range map[time.Duration]*raft.AppendEntriesRequest{time.Minute: appendOf(1, 1, 1), time.Second: appendOf(0, 0, 0)} {
			n.cuts.Cut("n1", "n2")
			began := time.Now()
			require.ErrorIs(t, g1.AppendEntries("n2.1", "n2.1", a, new(raft.AppendEntriesResponse)), raftlog.ErrUnreachable)
			require.Equal(t, wait, time.Since(began))
			go func() { time.Sleep(600 * time.Millisecond); n.cuts.HealAll() }()
			began = time.Now()
			require.NoError(t, g1.AppendEntries("n2.1", "n2.1", a, new(raft.AppendEntriesResponse)))
			require.Less(t, time.Since(began), time.Second)
		}
	})
}

// The heartbeats of all groups between two nodes share a frame, and so do the answers.
func TestHeartbeatsTravelTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		const groups = 300
		for id := range uint64(groups) {
			serveGroup(t, n2.Group(id+1), func(cmd any, rpc raft.RPC) {
				a := cmd.(*raft.AppendEntriesRequest)
				rpc.Respond(&raft.AppendEntriesResponse{Term: a.Term + id, LastLog: 9, Success: id%2 == 0}, nil)
			})
		}
		for range 2 {
			before, before2, began := n1.Stats(), n2.Stats(), time.Now()
			var wg sync.WaitGroup
			for id := range uint64(groups) {
				wg.Go(func() {
					a, resp := appendOf(0, 0, 0), new(raft.AppendEntriesResponse)
					if err := n1.Group(id+1).AppendEntries("n2.1", "n2.1", a, resp); err != nil {
						t.Error(err)
					}
					if resp.Term != a.Term+id || resp.Success != (id%2 == 0) {
						t.Errorf("group %d: %v", id, resp)
					}
				})
			}
			wg.Wait()
			after, after2 := n1.Stats(), n2.Stats()
			require.Equal(t, uint64(groups), after.Heartbeats-before.Heartbeats)
			require.Equal(t, uint64(1), after.HeartbeatFrames-before.HeartbeatFrames)
			require.Equal(t, uint64(1), after2.FramesOut-before2.FramesOut)
			require.Equal(t, 50*time.Millisecond, time.Since(began))
		}
	})
}

// Heartbeats go through the group's queue like any request: with the library's fast path two leaders can diverge (hashicorp/raft issue 695).
func TestHeartbeatsTakeNoFastPath(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		g := n2.Group(1)
		g.SetHeartbeatHandler(func(raft.RPC) { t.Error("a heartbeat took the fast path") })
		queued := 0
		serveGroup(t, g, func(cmd any, rpc raft.RPC) { queued++; accept(cmd, rpc) })
		for range 3 {
			require.NoError(t, n1.Group(1).AppendEntries("n2.1", "n2.1", appendOf(0, 0, 0), new(raft.AppendEntriesResponse)))
		}
		require.Equal(t, 3, queued)
	})
}
