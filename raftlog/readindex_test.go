package raftlog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// A leader is cut off in both directions, first where answers come from, so that old ones wait for it; another is elected and
// acknowledges; the links are healed while the first still believes to lead. No read anywhere succeeds without all that was acknowledged
// before it was asked for.
func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	var reads, stale, refused atomic.Int64
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		rnd := rand.New(rand.NewPCG(1, 2))
		var acked atomic.Uint64
		read := func(ctx context.Context, n *fleetNode, anywhere bool) {
			before := acked.Load()
			ask := n.replicas[0].ReadIndex
			if anywhere {
				ask = n.replicas[0].CatchUp
			}
			if err := ask(ctx); err != nil {
				refused.Add(1)
				return
			}
			reads.Add(1)
			if n.ledgers[0].mark().Commands < before {
				stale.Add(1)
			}
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, n := range f.nodes {
			for i := range 2 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Duration(7+20*i) * time.Millisecond):
						}
						ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
						read(ctx, n, i%2 == 0)
						cancel()
					}
				})
			}
		}
		for round := range 40 {
			old := f.leader()
			f.put(many(fmt.Sprint("before ", round), 3)...)
			acked.Store(f.witnesses[1].last().Commands)
			for _, other := range threeNodes {
				if other != old.name {
					f.net.cuts.Hang(other, old.name)
				}
			}
			time.Sleep(time.Duration(rnd.IntN(250)) * time.Millisecond)
			f.silence(old.name)
			other := f.leader(old.name)
			p, err := other.replicas[0].Start(fmt.Appendf(nil, "after %d", round))
			require.NoError(t, err)
			_, err = p.Wait(t.Context())
			require.NoError(t, err)
			acked.Store(f.witnesses[1].last().Commands)
			time.Sleep(time.Duration(rnd.IntN(150)) * time.Millisecond)
			for range 8 {
				wg.Go(func() { read(t.Context(), old, false) })
			}
			time.Sleep(time.Millisecond)
			f.net.cuts.HealAll()
			for range 8 {
				wg.Go(func() { read(t.Context(), old, false) })
			}
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		f.equal()
	})
	t.Logf("%d reads, %d refused", reads.Load(), refused.Load())
	require.Greater(t, reads.Load(), int64(1000))
	require.NotZero(t, refused.Load())
	require.Zero(t, stale.Load())
}

// Reads go on while a round is under way, share it, and end with their context or the replica.
func TestReadsEnd(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("command")
		leader := f.leader()
		f.silence(leader.name)
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 10 {
			wg.Go(func() {
				if err := leader.replicas[0].ReadIndex(ctx); err == nil {
					t.Error("read without a majority")
				}
			})
		}
		wg.Wait()
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		for range 10 {
			wg.Go(func() {
				if err := leader.replicas[0].CatchUp(context.Background()); err == nil {
					t.Error("read without a majority")
				}
			})
		}
		require.NoError(t, leader.replicas[0].Close())
		wg.Wait()
		require.ErrorIs(t, leader.replicas[0].ReadIndex(t.Context()), raftlog.ErrClosed)
	})
}

// A follower was elected twice and deposed before anybody had its no-ops; the entries that the others have at their places are not
// applied here, and its own no-ops do not stand for them.
func TestAFollowersReadWaitsForTheLeadersEntries(t *testing.T) {
	var silent atomic.Bool // n2 and n3 vote and take nothing
	silent.Store(true)
	play := func(_ string, cmd any, rpc raft.RPC) {
		switch c := cmd.(type) {
		case *raft.RequestVoteRequest:
			rpc.Respond(&raft.RequestVoteResponse{Term: c.Term, Granted: silent.Load()}, nil)
		case *raft.RequestPreVoteRequest:
			rpc.Respond(&raft.RequestPreVoteResponse{Term: c.Term, Granted: silent.Load()}, nil)
		default:
			rpc.Respond(nil, fmt.Errorf("not in the script"))
		}
	}
	inScript(t, 0, play, func(t *testing.T, s *script) {
		s.peers["n2"].Handle(4, func(context.Context, string, []byte) ([]byte, error) {
			return binary.BigEndian.AppendUint64(nil, 4), nil
		})
		eventually(t, "own no-ops", func() bool { return s.r.Stats().Last >= 5 })
		silent.Store(false)
		eventually(t, "deposed", func() bool { return s.r.Stats().State == "Follower" })
		term := s.r.Stats().Term + 5
		require.True(t, s.feed(term, 1, 1, 1, nil).Success)
		eventually(t, "led by n2", func() bool { node, _ := s.r.Leader(); return node == "n2" })
		require.GreaterOrEqual(t, s.r.Stats().Last, uint64(5))
		done := make(chan error, 1)
		go func() { done <- s.r.CatchUp(t.Context()) }()
		select {
		case err := <-done:
			require.Fail(t, "entry 4 is not here", "%v", err)
		case <-time.After(500 * time.Millisecond):
		}
		require.True(t, s.feed(term, 1, 1, 4, []*raft.Log{
			{Index: 2, Term: term, Type: raft.LogNoop}, {Index: 3, Term: term, Type: raft.LogBarrier}, {Index: 4, Term: term, Data: []byte("acknowledged")},
		}).Success)
		require.NoError(t, <-done)
		require.EqualValues(t, 1, s.n.ledgers[0].mark().Commands)
	})
}
