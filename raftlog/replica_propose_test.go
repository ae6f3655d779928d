package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// A follower refuses, certainly; so does a closed replica.
func TestProposalsElsewhereHaveNoEffect(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		follower, leader := f.follower(), f.leader()
		_, err := follower.replicas[0].Propose(t.Context(), []byte("at a follower"))
		require.ErrorIs(t, err, raftlog.ErrNotLeader)
		r := leader.replicas[0]
		require.NoError(t, r.Close())
		require.NoError(t, r.Close(), "twice")
		for _, r := range []*raftlog.Replica{r} {
			_, err = r.Start([]byte("at a closed replica"))
			require.ErrorIs(t, err, raftlog.ErrClosed)
			require.ErrorIs(t, r.AddVoter(t.Context(), "n4.1", 0), raftlog.ErrClosed)
			require.ErrorIs(t, r.Checkpoint(), raftlog.ErrClosed)
			require.Error(t, r.ReadIndex(t.Context()))
			require.ErrorIs(t, r.Transfer(t.Context(), "n1"), raftlog.ErrNotLeader)
		}
		f.stop(leader.name)
		f.start(leader.name)
		f.equal()
		all, _ := f.witnesses[1].commands()
		require.Equal(t, []string{"before", "the last"}, all)
	})
}

// Who no longer waits does not know, and the command is applied once.
func TestAnEndedContextLeavesTheOutcomeUnknown(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("no more patience")
		cancel(why)
		for range 20 { // the answer may be quicker
			p, err := f.leader().replicas[0].Start([]byte("given up"))
			require.NoError(t, err)
			if _, err = p.Wait(ctx); err != nil {
				require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
				require.ErrorIs(t, err, why)
				f.equal()
				_, err = p.Wait(t.Context())
				require.NoError(t, err)
				return
			}
		}
		require.Fail(t, "always answered")
	})
}

// A leader that is cut off does not know what becomes of a command: here it goes with the leader's log, or stays.
func TestALeaderCutOffDoesNotKnow(t *testing.T) {
	for _, delivered := range []bool{false, true} {
		t.Run(fmt.Sprint("delivered ", delivered), func(t *testing.T) {
			inFleet(t, nil, func(t *testing.T, f *fleet) {
				f.put(many("before", 10)...)
				old := f.leader()
				if delivered { // what followers answer gets lost
					for _, n := range threeNodes {
						if n != old.name {
							f.net.cuts.Hang(n, old.name)
						}
					}
				} else {
					f.isolate(old.name)
				}
				began := time.Now()
				_, err := old.replicas[0].Propose(t.Context(), []byte("in doubt"))
				require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
				require.Less(t, time.Since(began), 3*time.Second, "the lease is over")
				f.leader(old.name)
				f.net.cuts.HealAll()
				f.equal()
				f.once(many("before", 10)...)
				all, _ := f.witnesses[1].commands()
				require.Equal(t, delivered, slices.Contains(all, "in doubt"))
			})
		})
	}
}

// Commands of one goroutine keep their order, in the log and in their results, across batches.
func TestStartsKeepTheirOrder(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		r := f.leader().replicas[0]
		var wg sync.WaitGroup
		for who := range 4 {
			wg.Go(func() {
				var all []*raftlog.Proposal
				for i := range 200 {
					p, err := r.Start(fmt.Appendf(nil, "%d %d", who, i))
					if err != nil {
						t.Error(err)
						return
					}
					all = append(all, p)
				}
				last := uint64(0)
				for _, p := range all {
					v, err := p.Wait(context.Background())
					if err != nil || v.(uint64) <= last {
						t.Error(v, err, "after", last)
						return
					}
					last = v.(uint64)
				}
			})
		}
		wg.Wait()
		f.equal()
		next := make(map[int]int)
		all, _ := f.witnesses[1].commands()
		for _, c := range all {
			var who, i int
			if n, _ := fmt.Sscanf(c, "%d %d", &who, &i); n == 2 {
				require.Equal(t, next[who], i, c)
				next[who]++
			}
		}
	})
}

// Close under load answers every proposal: with its outcome when that can be had, and no goroutine stays behind (the bubble says).
func TestCloseAnswersWhatIsUnderWay(t *testing.T) {
	for _, c := range []struct {
		name  string
		apply time.Duration
		cut   bool
	}{{"others answer", 0, false}, {"applying takes long", 100 * time.Millisecond, false}, {"cut off", 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			inFleet(t, func(f *fleet) { f.slow = c.apply }, func(t *testing.T, f *fleet) {
				leader := f.leader()
				f.slowDisks(5 * time.Millisecond)
				if c.cut {
					f.isolate(leader.name)
				}
				var all []*raftlog.Proposal
				for i := range 200 {
					p, err := leader.replicas[0].Start(fmt.Appendf(nil, "command %d", i))
					require.NoError(t, err)
					all = append(all, p)
				}
				began := time.Now()
				require.NoError(t, leader.replicas[0].Close())
				require.Less(t, time.Since(began), 3*time.Second)
				for _, p := range all {
					_, err := p.Wait(t.Context())
					if c.cut {
						require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
					} else if c.apply == 0 {
						require.NoError(t, err)
					}
				}
				f.slowDisks(0)
				time.Sleep(time.Second)
			})
		})
	}
}

// OnLeader tells of each term that is led, in order, and when it is over; not before all that was acknowledged in earlier ones is applied.
func TestOnLeaderComesInOrderAndWithTheState(t *testing.T) {
	var acked atomic.Uint64
	var behind atomic.Int32
	inFleet(t, func(f *fleet) {
		f.onLead = func(n *fleetNode) {
			if n.ledgers[0].mark().Commands < acked.Load() {
				behind.Add(1)
			}
		}
	}, func(t *testing.T, f *fleet) {
		nodes := make(map[string]*fleetNode)
		for name, n := range f.nodes {
			nodes[name] = n
		}
		for round := range 30 {
			f.put(many(fmt.Sprint("round ", round), 20)...)
			acked.Store(f.witnesses[1].last().Commands)
			leader := f.leader()
			switch round % 3 {
			case 0:
				f.isolate(leader.name)
				f.leader(leader.name)
				f.net.cuts.HealAll()
			case 1: // several, quickly
				for range 3 {
					f.follower().replicas[0].Nudge()
				}
				time.Sleep(100 * time.Millisecond)
			case 2:
				f.silence(leader.name)
				f.leader(leader.name)
				f.net.cuts.HealAll()
			}
		}
		f.equal()
		f.stopAll()
		require.Zero(t, behind.Load())
		for name, n := range nodes {
			last, led := uint64(0), false
			for _, told := range n.leads.all() {
				var lead bool
				var term uint64
				fmt.Sscan(told, &lead, &term)
				require.NotEqual(t, led, lead, "%s: %v", name, n.leads.all())
				if lead {
					require.Greater(t, term, last, name)
				} else {
					require.Equal(t, last, term, name)
				}
				led, last = lead, term
			}
			require.False(t, led, "%s is closed", name)
		}
	})
}

// What changes while OnLeader runs is told afterwards, each term that is led by itself.
func TestOnLeaderTellsTermsApart(t *testing.T) {
	var slow atomic.Bool
	inFleet(t, func(f *fleet) {
		f.onLead = func(*fleetNode) {
			if slow.CompareAndSwap(false, true) {
				time.Sleep(20 * time.Second)
			}
		}
	}, func(t *testing.T, f *fleet) {
		first := f.leader()
		other := f.follower()
		other.replicas[0].Nudge()
		f.leader(first.name)
		first.replicas[0].Nudge()
		time.Sleep(2 * time.Second)
		require.Equal(t, "Leader", first.replicas[0].Stats().State)
		_, ok := first.replicas[0].Leads()
		require.False(t, ok, "nothing is settled in this term")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"true 2", "false 2", "true 4"}, first.leads.all())
		term, ok := first.replicas[0].Leads()
		require.True(t, ok)
		require.EqualValues(t, 4, term)
		f.equal()
	})
}
