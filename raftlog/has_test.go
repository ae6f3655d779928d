package raftlog_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// That an entry cannot be read is no sign that the log does not have it: who would remove what lies
// behind asks whether it is there.
func TestAnEntryThatCannotBeReadIsThere(t *testing.T) {
	disk := vfs.NewMem(1)
	open := func() *raftlog.WAL {
		w, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: disk, SegmentBytes: 64 << 10, MaxAppend: 16 << 10, MaxEntry: 8 << 10})
		require.NoError(t, err)
		return w
	}
	w := open()
	require.NoError(t, w.Group(1).StoreLogs(entriesOf(5, 3, "three", "four", "five")))
	require.NoError(t, w.Close())
	w = open() // nothing is cached
	defer w.Close()
	in := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: "*.wal"})
	defer in.Release()
	g := w.Group(1)
	var l raft.Log
	err := g.GetLog(4, &l)
	require.Error(t, err)
	require.False(t, errors.Is(err, raft.ErrLogNotFound))
	for index, there := range map[uint64]bool{2: false, 3: true, 4: true, 5: true, 6: false} {
		require.Equal(t, there, g.Has(index, 5), index)
		require.False(t, g.Has(index, 4), index)
	}
}
