package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
)

// Partitions that cannot be moved to their preferred leader, as when its replicas are in quarantine, do not keep others from
// being tried, however many they are.
func TestAllPartitionsHaveTheirTurn(t *testing.T) {
	var ps []*partition
	for id := range uint64(3*balanceMoves + 1) {
		if id%7 != 6 { // deleted
			ps = append(ps, &partition{desc: fsm.Partition{ID: id + 1}})
		}
	}
	last, tried := uint64(0), make(map[uint64]int)
	for range (len(ps) + balanceMoves - 1) / balanceMoves {
		for _, p := range inTurn(ps, last)[:balanceMoves] {
			last = p.desc.ID
			tried[last]++
		}
		ps = ps[1:] // one goes
	}
	require.Len(t, tried, len(ps)+3)
	require.Empty(t, inTurn(nil, last))
}
