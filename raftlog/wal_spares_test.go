package raftlog

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// badSector is a place that the disk cannot give until it was written over.
type badSector struct {
	disk *vfs.Mem
	name string
	off  int64
	n    int64
	fail *vfs.Injection

	mu      sync.Mutex
	written bool // not yet synced
	mended  bool
	each    func(mended bool) // before each operation that a power cut may come before
}

func spoil(disk *vfs.Mem, name string, off, n int64) *badSector {
	b := &badSector{disk: disk, name: name, off: off, n: n, fail: disk.FailRead(name+"*", off, n)}
	disk.SetHook(b.hook)
	return b
}

func (b *badSector) hook(op vfs.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if op.N > 0 && b.each != nil {
		b.each(b.mended)
	}
	switch {
	case !strings.HasPrefix(op.Name, b.name):
	case op.Kind == vfs.OpWrite && op.Off <= b.off && op.Off+op.Len >= b.off+b.n:
		b.written = true
	case op.Kind == vfs.OpSyncData && b.written:
		b.mended = true
		b.fail.Release()
	}
	return nil
}

// The power is cut while a released segment that cannot be read is written over: from when a start could do without it, each can.
func TestWALZeroesADamagedSegmentBeforeItIsNeeded(t *testing.T) {
	disk := vfs.NewMem(1)
	w := openAiling(t, disk, time.Minute)
	pins, g := w.Group(1), w.Group(2)
	require.NoError(t, pins.SetUint64([]byte("CurrentTerm"), 7))
	last := uint64(0)
	for w.Stats().Segments < 3 {
		last++
		require.NoError(t, g.StoreLog(walTestLog(last, 1, 4000)))
	}
	g.mu.RLock()
	var p walPos // in the second segment, which only the first keeps from its release
	for _, s := range g.slots {
		if s.pos.seg == 2 {
			p = s.pos
			break
		}
	}
	g.mu.RUnlock()
	require.NoError(t, g.SaveCheckpoint(Checkpoint{Index: last, Term: 1}))
	w.mu.Lock()
	require.EqualValues(t, 1, w.live[0].head.number)
	name := w.live[1].name
	w.mu.Unlock()

	type cut struct {
		disk   *vfs.Mem
		mended bool
	}
	var cuts []cut
	b := spoil(disk, name, int64(p.off), int64(p.len))
	b.each = func(mended bool) { cuts = append(cuts, cut{disk.CrashKeeping(1, 0), mended}) }
	w.verify()
	require.ErrorIs(t, walAwait(t, w.damaged), ErrWALDamaged)
	walAwait(t, w.healed)
	require.NoError(t, w.Close())
	disk.SetHook(nil)

	whole, unread := false, 0
	for n, c := range cuts {
		if !c.mended {
			c.disk.FailRead(name, int64(p.off), int64(p.len))
		}
		o := WALOptions{FS: c.disk, SegmentBytes: 64 << 10, Segments: 12, MaxAppend: 16 << 10, WriteDeadline: 10 * time.Second}
		w, err := OpenWAL("wal", o)
		if !whole && err != nil {
			require.ErrorIs(t, err, ErrWALDamaged)
			continue
		}
		require.NoError(t, err, "cut %d of %d", n, len(cuts))
		whole = true
		if !c.mended {
			unread++
		}
		require.NoError(t, w.Close())
	}
	require.Positive(t, unread, "cuts while it could not be read, and was not needed")
}
