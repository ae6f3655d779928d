package raftlog

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// Of many small entries the oldest were copied behind the others when a checkpoint came, and the segments of those were released. What the
// files that are left could not hold is not damage: the released ones held it.
func TestWALOpensWithMoreHolesThanItsSegmentsHold(t *testing.T) {
	disk := vfs.NewMem(1)
	open := func() *WAL {
		w, err := OpenWAL("wal", WALOptions{FS: disk, SegmentBytes: 64 << 10, Segments: 64, MaxAppend: 16 << 10, WriteDeadline: time.Minute})
		require.NoError(t, err)
		t.Cleanup(func() { w.Close() })
		return w
	}
	w := open()
	g := w.Group(1)
	const entries = 12_000
	store := func(from uint64) {
		for i := from; i < from+entries; i += 50 {
			var logs []*raft.Log
			for j := range uint64(50) {
				logs = append(logs, walTestLog(i+j, 1, 10))
			}
			require.NoError(t, g.StoreLogs(logs))
		}
	}
	turned := uint64(0)
	turn := func(segments int) { // the log goes on by so many, of which nothing is needed
		for range segments * 14 {
			turned++
			require.NoError(t, w.Group(3).StoreLog(walTestLog(turned, 1, 4000)))
			require.NoError(t, w.Group(3).SaveCheckpoint(Checkpoint{Index: turned, Term: 1}))
		}
	}
	store(1) // so that there are files
	require.NoError(t, g.SaveCheckpoint(Checkpoint{Index: entries, Term: 1}))
	turn(w.Stats().Files)

	store(entries + 1)
	require.NoError(t, w.Group(2).StoreLog(walTestLog(1, 1, 10)))
	require.NoError(t, w.copyForward([]*GroupLog{g}, g.slots[entries+1-g.first].pos.seg))
	require.NoError(t, g.StoreLog(walTestLog(2*entries+1, 1, 10)))
	require.NoError(t, g.SaveCheckpoint(Checkpoint{Index: 2*entries + 1, Term: 1}))
	turn(1)
	require.Eventually(t, func() bool { return w.Stats().Segments < 5 }, time.Minute, time.Millisecond)
	turn(3) // headers of the next segments say which are needed
	require.NoError(t, w.Close())

	w = open()
	require.Less(t, len(w.live), 10)
	c, _, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.EqualValues(t, 2*entries+1, c.Index)
	var l raft.Log
	require.NoError(t, w.Group(2).GetLog(1, &l))
}
