package raftlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// terms gives each group's term, by the node.
func (f *fleet) terms(name string) (all []uint64) {
	for _, r := range f.nodes[name].replicas {
		all = append(all, r.Stats().Term)
	}
	return all
}

// led waits until all groups are led, by others than the named node, and gives how many it led before.
func (f *fleet) allLed(without string) {
	f.t.Helper()
	for g := range f.groups {
		eventually(f.t, "no leader", func() bool {
			for name, n := range f.nodes {
				if _, ok := n.replicas[g].Leads(); ok && name != without {
					return true
				}
			}
			return false
		})
	}
}

// A leader whose node dies, or falls silent, is replaced well before the heartbeat timeout of 2 s.
func TestALostLeaderIsReplacedAtOnce(t *testing.T) {
	for name, lose := range map[string]func(*fleet, string){
		"gone":          (*fleet).stop,
		"links refused": (*fleet).isolate,
		"links silent":  (*fleet).silence,
		"power cut":     func(f *fleet, name string) { f.cut(name, 1) },
		"sends nothing": func(f *fleet, name string) { f.links(name, func(a, b string) { f.net.cuts.Hang(a, b) }) },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, nil, func(t *testing.T, f *fleet) {
				for round := range 4 {
					f.put(many(fmt.Sprint("round ", round), 10)...)
					old := f.leader()
					lose(f, old.name)
					began := time.Now()
					f.leader(old.name)
					require.Less(t, time.Since(began), 600*time.Millisecond)
					f.net.cuts.HealAll()
					if f.nodes[old.name] == nil {
						f.start(old.name)
					}
					time.Sleep(3 * time.Second)
				}
				f.equal()
			})
		})
	}
}

// What one node alone has lost is no reason to stand; neither is that together with what another had lost long ago.
func TestOneNodesAlarmDeposesNobody(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("command")
		leader, first := f.leader(), f.follower()
		second := f.follower(first.name)
		term, _ := leader.replicas[0].Leads()
		for range 3 {
			for _, n := range []*fleetNode{first, second} {
				f.net.cuts.Hang(leader.name, n.name)
				time.Sleep(500 * time.Millisecond)
				f.net.cuts.HealAll()
				time.Sleep(5 * time.Second)
				now, ok := leader.replicas[0].Leads()
				require.True(t, ok)
				require.Equal(t, term, now)
			}
		}
	})
}

// When both followers are wrong the leader changes, and no more happens.
func TestAFalseAlarmIsHarmless(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 10)...)
		leader := f.leader()
		term, _ := leader.replicas[0].Leads()
		f.silence(leader.name)
		time.Sleep(380 * time.Millisecond)
		f.net.cuts.HealAll()
		time.Sleep(10 * time.Second)
		now, _ := f.leader().replicas[0].Leads()
		require.LessOrEqual(t, now, term+2)
		f.put(many("after", 10)...)
		f.equal()
		f.once(many("before", 10)...)
		f.once(many("after", 10)...)
	})
}

// Two hundred groups lose leaders with a node: all are led again soon, by one election each, and not all at the same instant.
func TestManyGroupsAreNudged(t *testing.T) {
	const groups = 200
	inFleet(t, func(f *fleet) { f.groups = groups }, func(t *testing.T, f *fleet) {
		f.allLed("")
		lost := f.leader()
		for g := range groups { // to one node, so that it matters
			for _, n := range f.nodes {
				if _, ok := n.replicas[g].Leads(); ok && n != lost {
					require.NoError(t, n.replicas[g].Transfer(t.Context(), lost.name))
				}
			}
		}
		f.allLed("")
		other := f.follower().name
		before := f.terms(other)
		f.isolate(lost.name)
		began := time.Now()
		f.allLed(lost.name)
		took := time.Since(began)
		require.Less(t, took, time.Second)
		require.GreaterOrEqual(t, took, 20*time.Millisecond, "64 at once, then a pause")
		for g, term := range f.terms(other) {
			require.LessOrEqual(t, term, before[g]+2, "group %d", g+1)
		}
	})
}

// A learner does not stand, whoever tells it to, and is not elected.
func TestALearnerIsNeverElected(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		learner := f.learner("n4")
		for range 3 {
			leader := f.leader()
			term, _ := leader.replicas[0].Leads()
			learner.replicas[0].Nudge()
			time.Sleep(time.Second)
			now, ok := leader.replicas[0].Leads()
			require.True(t, ok)
			require.Equal(t, term, now)
			require.Error(t, leader.replicas[0].Transfer(t.Context(), "n4"))
			f.silence(leader.name)
			require.NotEqual(t, learner, f.leader(leader.name))
			f.net.cuts.HealAll()
			time.Sleep(3 * time.Second)
		}
		require.Empty(t, learner.leads.all())
		f.equal()
	})
}
