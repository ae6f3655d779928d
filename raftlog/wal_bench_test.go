package raftlog_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// One entry of 1 KB after the other in each of so many groups, on the real disk. Groups make checkpoints when they are asked for.
func BenchmarkWALAppend(b *testing.B) {
	for _, groups := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			w, err := raftlog.OpenWAL(b.TempDir(), raftlog.WALOptions{FS: vfs.OS{}})
			require.NoError(b, err)
			defer w.Close()
			var left atomic.Int64 // negative too when one has failed
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			b.ResetTimer()
			for id := range uint64(groups) {
				wg.Go(func() {
					g := w.Group(id)
					var stored atomic.Uint64
					g.OnPressure(func() {
						if err := g.SaveCheckpoint(raftlog.Checkpoint{Index: stored.Load(), Term: 1}); err != nil && !errors.Is(err, raftlog.ErrWALClosed) {
							b.Error(err)
						}
					})
					data := make([]byte, 1<<10)
					for i := uint64(1); left.Add(-1) >= 0; i++ {
						if err := g.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}); err != nil {
							if left.Swap(-1) >= 0 {
								b.Error(err)
							}
							return
						}
						stored.Store(i)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			s := w.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(s.RequestsPerSync(), "entries/sync")
			b.ReportMetric(float64(s.SyncQuantile(0.5).Microseconds()), "us/sync-p50")
		})
	}
}

// A log that is full, of entries of 1 KB that are needed, is opened on the real disk.
func BenchmarkWALOpen(b *testing.B) {
	for _, groups := range []int{300, 1000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			dir := b.TempDir()
			o := raftlog.WALOptions{FS: vfs.OS{}, WriteDeadline: time.Second}
			w, err := raftlog.OpenWAL(dir, o)
			require.NoError(b, err)
			full := fillWAL(b, w, groups)
			files := w.Stats().Segments
			require.NoError(b, w.Close())
			b.ResetTimer()
			for range b.N {
				w, err := raftlog.OpenWAL(dir, o)
				require.NoError(b, err)
				b.StopTimer()
				require.Len(b, w.Groups(), groups)
				require.NoError(b, w.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(full)/(1<<20), "MiB-needed")
			b.ReportMetric(float64(files), "segments")
		})
	}
}

// A new log: on return the files are there that raft needs, 3 of 64 MiB.
func BenchmarkWALOpenNew(b *testing.B) {
	for range b.N {
		w, err := raftlog.OpenWAL(b.TempDir(), raftlog.WALOptions{FS: vfs.OS{}})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, w.Close())
		b.StartTimer()
	}
}

// fillWAL stores until there is no room and gives the bytes that are needed.
func fillWAL(b *testing.B, w *raftlog.WAL, groups int) (bytes int64) {
	b.Helper()
	var wg sync.WaitGroup
	var full atomic.Bool
	for id := range uint64(groups) {
		wg.Go(func() {
			g := w.Group(id)
			if err := vote(g, 1); err != nil {
				b.Error(err)
			}
			for i := uint64(1); !full.Load(); i += 4 {
				var logs []*raft.Log
				for k := range uint64(4) {
					logs = append(logs, &raft.Log{Index: i + k, Term: 1, Data: make([]byte, 1<<10)})
				}
				if err := g.StoreLogs(logs); errors.Is(err, raftlog.ErrWALFull) {
					full.Store(true)
				} else if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id := range uint64(groups) {
		bytes += w.Group(id).Bytes()
	}
	return bytes
}

// A group that rests costs less than 2 KiB of memory, with its term and vote, a checkpoint and a few entries.
func TestWALRestingGroupsAreSmall(t *testing.T) {
	const groups = 2000
	o := raftlog.WALOptions{FS: vfs.NewMem(1), SegmentBytes: 2 << 20, Segments: 8, MaxAppend: 64 << 10, WriteDeadline: time.Minute}
	w := smallWAL(t, o)
	var wg sync.WaitGroup
	for id := range uint64(groups) {
		wg.Go(func() {
			g := w.Group(id)
			if err := errors.Join(vote(g, 1), g.StoreLogs([]*raft.Log{entry(1, 1, 100), entry(2, 1, 100), entry(3, 1, 100)}),
				g.SaveCheckpoint(raftlog.Checkpoint{Index: 2, Term: 1, State: make([]byte, 100)})); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close())
	w = nil
	before := heap()
	w = smallWAL(t, o)
	each := (int64(heap()) - int64(before)) / groups
	t.Logf("%d bytes for each of %d groups", each, groups)
	require.Less(t, each, int64(2<<10))
	runtime.KeepAlive(w)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
