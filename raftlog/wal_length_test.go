package raftlog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// Segments that were made shorter than is wanted now give way to new ones while the log is in use, which a power cut at any time does not
// mind. When none is left the log has room for larger records.
func TestWALTakesALongerLength(t *testing.T) {
	disk, from, to := vfs.NewMem(1), int64(64<<10), int64(128<<10)
	open := func(disk *vfs.Mem, segment int64) *raftlog.WAL {
		return smallWAL(t, raftlog.WALOptions{FS: disk, SegmentBytes: segment, Segments: 8, MaxAppend: 16 << 10})
	}
	old := func() (n int) {
		names, err := disk.List("wal")
		require.NoError(t, err)
		for _, name := range names {
			if !strings.HasSuffix(name, ".wal") {
				continue
			}
			f, err := disk.Open("wal/" + name)
			if err != nil {
				continue // removed meanwhile
			}
			size, err := f.Size()
			require.NoError(t, err)
			require.NoError(t, f.Close())
			if size == from {
				n++
			}
		}
		return n
	}
	last := uint64(0)
	store := func(w *raftlog.WAL) {
		for range 4 {
			last++
			require.NoError(t, w.Group(1).StoreLog(entry(last, 1, 4000)))
		}
		require.NoError(t, w.Group(1).SaveCheckpoint(raftlog.Checkpoint{Index: last - 2, Term: 1}))
	}
	holds := func(w *raftlog.WAL) {
		for i := last - 1; i <= last; i++ {
			var l raft.Log
			require.NoError(t, w.Group(1).GetLog(i, &l))
			require.Equal(t, entry(i, 1, 4000), &l)
		}
	}
	w := open(disk, from)
	before := w.MaxEntry()
	for range 40 {
		store(w)
	}
	require.NoError(t, w.Close())
	require.Greater(t, old(), 3)

	w = open(disk, to)
	holds(w)
	cuts := uint64(0)
	for began, left := time.Now(), old()+1; left > 0; {
		require.Less(t, time.Since(began), time.Minute, "they keep their length")
		store(w)
		if now := old(); now < left {
			left = now
			cuts++
			holds(open(disk.CrashClone(cuts), to))
		}
	}
	require.Positive(t, cuts)
	require.LessOrEqual(t, w.Stats().Files, 8)
	holds(w)
	require.NoError(t, w.Close())
	w = open(disk, to)
	holds(w)
	require.Greater(t, w.MaxEntry(), before)
}
