package raftlog

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// Whatever the sizes: when all that may be needed was copied forward, the free bytes are above what entries must leave, so that some are
// let in; and while it is copied, at worst everything before any segment is won but the one under way, what is left to the trimmer suffices.
func TestWALBudgetLetsCopyingWin(t *testing.T) {
	for _, size := range []int64{64 << 10, 100_000, 1 << 20, 4 << 20, 64 << 20, 1 << 30} {
		for files := 5; files <= 200; files++ {
			b := newWALBudget(size, files)
			name := fmt.Sprintf("%d files of %d: %+v", files, size, b)
			c := size - walFirstFrame
			free := int64(files)*c - c - b.spread(b.live) - b.largest
			require.GreaterOrEqual(t, free, b.control+b.largest-2, name)
			require.GreaterOrEqual(t, b.copying, b.spread(b.live)-b.live+c+b.largest-2, name)
			require.GreaterOrEqual(t, b.control-b.copying, b.spread(b.largest)+b.largest, name)
			require.Positive(t, b.live, name)
		}
	}
}

func TestWALRefusesABudgetTooSmallForRaft(t *testing.T) {
	for _, c := range []struct {
		o    WALOptions
		text string
	}{
		{WALOptions{}, ""},
		{WALOptions{SegmentBytes: 4 << 20, Segments: 8}, ""}, // two AppendEntries of 4 MiB
		{WALOptions{SegmentBytes: 2 << 20, Segments: 8}, "8519680 are needed"},
		{WALOptions{SegmentBytes: 1 << 20, Segments: 8}, "8 segments of 1048576 bytes has room for 2457903 bytes of entries, 8519680 are needed"},
		{WALOptions{SegmentBytes: 256 << 10, Segments: 6}, "8519680 are needed"},
		{WALOptions{MaxEntry: 8 << 20}, ""},
		{WALOptions{SegmentBytes: 4 << 20, MaxEntry: 4 << 20}, "a write-ahead log segment of 4194304 bytes has room for an entry of 1046400 bytes, 4194304 are needed"},
		{WALOptions{Segments: 4}, "4 segments of 67108864 bytes: out of bounds"},
	} {
		c.o.FS = vfs.NewMem(1)
		w, err := OpenWAL("wal", c.o)
		if c.text == "" {
			require.NoError(t, err, "%+v", c.o)
			require.NoError(t, w.Close())
			continue
		}
		require.ErrorContains(t, err, c.text)
		_, err = c.o.FS.List("wal")
		require.Error(t, err, "nothing is made")
	}
}

// The same sizes are refused when the files there are smaller than what is asked for.
func TestWALRefusesFilesTooSmallForRaft(t *testing.T) {
	o := WALOptions{FS: vfs.NewMem(1), SegmentBytes: 64 << 10, Segments: 6, MaxAppend: 16 << 10}
	w, err := OpenWAL("wal", o)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	o.SegmentBytes, o.MaxAppend = 4<<20, 2<<20
	_, err = OpenWAL("wal", o)
	require.ErrorContains(t, err, "segments of 65536 bytes has room for")
}
