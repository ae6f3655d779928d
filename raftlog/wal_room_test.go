package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// smallWAL opens a log of few small segments in which nobody gives up waiting.
func smallWAL(t *testing.T, o raftlog.WALOptions) *raftlog.WAL {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.NewMem(1)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes, o.Segments, o.MaxAppend = 64<<10, 8, 16<<10
	}
	if o.WriteDeadline == 0 {
		o.WriteDeadline = 5 * time.Minute
	}
	w, err := raftlog.OpenWAL("wal", o)
	require.NoError(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func entry(index, term uint64, size int) *raft.Log {
	return &raft.Log{Index: index, Term: term, Data: bytes.Repeat([]byte{byte(index), byte(term)}, size)[:size]}
}

// vote does what raft does for one election.
func vote(g *raftlog.GroupLog, term uint64) error {
	if err := g.SetUint64([]byte("CurrentTerm"), term); err != nil {
		return err
	}
	if err := g.SetUint64([]byte("LastVoteTerm"), term); err != nil {
		return err
	}
	return g.Set([]byte("LastVoteCand"), []byte("node-of-some-length.1234567890"))
}

// Every group votes, checkpoints, truncates and stores without end, so that control records alone are many times the log. Nobody is
// refused, the log does not fail, and everybody's last word is there afterwards.
func TestWALControlRecordsDoNotExhaustTheRoom(t *testing.T) {
	for _, c := range []struct {
		groups, rounds int
		o              raftlog.WALOptions
	}{
		{40, 150, raftlog.WALOptions{SegmentBytes: 64 << 10, Segments: 6, MaxAppend: 8 << 10}},
		{1000, 30, raftlog.WALOptions{SegmentBytes: 512 << 10, Segments: 8, MaxAppend: 64 << 10}},
	} {
		t.Run(fmt.Sprint(c.groups), func(t *testing.T) {
			if testing.Short() && c.groups > 100 {
				t.Skip("many groups")
			}
			c.o.FS = vfs.NewMem(1)
			w := smallWAL(t, c.o)
			var wg sync.WaitGroup
			for id := range uint64(c.groups) {
				wg.Go(func() {
					g := w.Group(id)
					for r := uint64(1); r <= uint64(c.rounds) && !t.Failed(); r++ {
						err := vote(g, r)
						if err == nil {
							err = g.StoreLogs([]*raft.Log{entry(2*r-1, r, 100), entry(2*r, r, 100)})
						}
						if err == nil && r%10 == 0 {
							err = g.DeleteRange(2*r, 2*r)
						}
						if err == nil && r%10 == 0 {
							err = g.StoreLog(entry(2*r, r+1, 100))
						}
						if err == nil {
							err = g.SaveCheckpoint(raftlog.Checkpoint{Index: 2*r - 1, Term: r, State: make([]byte, 100)})
						}
						if err != nil {
							t.Errorf("group %d, round %d: %v", id, r, err)
						}
					}
				})
			}
			wg.Wait()
			require.NoError(t, w.Err())
			s := w.Stats()
			require.LessOrEqual(t, s.Files, c.o.Segments)
			require.Greater(t, int64(s.Bytes), 3*int64(c.o.Segments)*c.o.SegmentBytes)
			require.NoError(t, w.Close())

			w = smallWAL(t, c.o)
			for id := range uint64(c.groups) {
				g := w.Group(id)
				term, err := g.GetUint64([]byte("LastVoteTerm"))
				require.NoError(t, err)
				require.EqualValues(t, c.rounds, term)
				cp, ok, err := g.Checkpoint()
				require.NoError(t, err)
				require.True(t, ok)
				require.EqualValues(t, 2*c.rounds-1, cp.Index)
				last, err := g.LastIndex()
				require.NoError(t, err)
				require.EqualValues(t, 2*c.rounds, last)
			}
		})
	}
}

// Half of the groups rest, the others vote without end. The trimmer is held up while it copies the checkpoints of those that rest, until
// the votes have used up what is theirs and wait. Then it still has what it needs to go on, and all end well.
func TestWALVotesLeaveTheTrimmerItsRoom(t *testing.T) {
	m := vfs.NewMem(1)
	o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 8 << 10, WriteDeadline: 20 * time.Second}
	w := smallWAL(t, o)
	const resting, voting, rounds = 100, 100, 200
	for id := range uint64(resting) {
		require.NoError(t, vote(w.Group(id), 1))
		require.NoError(t, w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: 1, Term: 1, State: make([]byte, 350)}))
	}
	held := m.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Hang: true})
	defer held.Release()
	var wg sync.WaitGroup
	var failed atomic.Bool
	for id := range uint64(voting) {
		wg.Go(func() {
			for r := uint64(1); r <= rounds && !failed.Load(); r++ {
				if err := vote(w.Group(resting+id), r); err != nil && !failed.Swap(true) {
					t.Errorf("group %d, round %d: %v", resting+id, r, err)
				}
			}
		})
	}
	<-held.Struck()
	for written, before := w.Stats().Bytes, uint64(0); written != before; written, before = w.Stats().Bytes, written {
		time.Sleep(20 * time.Millisecond)
	}
	held.Release()
	wg.Wait()
	require.NoError(t, w.Close())
	w = smallWAL(t, o)
	for id := range uint64(resting + voting) {
		term, err := w.Group(id).GetUint64([]byte("LastVoteTerm"))
		require.NoError(t, err)
		require.EqualValues(t, map[bool]int{true: 1, false: rounds}[id < resting], term)
	}
}

// Groups that ignore pressure are refused at some time. The others, which answer it, store many times the log beside them; and what the
// stuck ones have stays there and readable, however often it is copied.
func TestWALStuckGroupsDoNotBlockOthers(t *testing.T) {
	for _, stuck := range []uint64{1, 3} {
		t.Run(fmt.Sprint(stuck), func(t *testing.T) {
			o := raftlog.WALOptions{FS: vfs.NewMem(1), SegmentBytes: 256 << 10, Segments: 8, MaxAppend: 32 << 10, WriteDeadline: 100 * time.Millisecond}
			w := smallWAL(t, o)
			has := make([]uint64, stuck)
			for id := range stuck {
				w.Group(id).OnPressure(func() {})
				for {
					err := w.Group(id).StoreLog(entry(has[id]+1, 1, 5000))
					if err != nil {
						require.ErrorIs(t, err, raftlog.ErrWALFull)
						break
					}
					has[id]++
				}
				require.GreaterOrEqual(t, has[id], uint64(12), "two appends at least")
			}
			require.NoError(t, w.Close())
			o.WriteDeadline = time.Minute
			w = smallWAL(t, o)
			for id := range stuck {
				w.Group(id).OnPressure(func() {})
			}
			var wg sync.WaitGroup
			for id := stuck; id < stuck+4; id++ {
				wg.Go(func() {
					g := w.Group(id)
					var mu sync.Mutex
					stored := uint64(0)
					checkpoint := func() {
						mu.Lock()
						at := stored
						mu.Unlock()
						err := g.SaveCheckpoint(raftlog.Checkpoint{Index: at, Term: 1})
						if err != nil && !errors.Is(err, raftlog.ErrWALClosed) { // asked for when the test was over
							t.Errorf("checkpoint of group %d: %v", id, err)
						}
					}
					g.OnPressure(checkpoint)
					for i := uint64(1); i <= 250 && !t.Failed(); i++ {
						if err := g.StoreLog(entry(i, 1, 5000)); err != nil {
							t.Errorf("group %d, entry %d: %v", id, i, err)
						}
						mu.Lock()
						stored = i
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			require.NoError(t, w.Err())
			require.LessOrEqual(t, w.Stats().Files, o.Segments)
			require.NoError(t, w.Close())
			o.WriteDeadline = 100 * time.Millisecond
			w = smallWAL(t, o)
			for id := range stuck {
				g := w.Group(id)
				for i := uint64(1); i <= has[id]; i++ {
					var l raft.Log
					require.NoError(t, g.GetLog(i, &l), "group %d, entry %d", id, i)
					require.Equal(t, entry(i, 1, 5000), &l)
				}
				require.ErrorIs(t, g.StoreLog(entry(has[id]+1, 1, 5000)), raftlog.ErrWALFull)
				require.NoError(t, vote(g, 7), "votes are always possible")
			}
			for id := range stuck {
				require.NoError(t, w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: has[id], Term: 1}))
			}
			for id := range stuck {
				require.NoError(t, w.Group(id).StoreLog(entry(has[id]+1, 1, 5000)), "it goes on")
			}
		})
	}
}

// Checkpoints that are too large together are refused, the earlier ones hold, and the log goes on.
func TestWALRefusesCheckpointsBeyondTheRoom(t *testing.T) {
	o := raftlog.WALOptions{FS: vfs.NewMem(1), SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 16 << 10, WriteDeadline: 50 * time.Millisecond}
	w := smallWAL(t, o)
	const groups = 40
	for id := range uint64(groups) {
		require.NoError(t, w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: 1, Term: 1}))
	}
	refused := uint64(groups)
	for id := range uint64(groups) {
		if err := w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: 1, Term: 1, State: make([]byte, 10_000)}); err != nil {
			require.ErrorIs(t, err, raftlog.ErrWALFull)
			refused = id
			break
		}
	}
	require.Greater(t, refused, uint64(3))
	require.Less(t, refused, uint64(groups))
	for i := range uint64(300) {
		require.NoError(t, w.Group(1).SaveCheckpoint(raftlog.Checkpoint{Index: 2 + i, Term: 1, State: make([]byte, 9000)}), "no larger than before")
	}
	require.NoError(t, w.Close())
	w = smallWAL(t, o)
	c, ok, err := w.Group(refused).Checkpoint()
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, c.State)
}
