package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
)

// Whole nodes under loads and faults that follow from a seed keep their promises, and no
// part of them outlives its end. RAFTMQ_SEEDS sets how many seeds, RAFTMQ_SEED the first.
func TestSeedsHoldWhatIsPromised(t *testing.T) {
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	seeds, from := 8, uint64(1)
	if testing.Short() {
		seeds = 4
	}
	if n, err := strconv.Atoi(os.Getenv("RAFTMQ_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("RAFTMQ_SEED"), 10, 64); err == nil {
		from = n
	}
	for i := range seeds {
		seed := history.Seed(from + uint64(i))
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := Draw(seed)
			t.Log(p)
			faults, err := run.ExpandSimulated(p.Nemesis)
			require.NoError(t, err)
			dir := t.TempDir()
			o := run.Options{Store: dir, Seed: seed, Workloads: p.Workloads, Faults: faults, Limit: 12 * time.Second, Rate: p.Rate / 2, Backend: Backend, Say: t.Logf}
			require.NoError(t, Run(t, o))
			ops, err := history.Load(filepath.Join(dir, "history.jsonl"))
			require.NoError(t, err)
			rep, err := check.History(ops)
			require.NoError(t, err)
			for _, r := range rep.Results {
				if r.Verdict == check.Unknown {
					t.Log(r.ID, r.Notes)
				}
				require.NotEqual(t, check.Invalid, r.Verdict, "%s: %s: %+v", r.ID, r.Promise, r.Violations)
			}
		})
	}
}

func TestWhatDoesNotEndIsToldFromWhatRaftNeverAnswers(t *testing.T) {
	require.Equal(t, "3", bubbleOf("goroutine 9 [select (durable), synctest bubble 3]:\nx"))
	require.Empty(t, bubbleOf("goroutine 9 [select]:\nx"))
	require.False(t, onlyUnanswered("none"))
	bubble := ""
	require.Panics(t, func() {
		synctest.Test(t, func(t *testing.T) {
			bubble = bubbleOf(stack(false))
			go func() { select {} }()
		})
	})
	require.NotEmpty(t, bubble)
	require.False(t, onlyUnanswered(bubble))
}
