package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerdicts(t *testing.T) {
	more, less := measure{must: 1.1, goal: 1.5}, measure{must: 10, goal: 4, less: true}
	require.Equal(t, reachedGoal, more.judge(1.5))
	require.Equal(t, reachedMust, more.judge(1.49))
	require.Equal(t, missed, more.judge(1.09))
	require.Equal(t, unknown, more.judge(math.NaN()))
	require.Equal(t, reachedGoal, less.judge(4))
	require.Equal(t, reachedMust, less.judge(10))
	require.Equal(t, missed, less.judge(10.1))
	require.Equal(t, noBound, (&measure{}).judge(7))
	require.Equal(t, reachedMust, (&measure{must: 3}).judge(100), "without a goal")
	require.Equal(t, missed, (&measure{goal: 0.5}).judge(0.4), "without a must")
}

func twoRounds() *result {
	return &result{Row: "send64", Work: "64 in flight, one partition", Scale: 1, Rounds: 2, Host: "2 processors", Build: "abc", Versions: map[string]string{"raftmq": "0.1.0", "nats-server": "v2"}, Runs: []run{
		{Side: ours, Round: 0, Began: day(1), Figures: figures{rate: 30000, p50: 2, p99: 5}, Machine: figures{diskSync: 0.1, diskSync99: 0.3, load1m: 2, steal: 0}},
		{Side: theirs, Round: 0, Began: day(1), Figures: figures{rate: 20000}, Machine: figures{diskSync: 0.1}},
		{Side: ours, Round: 1, Began: day(2), Figures: figures{rate: 50000, p50: 4, p99: 9}, Machine: figures{diskSync: 0.2, diskSync99: 0.5, load1m: 3, steal: 2}},
		{Side: theirs, Round: 1, Began: day(2), Figures: figures{rate: 25000}, Machine: figures{diskSync: 0.1}},
	}}
}

func TestAMeasureIsOfMediansAndItsSpreadOfRounds(t *testing.T) {
	m := measure{of: ratio(ours, theirs, rate)}
	v, least, most := m.value(twoRounds())
	require.InDelta(t, 40000.0/22500, v, 1e-9)
	require.InDelta(t, 1.5, least, 1e-9)
	require.InDelta(t, 2, most, 1e-9)
	m.of = ratio(ours, theirsSync, rate)
	v, least, most = m.value(twoRounds())
	require.True(t, math.IsNaN(v) && math.IsNaN(least) && math.IsNaN(most), "a side that was not measured")
}

func TestARunsOwnTimeOfTheDiskComesFirst(t *testing.T) {
	x := run{Figures: figures{diskSync: 0.2}, Machine: figures{diskSync: 0.1, diskStream: 900}}
	require.Equal(t, 0.2, x.figure(diskSync))
	require.Equal(t, 900.0, x.figure(diskStream))
}

func TestRowsAreWhole(t *testing.T) {
	names := make(map[string]bool)
	for _, w := range rows() {
		require.False(t, names[w.name], w.name)
		names[w.name] = true
		require.NotEmpty(t, w.work, w.name)
		require.NotEmpty(t, w.sides, w.name)
		require.True(t, len(w.measures) > 0 || w.curve != nil, "%s: neither a measure nor a curve", w.name)
		for _, m := range w.measures {
			require.NotNil(t, m.of, w.name)
			require.False(t, m.must != 0 && m.goal != 0 && m.less != (m.goal < m.must), "%s: %s: the goal is the harder one", w.name, m.what)
		}
		for _, x := range w.sides {
			if w.curve == nil {
				require.Contains(t, sideNames, x.name, w.name)
				continue
			}
			series, _, err := point(x.name)
			require.NoError(t, err)
			require.Contains(t, styles, series)
		}
	}
}

func TestRowsArePickedByName(t *testing.T) {
	picked, err := pick(rows(), "cpu,send1")
	require.NoError(t, err)
	require.Len(t, picked, 2)
	require.Equal(t, "send1", picked[0].name, "in the order of the table")
	_, err = pick(rows(), "cpu,nothing")
	require.ErrorContains(t, err, "nothing")
}
