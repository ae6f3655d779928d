package raftlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// A node that is back has, within a second, what a cluster lets it lack that nobody writes to: commit timeouts are longer.
func TestANodeThatIsBackIsToldWithoutTraffic(t *testing.T) {
	for what, missed := range map[string]int{"nothing": 0, "a little": 5, "more than a pipeline is opened for": 5000} {
		for _, away := range []time.Duration{time.Second, 30 * time.Second} { // Raft backs off from a node that is gone
			t.Run(fmt.Sprint(what, ", ", away), func(t *testing.T) {
				inFleet(t, func(f *fleet) { f.groups, f.heartbeat = 3, 2*time.Second }, func(t *testing.T, f *fleet) {
					f.put(many("before", 50)...)
					f.equal()
					back := f.follower().name
					f.stop(back)
					if missed > 0 {
						f.put(many("meanwhile", missed)...)
					}
					time.Sleep(away)
					n := f.start(back)
					began := time.Now()
					for g := range f.groups {
						f.applies(n, g, f.witnesses[uint64(g+1)].last().Commands)
					}
					require.Less(t, time.Since(began), time.Second)
				})
			})
		}
	}
}

// And when a leader begins: one that lacks entries then is sent a barrier, and everybody hears that it is committed.
func TestWhatALeaderBeginsWithIsToldWithoutTraffic(t *testing.T) {
	inFleet(t, func(f *fleet) { f.heartbeat = 20 * time.Second }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		f.equal()
		for i := range 20 {
			leader := f.leader()
			next := f.follower(leader.name)
			lags := f.follower(leader.name, next.name)
			f.net.cuts.Cut(leader.name, lags.name)
			f.put(many(fmt.Sprint("meanwhile ", i, " "), 1+i%5)...)
			require.NoError(t, leader.replicas[0].Transfer(within(t, time.Minute), next.name))
			require.Equal(t, next.name, f.leader(leader.name).name)
			f.net.cuts.Heal(leader.name, lags.name)
			time.Sleep(500 * time.Millisecond)
			for _, n := range f.nodes {
				require.NoError(t, n.replicas[0].CatchUp(within(t, time.Second)), "%s, after %s led and %s lagged, in transfer %d", n.name, next.name, lags.name, i)
			}
		}
	})
}

// A group that comes to be led does not wait for another to be opened by a node that has been asked for it again and again, ever less often.
func TestAGroupThatIsLedDoesNotWaitForAnother(t *testing.T) {
	inFleet(t, func(f *fleet) { f.groups, f.heartbeat = 2, 20*time.Second }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		f.equal()
		late := f.follower().name
		f.stop(late)
		f.groups = 1
		n := f.start(late)
		var both *fleetNode // leads the other group, which is not open there
		eventually(t, "no leader of the other group", func() bool {
			for _, x := range f.nodes {
				if len(x.replicas) > 1 {
					if _, leads := x.replicas[1].Leads(); leads {
						both = x
					}
				}
			}
			return both != nil
		})
		if f.leader() == both {
			require.NoError(t, both.replicas[0].Transfer(within(t, time.Minute), f.follower(both.name, late).name))
		}
		for range 4 {
			time.Sleep(5300 * time.Millisecond)
			other := f.leader(both.name)
			require.NoError(t, other.replicas[0].Transfer(within(t, time.Minute), both.name))
			require.Equal(t, both.name, f.leader(other.name).name)
			time.Sleep(50 * time.Millisecond)
			require.NoError(t, n.replicas[0].CatchUp(within(t, 50*time.Millisecond)))
			require.NoError(t, both.replicas[0].Transfer(within(t, time.Minute), other.name))
		}
	})
}

// And one that opens its groups long after its links.
func TestANodeThatOpensAGroupLateIsTold(t *testing.T) {
	inFleet(t, func(f *fleet) { f.heartbeat = 2 * time.Second }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		f.equal()
		leader, late := f.leader(), f.follower().name
		next := f.follower(late).name
		f.stop(late)
		f.put(many("meanwhile", 5)...)
		f.groups = 0
		n := f.start(late)
		time.Sleep(3 * time.Second)
		require.NoError(t, leader.replicas[0].Transfer(within(t, time.Minute), next))
		time.Sleep(3 * time.Second)
		f.groups = 1
		require.NoError(t, f.openGroup(n, 1))
		began := time.Now()
		f.applies(n, 0, f.witnesses[1].last().Commands)
		require.Less(t, time.Since(began), 1500*time.Millisecond)
	})
}

// The same after a link that was lost while nothing was under way: the pipelines on it are broken, and Raft does not know.
func TestANodeThatWasCutOffIsToldWithoutTraffic(t *testing.T) {
	inFleet(t, func(f *fleet) { f.heartbeat = 20 * time.Second }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		f.equal()
		leader, cut := f.leader(), f.follower()
		f.net.cuts.Cut(leader.name, cut.name)
		f.put(many("meanwhile", 3)...)
		time.Sleep(500 * time.Millisecond)
		f.net.cuts.Heal(leader.name, cut.name)
		began := time.Now()
		f.applies(cut, 0, f.witnesses[1].last().Commands)
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, leader.name, f.leader().name)
	})
}

// A follower that fell behind while its link hung for a moment gets the rest without pauses, though nobody writes any more.
func TestALargeBacklogIsSentWithoutPauses(t *testing.T) {
	inFleet(t, func(f *fleet) { f.heartbeat = 20 * time.Second }, func(t *testing.T, f *fleet) {
		f.put("before")
		f.equal()
		leader, slow := f.leader(), f.follower()
		f.net.cuts.Hang(leader.name, slow.name)
		f.put(many("much", 6000)...)
		f.net.cuts.Heal(leader.name, slow.name)
		began := time.Now()
		f.applies(slow, 0, f.witnesses[1].last().Commands)
		require.Less(t, time.Since(began), 4*time.Second)
	})
}

// A node that has no replica of a group is told nothing of it: a cluster of more nodes than a slot has replicas has many such.
func TestANodeIsToldOfNoGroupThatItHasNot(t *testing.T) {
	inFleet(t, func(f *fleet) { f.heartbeat, f.disks["n4"] = 2*time.Second, vfs.NewMem(4) }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		f.equal()
		groups := f.groups
		f.groups = 0
		n4 := f.start("n4")
		defer f.close(n4)
		delete(f.nodes, "n4")
		f.groups = groups
		leader := f.leader()
		require.NoError(t, leader.replicas[0].Transfer(within(t, time.Minute), f.follower().name)) // a leader that begins tells all nodes
		f.leader(leader.name)
		time.Sleep(time.Minute)
		for name, n := range f.nodes {
			require.Contains(t, n.host.Greeted(), "n4", name)
			require.Zero(t, n.host.Greeted()["n4"], name)
		}
	})
}
