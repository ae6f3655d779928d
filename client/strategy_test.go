package client

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func strategies() []Strategy { return []Strategy{Average(), Circle(), ConsistentHash()} }

func queuesOf(n int) (qs []queueKey) {
	for i := range n {
		qs = append(qs, queueKey{fmt.Sprintf("raftmq-%d", i%3), int32(i / 3)})
	}
	slices.SortFunc(qs, compareQueues)
	return qs
}

func membersOf(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("10.0.0.%d@%d#%d", i%5, 4000+i, i))
	}
	slices.Sort(ids)
	return ids
}

// owners says who has each queue, by what each member reckons for itself.
func owners(t *testing.T, s Strategy, queues []queueKey, members []string) (owner map[queueKey]string, most int) {
	t.Helper()
	owner = make(map[queueKey]string)
	for _, m := range members {
		own := s.of("topic", queues, nil, members, m)
		most = max(most, len(own))
		for _, q := range own {
			require.Empty(t, owner[q], "%v is shared by %s twice", q, s)
			owner[q] = m
		}
	}
	require.Len(t, owner, len(queues), "each queue has its member")
	return owner, most
}

func moved(a, b map[queueKey]string) (n int) {
	for q := range a {
		if a[q] != b[q] {
			n++
		}
	}
	return n
}

// Each queue has one member, no member has many more than another, and strangers have none.
func TestStrategiesShareAllQueuesEvenly(t *testing.T) {
	for _, s := range strategies() {
		for _, queues := range []int{0, 1, 2, 6, 7, 24, 100} {
			for members := 1; members < 12; members++ {
				_, most := owners(t, s, queuesOf(queues), membersOf(members))
				limit := (queues + members - 1) / members
				if s.String() == "consistent-hash" {
					limit = (5*queues + 4*members - 1) / (4 * members)
				}
				require.LessOrEqual(t, most, limit, "%s: %d queues, %d members", s, queues, members)
			}
		}
		require.Empty(t, s.of("topic", queuesOf(6), nil, membersOf(3), "stranger"))
		require.Empty(t, s.of("topic", queuesOf(6), nil, nil, "stranger"))
		same, err := ParseStrategy(s.String())
		require.NoError(t, err)
		require.Equal(t, s.String(), same.String())
	}
	_, err := ParseStrategy("nearby")
	require.ErrorIs(t, err, ErrInvalid)
	qs, ms := queuesOf(6), membersOf(3)
	require.Equal(t, []queueKey{qs[1], qs[4]}, Circle().of("topic", qs, nil, ms, ms[1]))
	require.Equal(t, []queueKey{qs[2], qs[3]}, Average().of("topic", qs, nil, ms, ms[1]))
}

// By config a member has the queues that its table names, and its share of topics that are not in it.
func TestByConfigEachHasWhatItsTableNames(t *testing.T) {
	qs, ms := queuesOf(6), membersOf(3)
	numbers := make(map[queueKey]int)
	for i, q := range qs {
		numbers[q] = 5 - i // as if the topic named its slots the other way round
	}
	table := map[string][]int{"topic": {0, 3, 17}}
	s := ByConfig(table)
	table["topic"][0] = 1
	require.Equal(t, "config", s.String())
	require.Equal(t, []queueKey{qs[2], qs[5]}, s.of("topic", qs, numbers, ms, ms[1]))
	require.Empty(t, s.of("topic", qs, numbers, ms, "stranger"))
	require.Equal(t, Average().of("%RETRY%g", qs, numbers, ms, ms[2]), s.of("%RETRY%g", qs, numbers, ms, ms[2]))
}

// By consistent hashing few queues move when a member joins or leaves: hardly more than the
// share of that member, where the average moves a large part of all.
func TestConsistentHashMovesFewQueues(t *testing.T) {
	const queues = 120
	qs := queuesOf(queues)
	sum := make(map[string]int)
	shares := 0
	for n := 2; n < 10; n++ {
		all := membersOf(n + 1)
		for gone := range all {
			fewer := slices.Delete(slices.Clone(all), gone, gone+1)
			shares += queues / (n + 1)
			for _, s := range strategies() {
				with, _ := owners(t, s, qs, all)
				without, _ := owners(t, s, qs, fewer)
				m := moved(with, without)
				sum[s.String()] += m
				if s.String() == "consistent-hash" {
					require.LessOrEqual(t, m, 2*queues/(n+1)+queues/10, "%d members, %s leaves or joins", n, all[gone])
				}
			}
		}
	}
	t.Logf("moved in all, of shares of %d: %v", shares, sum)
	require.Less(t, sum["consistent-hash"], 3*shares/2)
	require.Greater(t, sum["average"], 2*sum["consistent-hash"])

	// The queues of different topics do not all go to the same member.
	first := make(map[string]bool)
	for i := range 20 {
		for _, m := range membersOf(4) {
			if len(consistentHash(fmt.Sprint("t", i), qs[:1], membersOf(4), m)) > 0 {
				first[m] = true
			}
		}
	}
	require.Len(t, slices.Collect(maps.Keys(first)), 4)
	require.EqualValues(t, uint64(0x3e86ee82e949b58d), weight("topic", queueKey{"raftmq-0", 1}, "member"), "all versions must reckon the same")
}
