package broker

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// While a file of a replica is repaired, which takes as long as what it needs of the others,
// more is found of it: that stays, after a start too. What was copied whole is whole.
func TestWhatIsFoundDuringARepairStays(t *testing.T) {
	for name, more := range map[string]quarantine{
		"another file": {Files: []string{"b.log"}, Reason: "damaged"},
		"it differs":   {Whole: true, Reason: "at entry 9 the others' digests are others"},
		"a dispute":    {Disputed: true, Reason: "at entry 9 no majority agrees"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Broker{disk: vfs.NewMem(1), cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger()}
			require.True(t, b.sick.admit(7, quarantine{Files: []string{"a.log"}, Reason: "damaged"}))
			require.NoError(t, b.persist(7))
			q, _ := b.sick.of(7)
			require.True(t, b.sick.admit(7, more))
			require.NoError(t, b.release(7, q))
			for range 2 {
				now, ok := b.sick.of(7)
				require.True(t, ok)
				require.ElementsMatch(t, more.Files, now.Files)
				require.Equal(t, more.withheld(), now.withheld())
				b.sick = newInfirmary()
				require.NoError(t, b.recall(7))
			}
			require.NoError(t, b.release(7, quarantine{Whole: true}))
			_, ok := b.sick.of(7)
			require.False(t, ok)
			b.sick = newInfirmary()
			require.NoError(t, b.recall(7))
			require.Empty(t, b.sick.ids())
		})
	}
}
