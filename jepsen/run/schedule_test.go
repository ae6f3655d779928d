package run

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func TestASeedGivesOneSchedule(t *testing.T) {
	draw := func(seed history.Seed) []Planned {
		p, err := schedule(seed.Stream("nemesis"), Kinds, nodes, 10*time.Minute)
		require.NoError(t, err)
		return p
	}
	require.Equal(t, draw(1), draw(1))
	require.NotEqual(t, draw(1), draw(2))
	kinds, targets := make(map[string]int), make(map[string]int)
	for _, p := range draw(1) {
		kinds[p.Kind]++
		targets[p.Target]++
	}
	require.Len(t, kinds, len(Kinds))
	require.Len(t, targets, nodes+1)
	require.Greater(t, targets["leader"], len(draw(1))/2)
}

func TestFaultsFollowEachOtherAndEndInTime(t *testing.T) {
	for seed := range history.Seed(200) {
		limit := 8*time.Second + time.Duration(seed)*100*time.Millisecond
		ps, err := schedule(seed.Stream("nemesis"), []string{"kill"}, nodes, limit)
		require.NoError(t, err)
		require.NotEmpty(t, ps)
		require.Equal(t, "leader", ps[0].Target)
		free := time.Duration(0)
		for _, p := range ps {
			require.GreaterOrEqual(t, p.At, free)
			free = p.At + p.For
			require.LessOrEqual(t, free+calm, limit)
		}
	}
}

func TestAScheduleThatCannotBeIsRefused(t *testing.T) {
	_, err := schedule(history.Seed(1).Stream("nemesis"), []string{"kill"}, nodes, 2*time.Second)
	require.ErrorContains(t, err, "too short")
	_, err = schedule(history.Seed(1).Stream("nemesis"), []string{"flood"}, nodes, time.Minute)
	require.ErrorContains(t, err, "no fault")
	ps, err := schedule(history.Seed(1).Stream("nemesis"), nil, nodes, time.Second)
	require.NoError(t, err)
	require.Empty(t, ps)
}
