package raftlog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// The power is cut at every operation; what was acknowledged is there afterwards, and what was truncated durably does not come back.
func TestWALSurvivesPowerCuts(t *testing.T) {
	for cut := uint64(1); cut < 400; cut++ {
		m := vfs.NewMem(cut)
		m.CutAt(cut, vfs.Cut{Seed: cut, Keep: 0.5})
		o := WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 5}
		acked, value := uint64(0), uint64(0)
		if w, err := OpenWAL("wal", o); err == nil {
			g := w.Group(1)
			for i := uint64(1); i <= 40; i++ {
				if g.StoreLog(walTestLog(i, 1, 3000)) != nil {
					break
				}
				acked = i
				if g.SetUint64([]byte("CurrentTerm"), i) != nil {
					break
				}
				value = i
				if i%10 == 0 {
					if g.DeleteRange(i, i) != nil {
						acked = i - 1
						break
					}
					acked = i - 1
					if g.StoreLog(walTestLog(i, 2, 10)) != nil {
						break
					}
					acked = i
				}
			}
			w.Close()
		}
		left, op := m.Left()
		if len(left) == 0 {
			require.Greater(t, cut, uint64(100), "operations")
			return
		}
		o.FS = left[0]
		w, err := OpenWAL("wal", o)
		require.NoError(t, err, "cut %d at %v", cut, op)
		last, _ := w.Group(1).LastIndex()
		require.GreaterOrEqual(t, last, acked, "cut %d at %v", cut, op)
		v, _ := w.Group(1).GetUint64([]byte("CurrentTerm"))
		require.GreaterOrEqual(t, v, value, "cut %d at %v", cut, op)
		require.NoError(t, w.Close())
	}
}
