package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

func walTestOpen(t *testing.T, dir string) *WAL {
	t.Helper()
	w, err := OpenWAL(dir, WALOptions{FS: vfs.OS{}, SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 16 << 10, WriteDeadline: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func walTestLog(i, term uint64, size int) *raft.Log {
	return &raft.Log{Index: i, Term: term, Data: bytes.Repeat([]byte{byte(i)}, size), AppendedAt: time.Unix(1, int64(i))}
}

func TestWALReopens(t *testing.T) {
	dir := t.TempDir()
	w := walTestOpen(t, dir)
	g := w.Group(7)
	require.NoError(t, g.StoreLogs([]*raft.Log{walTestLog(1, 1, 100), walTestLog(2, 1, 0), walTestLog(3, 1, 10)}))
	require.NoError(t, g.DeleteRange(3, 3))
	require.NoError(t, g.StoreLog(walTestLog(3, 2, 20)))
	require.NoError(t, g.SetUint64([]byte("CurrentTerm"), 2))
	require.NoError(t, g.SetUint64([]byte(keyVoteTerm), 2))
	require.NoError(t, g.Set([]byte(keyVoteCandidate), []byte("n1.1")))
	c := Checkpoint{Index: 1, Term: 1, ConfigurationIndex: 1, Configuration: raft.Configuration{Servers: []raft.Server{{ID: "n1.1", Address: "n1.1"}}}, State: []byte("state")}
	require.NoError(t, g.SaveCheckpoint(c))
	require.NoError(t, w.Group(8).StoreLog(walTestLog(1, 1, 1)))
	require.NoError(t, w.Group(8).Drop())
	require.NoError(t, w.Close())

	w = walTestOpen(t, dir)
	require.Equal(t, []uint64{7}, w.Groups())
	g = w.Group(7)
	last, _ := g.LastIndex()
	require.EqualValues(t, 3, last)
	var l raft.Log
	require.NoError(t, g.GetLog(3, &l))
	require.Equal(t, *walTestLog(3, 2, 20), l)
	v, err := g.GetUint64([]byte(keyVoteTerm))
	require.NoError(t, err)
	require.EqualValues(t, 2, v)
	got, ok, err := g.Checkpoint()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, c, got)
	require.Equal(t, raft.ErrLogNotFound, g.GetLog(4, &l))
}

// One group checkpoints, one never does but has little: its entries are copied forward and the files stay within the budget.
func TestWALStaysWithinBudget(t *testing.T) {
	dir := t.TempDir()
	w := walTestOpen(t, dir)
	quiet, busy := w.Group(1), w.Group(2)
	for i := range uint64(5) {
		require.NoError(t, quiet.StoreLog(walTestLog(i+1, 1, 100)))
	}
	require.NoError(t, quiet.SetUint64([]byte("CurrentTerm"), 9))
	for i := range uint64(600) {
		require.NoError(t, busy.StoreLog(walTestLog(i+1, 1, 4000)))
		if i%8 == 7 {
			require.NoError(t, busy.SaveCheckpoint(Checkpoint{Index: i, Term: 1}))
		}
	}
	require.LessOrEqual(t, w.Stats().Files, 8)
	require.NoError(t, w.Close())
	w = walTestOpen(t, dir)
	for i := range uint64(5) {
		var l raft.Log
		require.NoError(t, w.Group(1).GetLog(i+1, &l))
		require.Equal(t, *walTestLog(i+1, 1, 100), l)
	}
	v, _ := w.Group(1).GetUint64([]byte("CurrentTerm"))
	require.EqualValues(t, 9, v)
	last, _ := w.Group(2).LastIndex()
	require.EqualValues(t, 600, last)
}

// A StoreLogs that waits for room does not keep out the checkpoint of its own group, which makes the room: here nothing is let in
// but by a checkpoint that is asked for under pressure.
func TestWALSavesACheckpointWhileTheGroupWaitsForRoom(t *testing.T) {
	w := walTestOpen(t, t.TempDir())
	g := w.Group(1)
	var stored atomic.Uint64
	g.OnPressure(func() {
		err := g.SaveCheckpoint(Checkpoint{Index: stored.Load(), Term: 1})
		assert.True(t, err == nil || errors.Is(err, ErrWALClosed), err)
	})
	const entry, budget = 4000, 8 * 64 << 10
	for i := uint64(1); i*entry < 4*budget; i += 8 {
		var logs []*raft.Log
		for j := range uint64(8) {
			logs = append(logs, walTestLog(i+j, 1, entry))
		}
		require.NoError(t, g.StoreLogs(logs))
		stored.Store(i + 7)
	}
	require.LessOrEqual(t, w.Stats().Files, 8)
}

func TestWALCutsATornTailAndRefusesDamage(t *testing.T) {
	for _, c := range []struct {
		entry  int
		killed bool
		ok     bool
	}{{3, true, true}, {3, false, false}, {2, true, false}, {1, true, false}} {
		t.Run(fmt.Sprint(c.entry, " killed ", c.killed), func(t *testing.T) {
			dir := t.TempDir()
			w := walTestOpen(t, dir)
			var at []int64
			for i := range uint64(3) {
				require.NoError(t, w.Group(1).StoreLog(walTestLog(i+1, 1, 100)))
				at = append(at, int64(w.Group(1).slots[i].pos.off))
			}
			if c.killed {
				left := t.TempDir()
				require.NoError(t, os.CopyFS(left, os.DirFS(dir)))
				dir = left
			}
			require.NoError(t, w.Close())
			f, err := os.OpenFile(filepath.Join(dir, "0000.wal"), os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{0xff}, at[c.entry-1]+70)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			w, err = OpenWAL(dir, WALOptions{FS: vfs.OS{}, SegmentBytes: 64 << 10, Segments: 6, MaxAppend: 16 << 10})
			if !c.ok {
				require.ErrorIs(t, err, ErrWALDamaged)
				require.ErrorContains(t, err, "0000.wal at")
				return
			}
			require.NoError(t, err)
			last, _ := w.Group(1).LastIndex()
			require.EqualValues(t, 2, last)
			require.NoError(t, w.Group(1).StoreLog(walTestLog(3, 2, 5)))
			require.NoError(t, w.Close())
		})
	}
}

func TestWALGroupsShareSyncs(t *testing.T) {
	w, err := OpenWAL(t.TempDir(), WALOptions{FS: vfs.OS{}, SegmentBytes: 1 << 20, Segments: 6, MaxAppend: 64 << 10})
	require.NoError(t, err)
	defer w.Close()
	var wg sync.WaitGroup
	for id := range uint64(32) {
		wg.Go(func() {
			for i := range uint64(20) {
				if w.Group(id).StoreLog(walTestLog(i+1, 1, 100)) != nil {
					t.Error("store")
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, w.Stats().RequestsPerSync(), 1.0)
}
