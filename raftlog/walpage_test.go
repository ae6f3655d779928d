package raftlog_test

import (
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// Frames of all lengths, on the machine's disk past its page cache and on one in memory, in files that end within a block: what is stored
// is there after each of many restarts, which begin anywhere in a block.
func TestWALFramesShareBlocks(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"machine": vfs.OS{}, "memory": vfs.NewMem(1)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "wal")
			o := raftlog.WALOptions{FS: fsys, SegmentBytes: 100_008, Segments: 12, MaxAppend: 32 << 10}
			next := uint64(1)
			first := uint64(1)
			for restart := range 40 {
				w, err := raftlog.OpenWAL(dir, o)
				require.NoError(t, err)
				g := w.Group(1)
				last, err := g.LastIndex()
				require.NoError(t, err)
				require.Equal(t, next-1, last)
				for i := first; i < next; i++ {
					var l raft.Log
					require.NoError(t, g.GetLog(i, &l))
					require.Equal(t, entry(i, 1, size(i)).Data, l.Data)
				}
				for range 5 + restart%7 {
					require.NoError(t, g.StoreLog(entry(next, 1, size(next))))
					next++
				}
				if restart%5 == 4 {
					require.NoError(t, g.SaveCheckpoint(raftlog.Checkpoint{Index: next - 4, Term: 1}))
					first = next - 3
					require.NoError(t, g.DeleteRange(1, next-4))
				}
				require.NoError(t, w.Close())
			}
		})
	}
}

func size(i uint64) int { return int(i*i*131) % 5000 }
