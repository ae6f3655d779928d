package run

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func TestASeedGivesOneSchedule(t *testing.T) {
	draw := func(seed history.Seed) []Planned {
		p, err := schedule(seed.Stream("nemesis"), Kinds(), nodes, 20*time.Minute)
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
	require.Len(t, kinds, len(Kinds()))
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

// Every kind comes once before any comes again, but for those beside others, which are
// of the network and begin while the other lasts. In later turns power losses of all nodes come more often.
func TestEachFaultHasItsTurn(t *testing.T) {
	ps, err := schedule(history.Seed(3).Stream("nemesis"), Kinds(), nodes, time.Hour)
	require.NoError(t, err)
	seen := make(map[string]int)
	beside := 0
	for _, round := range rounds(ps) {
		for _, p := range round[1:] {
			beside++
			require.Equal(t, "network", kindOf(p.Kind).area)
			require.Less(t, p.At, round[0].At+round[0].For)
			require.False(t, kindOf(round[0].Kind).links, "%s has rules of its own on the links", round[0].Kind)
		}
		seen[round[0].Kind]++
	}
	require.NotZero(t, beside)
	turns := seen["kill"]
	require.Greater(t, turns, 2)
	for _, k := range kinds() {
		require.InDelta(t, turns+(turns-1)*k.more, seen[k.name], float64(1+k.more), k.name)
	}
}

func TestFaultsAreNamedOneByOneOrByArea(t *testing.T) {
	all, err := Expand([]string{"all"})
	require.NoError(t, err)
	var possible []string
	for _, k := range kinds() {
		if !k.other && !k.apart && k.missing() == nil {
			possible = append(possible, k.name)
		}
	}
	require.Equal(t, possible, all)
	some, err := Expand([]string{"pause", "process"})
	require.NoError(t, err)
	require.Equal(t, "pause", some[0])
	require.Len(t, some, len(processFaults)-1)
	require.NotContains(t, some, "upgrade")
	some, err = Expand([]string{"upgrade"})
	require.NoError(t, err)
	require.Equal(t, []string{"upgrade"}, some)
	require.ErrorContains(t, Missing(some, false), "--other")
	require.NoError(t, Missing(some, true))
	_, err = Expand([]string{"nonsense"})
	require.Error(t, err)
	links, build, timers := Needs([]string{"kill"})
	require.False(t, links || build || timers)
	links, build, timers = Needs([]string{"power", "flap", "timer-rate"})
	require.True(t, links && build && timers)
	for _, k := range kinds() {
		require.Contains(t, Areas, k.area)
		require.NotEmpty(t, k.says)
		require.Positive(t, k.short)
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

// Whatever is left out of a plan, each of the others is struck, and those beside one that is gone prove
// themselves as any other.
func TestFaultsAreLeftOutOfAPlan(t *testing.T) {
	plan, err := schedule(history.Seed(3).Stream("nemesis"), Kinds(), nodes, 20*time.Minute)
	require.NoError(t, err)
	alone := 0
	for i, gone := range plan {
		less := slices.Concat(plan[:i], plan[i+1:])
		var struck []Planned
		for _, round := range rounds(less) {
			require.False(t, round[0].Beside)
			for _, p := range round[1:] {
				require.True(t, p.Beside)
				require.Less(t, p.At, round[0].At+round[0].For)
			}
			struck = append(struck, round...)
		}
		require.Len(t, struck, len(less))
		if !gone.Beside && i+1 < len(plan) && plan[i+1].Beside {
			alone++
			require.False(t, struck[i].Beside)
		}
	}
	require.NotZero(t, alone)
	require.Len(t, rounds([]Planned{{At: time.Second, For: time.Second, Kind: "loss", Beside: true}}), 1, "nothing else is left")
}
