package raftlog_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// learner starts a node with an empty disk and makes it a learner.
func (f *fleet) learner(name string) *fleetNode {
	f.t.Helper()
	f.disks[name] = vfs.NewMem(44)
	n := f.start(name)
	var all []string
	for other := range f.disks {
		all = append(all, other)
	}
	for _, n := range f.nodes {
		n.tr.SetPeers(all)
	}
	require.NoError(f.t, f.leader().replicas[0].AddLearner(within(f.t, time.Minute), raft.ServerID(name+".1"), 0))
	return n
}

// suffrage gives what each member is, by the node's own knowledge.
func (n *fleetNode) suffrage() (all []string, index uint64) {
	conf, index := n.replicas[0].Members()
	for _, s := range conf.Servers {
		all = append(all, fmt.Sprint(s.ID, " ", s.Suffrage))
	}
	return all, index
}

// A learner catches up, becomes a voter, counts, and is removed; all know.
func TestMembersComeAndGo(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 200)...)
		n4 := f.learner("n4")
		f.equal()
		three := []string{"n1.1 Voter", "n2.1 Voter", "n3.1 Voter"}
		leader := f.leader()
		_, prev := leader.suffrage()
		for _, n := range f.nodes {
			all, index := n.suffrage()
			require.Equal(t, append(three[:3:3], "n4.1 Nonvoter"), all)
			require.Equal(t, prev, index)
		}
		r := leader.replicas[0]
		require.NoError(t, r.AddVoter(t.Context(), "n4.1", prev))
		require.ErrorIs(t, r.Remove(t.Context(), "n4.1", prev), raftlog.ErrChanged)
		require.ErrorIs(t, r.AddLearner(t.Context(), "n5.1", prev), raftlog.ErrChanged)
		require.ErrorIs(t, f.follower().replicas[0].Remove(t.Context(), "n4.1", 0), raftlog.ErrNotLeader)
		f.equal()
		for _, n := range f.nodes {
			all, _ := n.suffrage()
			require.Equal(t, append(three[:3:3], "n4.1 Voter"), all)
		}

		// Its vote counts: of four, three are a majority.
		require.NoError(t, r.Transfer(t.Context(), "n4"))
		require.Equal(t, n4, f.leader())
		gone := f.follower().name
		f.stop(gone)
		f.put(many("by n4", 20)...)
		f.start(gone)

		// A leader that is removed hands over.
		_, prev = n4.suffrage()
		require.NoError(t, n4.replicas[0].Remove(t.Context(), "n4.1", prev))
		f.leader("n4")
		f.put(many("after", 20)...)

		// It may come back, and go as a follower.
		require.NoError(t, f.leader().replicas[0].AddVoter(t.Context(), "n4.1", 0))
		f.equal()
		require.Equal(t, "Follower", n4.replicas[0].Stats().State)
		require.NoError(t, f.leader().replicas[0].Remove(t.Context(), "n4.1", 0))
		f.stop("n4")
		delete(f.disks, "n4")
		f.equal()
		for _, n := range f.nodes {
			all, _ := n.suffrage()
			require.Equal(t, three, all)
		}
	})
}

// A node comes back as another incarnation, a learner. Neither what it says of its
// term nor what it says of its log counts for the voter that it was: the leader, cut
// off from the other voter, cannot confirm that it leads.
func TestALearnerDoesNotAnswerForTheVoterItWas(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		leader := f.leader()
		gone := f.follower().name
		f.stop(gone)
		f.disks[gone], f.lives = vfs.NewMem(45), map[string]uint64{gone: 2}
		n := f.start(gone)
		require.ErrorContains(t, n.host.Adopt(3), "replicas speak as "+gone+".2")
		old, next := raft.ServerID(gone+".1"), raft.ServerID(gone+".2")
		r := leader.replicas[0]
		require.True(t, r.Holds(t.Context(), next))
		require.False(t, r.Holds(t.Context(), old))
		require.NoError(t, r.AddLearner(within(t, time.Minute), next, 0))
		require.NoError(t, r.CaughtUp(within(t, time.Minute), next))
		require.Error(t, r.CaughtUp(within(t, time.Second), old))
		require.False(t, n.replicas[0].Votes())
		require.NoError(t, r.ReadIndex(t.Context()))
		require.NoError(t, n.host.Confirm(t.Context(), leader.name, 1))

		for name := range f.disks {
			if name != leader.name && name != gone {
				f.isolate(name)
			}
		}
		require.ErrorIs(t, r.ReadIndex(t.Context()), raftlog.ErrNotLeader)
		require.Error(t, n.host.Confirm(t.Context(), leader.name, 1))
		f.net.cuts.HealAll()

		// It takes the old one's place. Leaders may change meanwhile: a change that was
		// made is made again.
		for _, change := range []func(*raftlog.Replica) error{
			func(r *raftlog.Replica) error { return r.CaughtUp(within(t, time.Minute), next) },
			func(r *raftlog.Replica) error { return r.Remove(within(t, time.Minute), old, 0) },
			func(r *raftlog.Replica) error { return r.AddVoter(within(t, time.Minute), next, 0) },
			func(r *raftlog.Replica) error {
				if f.leader() == n {
					return nil
				}
				return r.Transfer(within(t, time.Minute), gone)
			},
		} {
			for change(f.leader().replicas[0]) != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
		f.equal()
		require.True(t, n.replicas[0].Votes())
		all, _ := n.suffrage()
		require.Len(t, all, 3)
		require.NotContains(t, all, string(old)+" Voter")
	})
}

// A change that cannot be committed ends with its context, unknown; and is done or undone afterwards.
func TestAChangeWithoutAMajorityIsUnknown(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		leader := f.leader()
		f.isolate(leader.name)
		for range 2 { // the second waits for the first
			began := time.Now()
			err := leader.replicas[0].AddLearner(within(t, 300*time.Millisecond), "n4.1", 0)
			require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
			require.Less(t, time.Since(began), 400*time.Millisecond)
		}
		f.leader(leader.name)
		f.net.cuts.HealAll()
		f.equal()
		all, _ := leader.suffrage()
		require.Len(t, all, 3)
	})
}

// Leadership goes round under load: nothing is lost, nothing twice, and what is refused has no effect.
func TestTransferUnderLoad(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.leader()
		var mu sync.Mutex
		acked, refused := []string{}, []string{}
		var over atomic.Bool
		var wg sync.WaitGroup
		for who := range 8 {
			wg.Go(func() {
				for i := 0; !over.Load(); i++ {
					n := f.nodes[threeNodes[(who+i)%3]]
					c := fmt.Sprint(who, " ", i)
					_, err := n.replicas[0].Propose(t.Context(), []byte(c))
					mu.Lock()
					switch {
					case err == nil:
						acked = append(acked, c)
					case errors.Is(err, raftlog.ErrNotLeader):
						refused = append(refused, c)
					default:
						t.Error("a transfer makes no outcome unknown: ", err)
					}
					mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			to := f.follower()
			require.NoError(t, f.leader().replicas[0].Transfer(t.Context(), to.name))
			require.Equal(t, to.name, f.leader().name)
		}
		over.Store(true)
		wg.Wait()
		f.equal()
		require.Greater(t, len(acked), 500)
		require.NotEmpty(t, refused)
		times := make(map[string]int)
		all, _ := f.witnesses[1].commands()
		for _, c := range all {
			times[c]++
		}
		for _, c := range acked {
			require.Equal(t, 1, times[c], c)
		}
		for _, c := range refused {
			require.Zero(t, times[c], c)
		}
	})
}

// A deposed leader whose log is longer is not told to stand before it has the leader's entries: it would depose the leader in vain.
func TestTransferToADeposedLeaderWaits(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		for round := range 10 {
			f.put(many(fmt.Sprint("before ", round), 10)...)
			old := f.leader()
			f.isolate(old.name)
			for i := range 100 {
				old.replicas[0].Start(fmt.Appendf(nil, "of the deposed leader %d", i))
			}
			leader := f.leader(old.name)
			f.put("of the leader")
			term, _ := leader.replicas[0].Leads()
			time.Sleep(2 * time.Second)
			go func() { time.Sleep(100 * time.Millisecond); f.net.cuts.HealAll() }()
			require.NoError(t, leader.replicas[0].Transfer(t.Context(), old.name))
			require.Equal(t, old.name, f.leader().name)
			now, _ := old.replicas[0].Leads()
			require.Equal(t, term+1, now)
		}
		f.equal()
	})
}

// A transfer to a node that cannot be reached fails, and the leader goes on (hashicorp/raft issue 696).
func TestAFailedTransferLeavesTheLeader(t *testing.T) {
	for name, lose := range map[string]func(*fleet, string){"refused": (*fleet).isolate, "silent": (*fleet).silence} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, nil, func(t *testing.T, f *fleet) {
				f.put("before")
				leader, to := f.leader(), f.follower()
				term, _ := leader.replicas[0].Leads()
				lose(f, to.name)
				failed := make(chan error, 1)
				go func() { failed <- leader.replicas[0].Transfer(t.Context(), to.name) }()
				time.Sleep(100 * time.Millisecond)
				_, err := leader.replicas[0].Start([]byte("meanwhile"))
				require.ErrorIs(t, err, raftlog.ErrNotLeader)
				require.ErrorContains(t, leader.replicas[0].Transfer(t.Context(), to.name), "already")
				require.Error(t, <-failed)
				now, ok := leader.replicas[0].Leads()
				require.True(t, ok)
				require.Equal(t, term, now)
				f.put("after")
				f.net.cuts.HealAll()
				time.Sleep(5 * time.Second)
				f.put("healed")
				require.NoError(t, f.leader().replicas[0].Transfer(t.Context(), f.follower().name))
				f.put("handed over")
				f.equal()
				all, _ := f.witnesses[1].commands()
				require.Equal(t, []string{"before", "after", "healed", "handed over", "the last"}, all)
			})
		})
	}
}

// Leadership is not handed to a node that lags far behind, and nothing is refused for that.
func TestATransferToOneThatLagsRefusesNothing(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		f.equal()
		leader, to := f.leader(), f.follower()
		var over atomic.Bool
		defer over.Store(true)
		f.disks[to.name].SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncData {
				for !over.Load() {
					time.Sleep(10 * time.Millisecond)
				}
			}
			return nil
		})
		f.put(many("meanwhile", 1000)...)
		failed := make(chan error, 1)
		go func() { failed <- leader.replicas[0].Transfer(t.Context(), to.name) }()
		for ended := false; !ended; {
			select {
			case err := <-failed:
				require.ErrorContains(t, err, "lacks")
				require.ErrorIs(t, err, raftlog.ErrLags)
				ended = true
			case <-time.After(time.Millisecond):
			}
			_, err := leader.replicas[0].Start([]byte("x"))
			require.NoError(t, err)
		}
		over.Store(true)
		f.equal()
		require.NoError(t, leader.replicas[0].Transfer(t.Context(), to.name))
		require.Equal(t, to.name, f.leader().name)
	})
}

// A learner has been sent the entry that makes it a voter, which is not committed: it does not vote
// yet, and never does if the entry is lost.
func TestAVoterIsOneWhenThatIsCommitted(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		n4 := f.learner("n4")
		f.equal()
		leader := f.leader()
		require.True(t, leader.replicas[0].Votes())
		for _, name := range threeNodes {
			if name != leader.name {
				f.net.cuts.Hang(leader.name, name)
				f.net.cuts.Hang(name, leader.name)
			}
		}
		require.ErrorIs(t, leader.replicas[0].AddVoter(within(t, 100*time.Millisecond), "n4.1", 0), raftlog.ErrUnknownOutcome)
		all, _ := n4.suffrage()
		require.Contains(t, all, "n4.1 Voter")
		require.False(t, n4.replicas[0].Votes())
		f.leader(leader.name)
		f.net.cuts.HealAll()
		f.equal()
		all, _ = n4.suffrage()
		require.Contains(t, all, "n4.1 Nonvoter")
		require.False(t, n4.replicas[0].Votes())
		require.NoError(t, f.leader().replicas[0].AddVoter(within(t, time.Minute), "n4.1", 0))
		f.equal()
		require.True(t, n4.replicas[0].Votes())
	})
}

// counter is a machine that counts entries.
type counter struct {
	mu          sync.Mutex
	index, term uint64
}

func (c *counter) Apply(entries []*raft.Log) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := entries[len(entries)-1]
	c.index, c.term = last.Index, last.Term
	return make([]any, len(entries)), nil
}

func (c *counter) Applied() (index, term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index, c.term
}

func (c *counter) Checkpoint() ([]byte, func() error)     { return nil, func() error { return nil } }
func (c *counter) Floor() ([]byte, uint64, uint64, error) { return nil, 0, 0, nil }

func (c *counter) Restore(_ []byte, index, term uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index, c.term = index, term
	return nil
}

// A node was away while members changed, and gets a snapshot in place of the entries that say so: it
// knows the members of the snapshot, and can change them when it leads.
func TestMembersAreThoseOfASnapshotThatWasSent(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		logs, replicas := make(map[string]*raft.InmemStore), make(map[string]*raftlog.Replica)
		for i, name := range threeNodes {
			wal, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: vfs.NewMem(uint64(i + 1)), SegmentBytes: 64 << 10, MaxAppend: 16 << 10, MaxEntry: 8 << 10})
			require.NoError(t, err)
			tr := n.open(t, name, nil)
			host := raftlog.NewHost(tr, name, 1, nil)
			logs[name] = raft.NewInmemStore()
			r, err := host.Open(raftlog.ReplicaConfig{
				Group: 1, Log: wal.Group(1), Logs: logs[name], Snapshots: raft.NewInmemSnapshotStore(), Bootstrap: servers(threeNodes...).Servers,
				OnFault: func(err error) { t.Error(err) },
			}, &counter{})
			require.NoError(t, err)
			replicas[name] = r
			defer func() {
				r.Close()
				host.Close()
				tr.Close()
				wal.Close()
			}()
			tr.SetPeers(threeNodes)
		}
		leads := func() (found string) {
			eventually(t, "no leader", func() bool {
				for name, r := range replicas {
					if _, ok := r.Leads(); ok {
						found = name
					}
				}
				return found != ""
			})
			return found
		}
		leader, away := leads(), ""
		for _, name := range threeNodes {
			if name != leader {
				away = name
			}
		}
		r := replicas[leader]
		eventually(t, "all have the first configuration", func() bool { _, index := replicas[away].Members(); return index > 0 })
		for _, name := range threeNodes {
			if name != away {
				n.cuts.Cut(away, name)
			}
		}
		require.NoError(t, r.AddLearner(within(t, time.Minute), "n4.1", 0))
		_, err := r.Propose(within(t, time.Minute), []byte("x"))
		require.NoError(t, err)
		require.NoError(t, r.Snapshot(within(t, time.Minute)))
		want, index := r.Members()
		require.Len(t, want.Servers, 4)
		last, err := logs[leader].LastIndex()
		require.NoError(t, err)
		require.NoError(t, logs[leader].DeleteRange(1, last-1))
		time.Sleep(2 * time.Minute) // what was to be sent when the link is back is given up
		n.cuts.HealAll()
		eventually(t, "it has caught up", func() bool { return replicas[away].Applied() >= r.Applied() })
		have, at := replicas[away].Members()
		require.Equal(t, want, have)
		require.Equal(t, index, at)
	})
}
