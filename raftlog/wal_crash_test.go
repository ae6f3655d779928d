package raftlog_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// The power is cut, again and again, at random operations while groups make random changes. Afterwards each group is exactly where its
// last answered change left it, or where the one under way would have: nothing answered is lost, and nothing else appears. RAFTMQ_CUTS
// sets the number of disks.
func TestWALPowerCutsLeaveWhatWasWrittenAndNothingElse(t *testing.T) {
	disks := uint64(60)
	if testing.Short() {
		disks = 15
	}
	if n, err := strconv.ParseUint(os.Getenv("RAFTMQ_CUTS"), 10, 64); err == nil {
		disks = n
	}
	passed := 0
	for seed := range disks {
		passed += powerCuts(t, seed)
	}
	require.Greater(t, passed, int(disks), "cuts under way")
}

func powerCuts(t *testing.T, seed uint64) (cuts int) {
	const groups = 4
	r := rand.New(rand.NewPCG(seed, 1))
	m := vfs.NewMem(seed)
	was := make([]groupModel, groups)
	for i := range was {
		was[i] = emptyModel()
	}
	for life := range uint64(4) {
		name := fmt.Sprintf("disk %d, life %d", seed, life)
		m.CutAt(m.Ops()+uint64(1+r.IntN(900)), vfs.Cut{Seed: seed + life, Keep: []float64{0, 0.5, 0.9, 1}[r.IntN(4)]})
		o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 12 << 10, WriteDeadline: time.Minute}
		runs := make([]*groupRun, groups)
		if w, err := raftlog.OpenWAL("wal", o); err == nil {
			var wg sync.WaitGroup
			for i := range runs {
				runs[i] = newGroupRun(w.Group(uint64(i)), 1+seed*1000+life*100+uint64(i), was[i])
				wg.Go(func() {
					if err := runs[i].run(150); err != nil && w.Err() == nil {
						t.Errorf("%s: group %d: %v", name, i, err)
					}
				})
			}
			wg.Wait()
			w.Close()
		}
		left, op := m.Left()
		if len(left) > 0 {
			m = left[0]
			cuts++
		} else {
			m = m.CrashKeeping(seed, 0)
		}
		o.FS = m.CrashKeeping(seed, 1)
		w, err := raftlog.OpenWAL("wal", o)
		require.NoError(t, err, "%s: cut at %v", name, op)
		for i, run := range runs {
			if run == nil {
				run = newGroupRun(nil, 0, was[i])
			}
			was[i], err = run.now(w.Group(uint64(i)))
			require.NoError(t, err, "%s: cut at %v: group %d", name, op, i)
		}
		require.NoError(t, w.Close())
	}
	return cuts
}
