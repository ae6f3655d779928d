package raftlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// ailingWAL is a log on a disk whose bytes decay.
type ailingWAL struct {
	*WAL
	t       *testing.T
	disk    *vfs.Mem
	damaged chan error
	healed  chan string
	lost    chan error
}

func openAiling(t *testing.T, disk *vfs.Mem, healWait time.Duration) *ailingWAL {
	t.Helper()
	a := &ailingWAL{t: t, disk: disk, damaged: make(chan error, 10), healed: make(chan string, 10), lost: make(chan error, 10)}
	w, err := OpenWAL("wal", WALOptions{FS: disk, SegmentBytes: 64 << 10, Segments: 12, MaxAppend: 16 << 10, WriteDeadline: 10 * time.Second, HealWait: healWait,
		OnDamage: func(err error) { a.damaged <- err }, OnHealed: func(f string) { a.healed <- f }, OnLost: func(err error) { a.lost <- err }})
	require.NoError(t, err)
	t.Cleanup(func() { w.Close() })
	a.WAL = w
	return a
}

func (a *ailingWAL) verify() {
	a.t.Helper()
	require.NoError(a.t, a.Verify(a.t.Context(), func(context.Context, int) error { return nil }))
}

func walAwait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		require.FailNow(t, "nothing for a minute")
		panic("unreachable")
	}
}

// decayAt changes a byte of the record at p.
func (a *ailingWAL) decayAt(seg uint64, off int64) string {
	a.t.Helper()
	a.mu.Lock()
	name := a.live[seg-a.live[0].head.number].name
	a.mu.Unlock()
	require.NoError(a.t, a.disk.Damage(name, off, 1, func(b []byte) { b[0] ^= 4 }))
	return name
}

// uncache has the group read its entries from the disk.
func (g *GroupLog) uncache() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.evictLocked(g.lastLocked())
}

// archived gives what was stored, as a commit log does, through an index.
type archived struct{ through atomic.Uint64 }

func (*archived) FirstIndex() uint64  { return 1 }
func (a *archived) LastIndex() uint64 { return a.through.Load() }
func (a *archived) GetLog(i uint64, out *raft.Log) error {
	if i > a.through.Load() {
		return raft.ErrLogNotFound
	}
	*out = *walTestLog(i, 1, 300)
	return nil
}

// A byte decays while the log is in use, of whatever: what is needed is written again without it, and a restart after that, also by a power
// cut, finds all. Nobody is given the damaged bytes meanwhile.
func TestWALHealsDamageWhileItRuns(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		for _, what := range []string{"applied entry", "cached entry", "votes", "checkpoint", "first header", "second header", "frame header", "dropped group"} {
			t.Run(fmt.Sprint(what, " sealed ", sealed), func(t *testing.T) {
				disk := vfs.NewMem(1)
				w := openAiling(t, disk, time.Minute)
				g, other := w.Group(1), w.Group(2)
				a := &archived{}
				g.SetArchive(a)
				g.OnPressure(func() { // as Replica.Checkpoint
					at := a.through.Load()
					if c, ok, err := g.Checkpoint(); err == nil && ok && c.Index == at {
						return
					}
					assert.NoError(t, g.SaveCheckpoint(Checkpoint{Index: at, Term: 1, State: []byte("state")}))
				})
				require.NoError(t, g.SetUint64([]byte("CurrentTerm"), 7))
				for i := range uint64(20) {
					require.NoError(t, g.StoreLog(walTestLog(i+1, 1, 300)))
				}
				a.through.Store(12)
				require.NoError(t, g.SaveCheckpoint(Checkpoint{Index: 10, Term: 1, State: []byte("state")}))
				require.NoError(t, w.Group(3).StoreLog(walTestLog(1, 1, 300)))
				require.NoError(t, w.Group(3).Drop())
				require.NoError(t, other.StoreLog(walTestLog(1, 1, 100)))
				if sealed {
					for i := uint64(2); w.Stats().Segments < 3; i++ {
						require.NoError(t, other.StoreLog(walTestLog(i, 1, 4000)))
					}
				}
				entries, _ := other.LastIndex()
				w.verify()
				require.Empty(t, w.damaged)
				g.mu.RLock()
				slots, first, stable, check := g.slots, g.first, g.stablePos, g.checkpoint.pos
				g.mu.RUnlock()
				at := func(p walPos, more int64) { w.decayAt(p.seg, int64(p.off)+more) }
				switch what {
				case "applied entry":
					g.uncache()
					at(slots[11-first].pos, 100)
					var l raft.Log
					require.NoError(t, g.GetLog(11, &l))
					require.Equal(t, *walTestLog(11, 1, 300), l, "the archive has it")
				case "cached entry":
					at(slots[15-first].pos, 100)
				case "votes":
					at(stable, 30)
				case "checkpoint":
					at(check, 40)
					_, _, err := g.Checkpoint()
					require.ErrorIs(t, err, ErrWALDamaged)
				case "first header":
					w.decayAt(stable.seg, 9)
				case "second header":
					w.decayAt(stable.seg, walSecondHead+45)
				case "frame header":
					at(slots[11-first].pos, -20)
				case "dropped group":
					at(check, int64(check.len)+2*walFrameHeader)
				}
				w.verify()
				require.ErrorIs(t, walAwait(t, w.damaged), ErrWALDamaged)
				walAwait(t, w.healed)
				require.EqualValues(t, 1, w.Stats().Healed)
				w.verify()
				require.Empty(t, w.damaged)
				require.Empty(t, w.lost)

				for _, m := range []*vfs.Mem{disk.CrashClone(3), disk.CrashKeeping(4, 0)} {
					w := openAiling(t, m, time.Minute)
					g, other := w.Group(1), w.Group(2)
					g.SetArchive(a)
					v, err := g.GetUint64([]byte("CurrentTerm"))
					require.NoError(t, err)
					require.EqualValues(t, 7, v)
					c, ok, err := g.Checkpoint()
					require.NoError(t, err)
					require.True(t, ok)
					require.Contains(t, []uint64{10, 12}, c.Index)
					require.Equal(t, "state", string(c.State))
					var l raft.Log
					for i := uint64(1); i <= 20; i++ {
						require.NoError(t, g.GetLog(i, &l))
						require.Equal(t, *walTestLog(i, 1, 300), l)
					}
					for i := range entries {
						require.NoError(t, other.GetLog(i+1, &l))
					}
					require.NotContains(t, w.Groups(), uint64(3))
					w.verify()
					require.NoError(t, w.Close())
				}
			})
		}
	}
}

// A place that the disk cannot give any more is written over: else the next start, which reads whole segments, would find it.
func TestWALHealsWhatCannotBeRead(t *testing.T) {
	disk := vfs.NewMem(1)
	w := openAiling(t, disk, time.Minute)
	g := w.Group(1)
	for i := range uint64(20) {
		require.NoError(t, g.StoreLog(walTestLog(i+1, 1, 300)))
	}
	g.mu.RLock()
	p := g.slots[1].pos // not in the block that is written next
	g.mu.RUnlock()
	w.mu.Lock()
	name := w.live[p.seg-w.live[0].head.number].name
	w.mu.Unlock()
	bad := disk.FailRead(name+"*", int64(p.off), int64(p.len)) // while it is open it has the name under which it was made
	disk.SetHook(func(op vfs.Op) error {                       // as a disk does with a sector
		if end := op.Off + op.Len; op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, name) && op.Off <= int64(p.off) && end >= int64(p.off+p.len) {
			bad.Release()
		}
		return nil
	})
	w.verify()
	require.ErrorIs(t, walAwait(t, w.damaged), ErrWALDamaged)
	walAwait(t, w.healed)
	require.NoError(t, w.Close())
	w = openAiling(t, disk, time.Minute)
	var l raft.Log
	for i := range uint64(20) {
		require.NoError(t, w.Group(1).GetLog(i+1, &l))
		require.Equal(t, *walTestLog(i+1, 1, 300), l)
	}
}

// What is damaged and nowhere else is not made up: the owner is told, the log goes on for the others, and is not cut when it is opened.
func TestWALTellsOfWhatIsLost(t *testing.T) {
	disk := vfs.NewMem(1)
	w := openAiling(t, disk, 50*time.Millisecond)
	g := w.Group(1)
	g.OnPressure(func() {})
	for i := range uint64(20) {
		require.NoError(t, g.StoreLog(walTestLog(i+1, 1, 300)))
	}
	g.uncache()
	p := g.slots[10].pos
	name := w.decayAt(p.seg, int64(p.off)+100)
	w.verify()
	require.ErrorIs(t, walAwait(t, w.damaged), ErrWALDamaged)
	err := walAwait(t, w.lost)
	require.ErrorIs(t, err, ErrWALDamaged)
	require.ErrorContains(t, err, name)
	var l raft.Log
	require.ErrorIs(t, g.GetLog(11, &l), ErrWALDamaged)
	require.NoError(t, w.Group(2).StoreLog(walTestLog(1, 1, 10)))
	require.NoError(t, w.Close())
	require.Empty(t, w.damaged)
	require.Empty(t, w.lost)
	require.Empty(t, w.healed)
	_, err = OpenWAL("wal", WALOptions{FS: disk, SegmentBytes: 64 << 10, Segments: 12, MaxAppend: 16 << 10})
	require.ErrorIs(t, err, ErrWALDamaged)
}

// Segments are written, released and written anew while they are read again: that is no damage.
func TestWALVerifyRunsBesideEverything(t *testing.T) {
	w := openAiling(t, vfs.NewMem(1), time.Minute)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for id := range uint64(3) {
		wg.Go(func() {
			g := w.Group(id)
			for i := range uint64(400) {
				if !assert.NoError(t, g.StoreLog(walTestLog(i+1, 1, 3000))) || i%8 == 7 && !assert.NoError(t, g.SaveCheckpoint(Checkpoint{Index: i, Term: 1})) {
					return
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for passes := 0; ; passes++ {
		w.verify()
		select {
		case <-done:
			require.Empty(t, w.damaged)
			require.Positive(t, passes)
			return
		default:
		}
	}
}

// Damage is healed while groups store and others read.
func TestWALHealsUnderLoad(t *testing.T) {
	disk := vfs.NewMem(1)
	w := openAiling(t, disk, time.Minute)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var last [3]atomic.Uint64
	for id := range uint64(3) {
		g := w.Group(id)
		g.OnPressure(func() {
			if i := last[id].Load(); i > 0 {
				err := g.SaveCheckpoint(Checkpoint{Index: i, Term: 1})
				assert.True(t, err == nil || errors.Is(err, ErrWALClosed) || last[id].Load() > i, err)
			}
		})
		wg.Go(func() {
			for i := uint64(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if !assert.NoError(t, g.StoreLog(walTestLog(i, 1, 1000))) {
					return
				}
				last[id].Store(i)
			}
		})
	}
	for healed := uint64(0); healed < 5; healed = w.Stats().Healed {
		w.mu.Lock()
		s := *w.live[w.active]
		w.mu.Unlock()
		if s.end == walFirstFrame {
			continue
		}
		w.decayAt(s.head.number, walFirstFrame+50)
		w.verify()
		select {
		case <-w.damaged: // else it was written anew meanwhile
			walAwait(t, w.healed)
		default:
		}
	}
	close(stop)
	wg.Wait()
	for id := range uint64(3) {
		end, _ := w.Group(id).LastIndex()
		require.Equal(t, last[id].Load(), end)
	}
	require.Empty(t, w.lost)
	require.NoError(t, w.Close())
	r := openAiling(t, disk.CrashClone(2), time.Minute)
	for id := range uint64(3) {
		end, _ := r.Group(id).LastIndex()
		require.Equal(t, last[id].Load(), end)
	}
}

// A segment that is damaged before anything was written to it is passed over. While it still counts as the oldest, a header that is
// written says rightly with which frame the log begins.
func TestWALPassesOverAnEmptySegment(t *testing.T) {
	disk := vfs.NewMem(1)
	w := openAiling(t, disk, time.Minute)
	rests, g := w.Group(1), w.Group(2)
	rests.mu.RLock() // keeps the trimmer from releasing it
	defer rests.mu.RUnlock()
	files := w.Stats().Files
	w.decayAt(1, walSecondHead+45)
	w.verify()
	require.ErrorIs(t, walAwait(t, w.damaged), ErrWALDamaged)
	stored := uint64(0)
	for ; w.Stats().Files < files+2 && stored < 1000; stored++ { // until a header was written
		require.NoError(t, g.StoreLog(walTestLog(stored+1, 1, 4000)))
	}
	again := openAiling(t, disk.CrashClone(3), time.Minute)
	last, err := again.Group(2).LastIndex()
	require.NoError(t, err)
	require.Equal(t, stored, last)
}
