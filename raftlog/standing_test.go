package raftlog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A replica that sits out is not elected: not by nudge, not by transfer, not when the
// leader is gone for long; it votes, and the other one is elected. When it no longer
// sits out it may lead.
func TestAReplicaThatSitsOutDoesNotStand(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("before", 10)...)
		leader := f.leader()
		out := f.nodes[f.someOther(leader.name)]
		out.replicas[0].SitOut(true)
		term := leader.replicas[0].Stats().Term
		out.replicas[0].Nudge()
		require.Error(t, leader.replicas[0].Transfer(t.Context(), out.name))
		time.Sleep(5 * time.Second)
		require.Equal(t, leader.name, f.leader().name)
		require.Equal(t, term, leader.replicas[0].Stats().Term)

		for range 5 { // the one that sits out votes for the third
			old := f.leader()
			f.isolate(old.name)
			require.NotEqual(t, out, f.leader(old.name))
			f.net.cuts.HealAll()
			time.Sleep(3 * time.Second)
		}

		f.stop(f.leader().name)
		third := ""
		for name := range f.nodes {
			if f.nodes[name] != nil && name != out.name {
				third = name
			}
		}
		require.NotEmpty(t, third)
		for range 6 { // both are without a leader, this one for longer
			f.leader()
			f.stop(third)
			time.Sleep(3 * time.Second)
			f.start(third)
			require.Equal(t, f.nodes[third], f.leader())
			time.Sleep(5 * time.Second)
			require.Equal(t, f.nodes[third], f.leader())
		}

		out.replicas[0].SitOut(false)
		require.NoError(t, f.leader().replicas[0].Transfer(t.Context(), out.name))
		require.Equal(t, out.name, f.leader().name)
	})
}
