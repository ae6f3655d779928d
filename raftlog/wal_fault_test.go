package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// faultGroups store at the same time until they fail; acked is the last entry that was answered, of each.
func faultGroups(w *raftlog.WAL, acked []uint64) []error {
	errs := make([]error, len(acked))
	var wg sync.WaitGroup
	for i := range acked {
		wg.Go(func() {
			for errs[i] == nil {
				if errs[i] = w.Group(uint64(i)).StoreLog(entry(acked[i]+1, 1, 100)); errs[i] == nil {
					acked[i]++
				}
			}
		})
	}
	wg.Wait()
	return errs
}

// After a write or a sync has failed, every change of every group fails with the same error, although the disk works again; nothing is
// answered with yes. What was answered before is on the disk; and what a restarted process reads is too, once it was opened: even if the
// kernel took what it failed to write for clean.
func TestWALFailsForGood(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault vfs.Fault
	}{
		{"write", vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Skip: 60}},
		{"write once", vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Skip: 60, Times: 1}},
		{"sync", vfs.Fault{Ops: vfs.Syncs, Skip: 60}},
		{"sync once", vfs.Fault{Ops: vfs.Syncs, Skip: 60, Times: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := vfs.NewMem(1)
			told := make(chan error, 2)
			o := raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 16 << 10, OnFailure: func(err error) { told <- err }}
			w, err := raftlog.OpenWAL("wal", o)
			require.NoError(t, err)
			fault := m.Inject(c.fault)
			acked := make([]uint64, 3)
			for _, err := range faultGroups(w, acked) {
				require.ErrorIs(t, err, raftlog.ErrWALFailed)
				require.ErrorIs(t, err, syscall.EIO)
				require.Equal(t, w.Err(), err)
			}
			fault.Release()
			require.Equal(t, w.Err(), <-told)
			<-w.Failed()
			for i := range uint64(5) { // a group that was there, and others
				g := w.Group(i)
				for _, err := range []error{
					g.StoreLog(entry(1000, 1, 10)), g.SetUint64([]byte("CurrentTerm"), 1), g.Set([]byte("LastVoteTerm"), make([]byte, 8)),
					g.DeleteRange(1, 1), g.SaveCheckpoint(raftlog.Checkpoint{Index: 1000}), g.Reset(raftlog.Checkpoint{Index: 1000}), g.Drop(),
				} {
					require.ErrorIs(t, err, w.Err())
				}
			}
			require.NoError(t, w.Close())
			require.Empty(t, told)
			checkAcked(t, m.CrashKeeping(1, 0), acked)

			seen := checkAcked(t, m, acked) // another process: the memory of the machine is as it was
			checkAcked(t, m.CrashKeeping(1, 0), seen)
		})
	}
}

// checkAcked opens the log and gives the last entries.
func checkAcked(t *testing.T, m *vfs.Mem, acked []uint64) []uint64 {
	t.Helper()
	w := smallWAL(t, raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 16 << 10})
	seen := make([]uint64, len(acked))
	for i := range acked {
		last, err := w.Group(uint64(i)).LastIndex()
		require.NoError(t, err)
		require.GreaterOrEqual(t, last, acked[i], "group %d", i)
		require.LessOrEqual(t, last, acked[i]+1, "group %d", i)
		seen[i] = last
	}
	require.NoError(t, w.Close())
	return seen
}

// The sync of a segment's new header fails, and the kernel takes it for clean. Another process reads the header from memory and uses the
// segment; after a power cut it must still be there.
func TestWALHeaderOfAFailedSyncIsWrittenAgain(t *testing.T) {
	for nth := range 6 {
		m := vfs.NewMem(1)
		o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 16 << 10}
		w, err := raftlog.OpenWAL("wal", o)
		require.NoError(t, err)
		var mu sync.Mutex
		headed, heads := "", 0
		m.SetHook(func(op vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case op.Kind == vfs.OpWrite && op.Off < 2*vfs.Block && op.Len == vfs.Block:
				if heads++; heads == nth+1 {
					headed = op.Name
				}
			case op.Kind == vfs.OpSyncData && op.Name == headed:
				headed = ""
				return syscall.EIO
			}
			return nil
		})
		stored := uint64(0)
		for g := w.Group(1); g.StoreLog(entry(stored+1, 1, 3000)) == nil; stored++ {
			if err := g.SaveCheckpoint(raftlog.Checkpoint{Index: stored, Term: 1}); err != nil {
				break
			}
		}
		require.ErrorIs(t, w.Err(), syscall.EIO)
		require.ErrorContains(t, w.Err(), "head segment")
		require.NoError(t, w.Close())
		m.SetHook(nil)

		w = smallWAL(t, o)
		g := w.Group(1)
		last, err := g.LastIndex()
		require.NoError(t, err)
		for range 60 {
			last++
			require.NoError(t, g.StoreLog(entry(last, 1, 3000)))
			require.NoError(t, g.SaveCheckpoint(raftlog.Checkpoint{Index: last, Term: 1}))
		}
		o.FS = m.CrashKeeping(1, 0)
		w = smallWAL(t, o)
		c, _, err := w.Group(1).Checkpoint()
		require.NoError(t, err)
		require.Equal(t, last, c.Index, "%d", nth)
		require.NoError(t, w.Close())
	}
}

// While a sync hangs nobody is answered, of any group. One that comes back in time is as if nothing had been.
func TestWALWaitsForAHungSync(t *testing.T) {
	m := vfs.NewMem(1)
	w := smallWAL(t, raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 16 << 10})
	hung := m.Inject(vfs.Fault{Ops: vfs.Syncs, Name: "0000.wal*", Hang: true})
	answers := make(chan error, 100)
	for i := range uint64(20) {
		go func() { answers <- w.Group(i).StoreLog(entry(1, 1, 100)) }()
	}
	defer hung.Release()
	<-hung.Struck()
	for i := range uint64(20) {
		last, err := w.Group(i).LastIndex()
		require.NoError(t, err)
		require.Zero(t, last, "not durable, so not there")
	}
	require.Empty(t, answers)
	hung.Release()
	for range 20 {
		require.NoError(t, <-answers)
	}
}

// A sync that outlasts the deadline is a failure, although it comes back.
func TestWALHungSyncFailsAtTheDeadline(t *testing.T) {
	m := vfs.NewMem(1)
	w := smallWAL(t, raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 16 << 10, WriteDeadline: 50 * time.Millisecond})
	hung := m.Inject(vfs.Fault{Ops: vfs.Syncs, Name: "0000.wal*", Hang: true})
	answers := make(chan error, 100)
	for i := range uint64(20) {
		go func() { answers <- w.Group(i).StoreLog(entry(1, 1, 100)) }()
	}
	for range 20 {
		require.ErrorIs(t, <-answers, raftlog.ErrWALFailed)
	}
	require.ErrorIs(t, w.Close(), raftlog.ErrWALFailed, "the hung goroutine is left behind")
	hung.Release()
	require.ErrorIs(t, w.Group(1).StoreLog(entry(2, 1, 100)), raftlog.ErrWALFailed)
}

// Whoever waits for a hung sync when the log is closed is told that the outcome is unknown.
func TestWALCloseDoesNotAnswerForAHungSync(t *testing.T) {
	m := vfs.NewMem(1)
	w := smallWAL(t, raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 16 << 10})
	hung := m.Inject(vfs.Fault{Ops: vfs.Syncs, Name: "0000.wal*", Hang: true})
	answer := make(chan error, 1)
	go func() { answer <- w.Group(1).StoreLog(entry(1, 1, 100)) }()
	defer hung.Release()
	<-hung.Struck()
	closed := make(chan error, 1)
	go func() { closed <- w.Close() }()
	require.ErrorIs(t, <-answer, raftlog.ErrWALClosed)
	hung.Release()
	require.NoError(t, <-closed)
}

// A caller that stops waiting for a proposal while the sync hangs is told that the outcome is unknown; and in this case it is done later.
func TestProposalBehindAHungSyncIsUnknown(t *testing.T) {
	m := vfs.NewMem(1)
	n := newNodeNet()
	n.pipes = true
	host := raftlog.NewHost(n.open(t, "n1", nil), "n1", 1, nil)
	defer host.Close()
	w := smallWAL(t, raftlog.WALOptions{FS: m, SegmentBytes: 1 << 20, Segments: 8, MaxAppend: 64 << 10})
	lead := make(chan bool, 10)
	machine := &countingMachine{applied: make(chan string, 100)}
	r, err := host.Open(raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: servers("n1").Servers, Heartbeat: 300 * time.Millisecond,
		OnLeader: func(l bool, _ uint64) { lead <- l },
	}, machine)
	require.NoError(t, err)
	defer r.Close()
	require.True(t, <-lead)
	hung := m.Inject(vfs.Fault{Ops: vfs.Syncs, Hang: true})
	defer hung.Release()
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := r.Propose(ctx, []byte("command"))
		answer <- err
	}()
	<-hung.Struck()
	require.Empty(t, answer)
	cancel()
	require.ErrorIs(t, <-answer, raftlog.ErrUnknownOutcome)
	require.Empty(t, machine.applied)
	hung.Release()
	require.Equal(t, "command", <-machine.applied)
}

// countingMachine knows how far it is and nothing else.
type countingMachine struct {
	index, term uint64
	applied     chan string // the commands
}

func (m *countingMachine) Apply(entries []*raft.Log) ([]any, error) {
	for _, l := range entries {
		m.index, m.term = l.Index, l.Term
		if l.Type == raft.LogCommand {
			m.applied <- string(l.Data)
		}
	}
	return make([]any, len(entries)), nil
}

func (m *countingMachine) Applied() (index, term uint64) { return m.index, m.term }

func (m *countingMachine) Checkpoint() (state []byte, sync func() error) {
	return nil, func() error { return nil }
}

func (m *countingMachine) Floor() (state []byte, index, term uint64, err error) {
	return nil, 0, 0, nil
}
func (m *countingMachine) Restore([]byte, uint64, uint64) error { return errors.New("no floors") }

// A full disk. The log has its files from the start; without room for more it refuses entries when those are full, and nothing else, and
// goes on when there is room again.
func TestWALGoesOnWithTheFilesItHas(t *testing.T) {
	m := vfs.NewMem(1)
	o := raftlog.WALOptions{FS: m, SegmentBytes: 256 << 10, Segments: 12, MaxAppend: 16 << 10, WriteDeadline: 100 * time.Millisecond}
	m.SetFree(600 << 10)
	_, err := raftlog.OpenWAL("wal", o)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	names, err := m.List("wal")
	require.NoError(t, err)
	for _, n := range names {
		require.NotEqual(t, ".tmp", path.Ext(n), "it gives back what it could not use")
	}
	m.SetFree(-1)
	w := smallWAL(t, o)
	m.SetFree(100 << 10)
	g := w.Group(1)
	last := uint64(0)
	for ; err == nil; last++ {
		err = g.StoreLog(entry(last+1, 1, 3000))
	}
	last--
	require.ErrorIs(t, err, raftlog.ErrWALFull)
	require.Less(t, w.Stats().Files, o.Segments)
	for i := range uint64(300) {
		require.NoError(t, vote(g, i+1))
	}
	require.NoError(t, g.SaveCheckpoint(raftlog.Checkpoint{Index: last, Term: 1}))
	for range 300 {
		last++
		require.NoError(t, g.StoreLog(entry(last, 1, 3000)))
		require.NoError(t, g.SaveCheckpoint(raftlog.Checkpoint{Index: last, Term: 1}))
	}
	files := w.Stats().Files
	m.SetFree(-1)
	for err = nil; err == nil; last++ {
		err = g.StoreLog(entry(last+1, 1, 3000))
	}
	last--
	require.ErrorIs(t, err, raftlog.ErrWALFull)
	require.Greater(t, w.Stats().Files, files)
	require.NoError(t, w.Err())
	require.NoError(t, w.Close())
	w = smallWAL(t, o)
	got, err := w.Group(1).LastIndex()
	require.NoError(t, err)
	require.Equal(t, last, got)
}

// Entries and checkpoints that no segment holds are refused without harm.
func TestWALRefusesWhatFitsNoSegment(t *testing.T) {
	w := smallWAL(t, raftlog.WALOptions{})
	g := w.Group(1)
	require.ErrorContains(t, g.StoreLog(entry(1, 1, 15_000)), "a segment holds records of 14264")
	require.ErrorContains(t, g.SaveCheckpoint(raftlog.Checkpoint{Index: 1, State: make([]byte, 15_000)}), "a segment holds records of 14264")
	require.ErrorContains(t, g.Set([]byte("k"), make([]byte, 500)), "at most 512")
	require.NoError(t, g.StoreLog(entry(1, 1, 14_264-56)))
	require.True(t, errors.Is(w.Err(), nil), fmt.Sprint(w.Err()))
}

// A new segment has its name, and the name could not be made durable, since no more files may be open: no other file is given its number.
// What was answered is there after a restart.
func TestWALNeverGivesANumberTwice(t *testing.T) {
	m := vfs.NewMem(1)
	o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 12, MaxAppend: 16 << 10, WriteDeadline: 2 * time.Second}
	w, err := raftlog.OpenWAL("wal", o)
	require.NoError(t, err)
	fault := m.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpSyncDir}, Err: vfs.ErrNoFiles})
	g := w.Group(1)
	for i, after := uint64(1), 0; err == nil && after < 40; i++ {
		if err = g.StoreLog(entry(i, 1, 10000)); err != nil {
			break
		}
		select {
		case <-fault.Struck():
			after++
			err = g.SaveCheckpoint(raftlog.Checkpoint{Index: i, Term: 1}) // files become free, to be used again
			again := smallWAL(t, raftlog.WALOptions{FS: m.CrashKeeping(1, 1), SegmentBytes: o.SegmentBytes, Segments: o.Segments, MaxAppend: o.MaxAppend})
			last, err := again.Group(1).LastIndex()
			require.NoError(t, err)
			require.GreaterOrEqual(t, last, i)
			require.NoError(t, again.Close())
		default:
		}
	}
	require.ErrorIs(t, err, raftlog.ErrWALFailed)
	require.NotErrorIs(t, err, vfs.ErrNoSpace)
	require.NoError(t, w.Close())
}

// What the disk cannot read is damage also when the log is opened; that reading was not possible otherwise says nothing about it.
func TestWALUnreadableAtAStartIsDamage(t *testing.T) {
	m := vfs.NewMem(1)
	w := smallWAL(t, raftlog.WALOptions{FS: m})
	require.NoError(t, w.Group(1).StoreLog(entry(1, 1, 100)))
	require.NoError(t, w.Close())
	o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 8, MaxAppend: 16 << 10}
	for _, c := range []struct {
		err    error
		off    int64
		damage bool
	}{{syscall.EIO, 8192, true}, {syscall.ENOMEM, 8192, false}, {syscall.EIO, 0, true}, {syscall.ENOMEM, 0, false}} {
		fault := m.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: "0000.wal", Off: c.off, Len: 8192, Err: c.err})
		_, err := raftlog.OpenWAL("wal", o)
		fault.Release()
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.damage, errors.Is(err, raftlog.ErrWALDamaged))
		require.ErrorContains(t, err, "wal/0000.wal")
	}
	w = smallWAL(t, o)
	last, err := w.Group(1).LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 1, last)
}

// A power cut while a segment is made leaves nothing of it when the log was opened again.
func TestWALRemovesWhatWasNotFinished(t *testing.T) {
	m := vfs.NewMem(1)
	o := raftlog.WALOptions{FS: m, SegmentBytes: 64 << 10, Segments: 12, MaxAppend: 16 << 10}
	w := smallWAL(t, o)
	fault := m.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRename}, Hang: true})
	full := make(chan struct{})
	go func() { // an entry that needs the segment waits for it
		defer close(full)
		for i := uint64(1); w.Group(1).StoreLog(entry(i, 1, 4000)) == nil; i++ {
		}
	}()
	defer func() {
		fault.Release()
		require.NoError(t, w.Close())
		<-full
	}()
	select {
	case <-fault.Struck():
	case <-full:
		t.Fatal("no entry could be stored")
	}
	o.FS = m.CrashKeeping(1, 1)
	tmps := func() (n int) {
		names, err := o.FS.List("wal")
		require.NoError(t, err)
		for _, name := range names {
			if path.Ext(name) == ".tmp" {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, tmps())
	again := smallWAL(t, o)
	require.Zero(t, tmps())
	require.NoError(t, again.Close())
	require.NotPanics(t, func() { again.Stats() })
}
