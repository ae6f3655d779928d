package store

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// A store with a message takes one map, and 64 KiB on disk until it is synced; then
// a block more for its queue.
func TestEmptyStoreIsSmall(t *testing.T) {
	disk := vfs.NewMem(1)
	var maps atomic.Int32
	disk.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpMap {
			maps.Add(1)
		}
		return nil
	})
	disk.SetFree(growFirst)
	s, err := Open("p", Options{FS: disk}, nil)
	require.NoError(t, err)
	defer s.Close()
	e, places := entry(t, 1, message.Queue{Topic: "t"}, 1, 100)
	_, err = s.Append(e, 1, places)
	require.NoError(t, err)
	require.ErrorIs(t, s.Sync(s.Last()), vfs.ErrNoSpace)
	disk.SetFree(vfs.PageSize)
	require.NoError(t, s.Sync(s.Last()))
	require.EqualValues(t, 1, maps.Load())
}

// A sealed segment keeps neither a map nor what was reserved behind its end, also
// if the power was cut before that was given back.
func TestSealedSegmentsGiveBack(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	fill(t, s, 1, 300, same)
	segments := s.segments
	require.Greater(t, len(segments), 3)
	state, m := s.Checkpoint()
	require.NoError(t, s.Sync(m))
	sizes := func(disk *vfs.Mem) {
		t.Helper()
		for _, g := range segments[:len(segments)-1] {
			f, err := disk.Open(g.name)
			require.NoError(t, err)
			size, err := f.Size()
			require.NoError(t, err)
			require.EqualValues(t, g.end-g.start, size)
			require.NoError(t, f.Close())
		}
	}
	s.round.Lock()
	s.lookAround()
	for _, g := range segments[:len(segments)-1] {
		require.Nil(t, g.mapped)
		require.Nil(t, g.file)
	}
	s.round.Unlock()
	sizes(disk)
	left := disk.CrashKeeping(0, 1)
	for _, g := range segments[:len(segments)-1] {
		f, err := left.Open(g.name)
		require.NoError(t, err)
		require.NoError(t, f.Allocate(0, 2*minSegment))
	}
	s2 := openMem(t, left, state)
	sizes(left)
	require.Equal(t, s.Last(), s2.Last())
}

// What is appended is handed to the disk a MiB at a time, in order and once, so that
// a Sync finds little to do.
func TestWriteBackGoesInSmallSteps(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", Options{FS: disk}, nil)
	require.NoError(t, err)
	defer s.Close()
	var at int64
	disk.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpWriteBack { // from the background only
			if op.Off != at || op.Len != 1<<20 {
				t.Errorf("%v after %d", op, at)
			}
			at += op.Len
		}
		return nil
	})
	for i := uint64(1); i <= 20; i++ {
		e, places := entry(t, i, message.Queue{Topic: "t"}, 4, 100<<10)
		_, err := s.Append(e, 1, places)
		require.NoError(t, err)
	}
	s.round.Lock()
	s.lookAround()
	require.Less(t, int64(s.Last().Position)-at, int64(1<<20))
	s.round.Unlock()
}

// The next segment is made, mapped and reserved before it is needed: a roll, and
// the append after it, make no file but the floor and map nothing.
func TestRollFindsItsSegmentMade(t *testing.T) {
	disk := vfs.NewMem(1)
	s := openMem(t, disk, nil)
	var ops []vfs.Op
	for i := uint64(1); i <= 300; i++ {
		e, places := entry(t, i, message.Queue{Topic: "t"}, 2, 700)
		if !s.NeedsRoll(len(e.Data)) {
			_, err := s.Append(e, 1, places)
			require.NoError(t, err)
			continue
		}
		s.round.Lock() // the background has come so far
		s.lookAround()
		ops = nil
		disk.SetHook(func(op vfs.Op) error {
			ops = append(ops, op)
			return nil
		})
		require.NoError(t, s.Roll(same))
		_, err := s.Append(e, 1, places)
		require.NoError(t, err)
		disk.SetHook(nil)
		s.round.Unlock()
		for _, op := range ops {
			require.NotContains(t, []vfs.OpKind{vfs.OpMap, vfs.OpAllocate, vfs.OpSync, vfs.OpSyncData, vfs.OpSyncDir}, op.Kind, "%v", op)
			if op.Kind == vfs.OpCreate {
				require.Contains(t, op.Name, ".floor")
			}
		}
	}
	require.NotEmpty(t, ops)
}
