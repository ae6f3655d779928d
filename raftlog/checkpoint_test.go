package raftlog_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// failingMachine keeps nothing but how far it has got; its first sync fails, those
// after it report success for pages that are lost.
type failingMachine struct {
	mu          sync.Mutex
	index, term uint64
	syncs       int
}

func (m *failingMachine) Apply(entries []*raft.Log) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := entries[len(entries)-1]
	m.index, m.term = last.Index, last.Term
	return make([]any, len(entries)), nil
}

func (m *failingMachine) Applied() (index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index, m.term
}

var errSync = errors.New("input/output error")

func (m *failingMachine) Checkpoint() (state []byte, sync func() error) {
	return nil, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.syncs++; m.syncs == 1 {
			return errSync
		}
		return nil
	}
}

func (m *failingMachine) Floor() (state []byte, index, term uint64, err error) {
	return nil, 0, 0, nil
}

func (m *failingMachine) Restore([]byte, uint64, uint64) error { return nil }

// The kernel reports a failed write-back once, and then forgets: a sync that
// succeeds after one that failed says nothing. So the replica is at fault, and
// no later checkpoint lets the write-ahead log drop what the disk may not have.
func TestAFailedCheckpointSyncIsFinal(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: "c", Node: "n1", Incarnation: 1, Listener: ln,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("alone") },
	})
	require.NoError(t, err)
	defer tr.Close()
	w, err := raftlog.OpenWAL(t.TempDir(), raftlog.WALOptions{FS: vfs.OS{}, SegmentBytes: 64 << 10, Segments: 6, MaxAppend: 16 << 10})
	require.NoError(t, err)
	defer w.Close()
	host := raftlog.NewHost(tr, "n1", 1, hclog.NewNullLogger())
	defer host.Close()
	led, faults := make(chan struct{}, 1), make(chan error, 8)
	r, err := host.Open(raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: []raft.Server{{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}},
		Heartbeat: 100 * time.Millisecond, Logger: hclog.NewNullLogger(),
		OnLeader: func(lead bool, _ uint64) {
			if lead {
				led <- struct{}{}
			}
		},
		OnFault: func(err error) { faults <- err },
	}, new(failingMachine))
	require.NoError(t, err)
	<-led
	for range 2 {
		_, err := r.Propose(context.Background(), []byte("x"))
		require.NoError(t, err)
		require.ErrorIs(t, r.Checkpoint(), errSync)
	}
	require.ErrorIs(t, <-faults, errSync)
	require.ErrorIs(t, r.Close(), errSync, "nor does the last one, on close, succeed")
	require.Empty(t, faults, "said once")
	_, there, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.False(t, there)
}

// growingMachine has a state of as many bytes as it is told.
type growingMachine struct {
	failingMachine
	size  atomic.Int64
	kept  atomic.Int64 // syncs
	state atomic.Int64 // size of the last that was synced
}

func (m *growingMachine) Checkpoint() (state []byte, sync func() error) {
	n := m.size.Load()
	return make([]byte, n), func() error {
		m.kept.Add(1)
		m.state.Store(n)
		return nil
	}
}

// A state that has grown beyond what a segment of the write-ahead log has room for does not end the
// node: the machine is not told that it is kept, the checkpoint before holds, and when it has shrunk the next is made.
func TestAStateTooLargeForACheckpointEndsNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: "c", Node: "n1", Incarnation: 1, Listener: ln,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("alone") },
	})
	require.NoError(t, err)
	defer tr.Close()
	w, err := raftlog.OpenWAL(t.TempDir(), raftlog.WALOptions{FS: vfs.OS{}, SegmentBytes: 64 << 10, Segments: 6, MaxAppend: 16 << 10})
	require.NoError(t, err)
	defer w.Close()
	host := raftlog.NewHost(tr, "n1", 1, hclog.NewNullLogger())
	defer host.Close()
	led, faults := make(chan struct{}, 1), make(chan error, 8)
	m := new(growingMachine)
	r, err := host.Open(raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: []raft.Server{{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}},
		Heartbeat: 100 * time.Millisecond, Logger: hclog.NewNullLogger(),
		OnLeader: func(lead bool, _ uint64) {
			if lead {
				led <- struct{}{}
			}
		},
		OnFault: func(err error) { faults <- err },
	}, m)
	require.NoError(t, err)
	<-led
	propose := func() {
		t.Helper()
		_, err := r.Propose(context.Background(), []byte("x"))
		require.NoError(t, err)
	}
	propose()
	m.size.Store(1000)
	require.NoError(t, r.Checkpoint())
	first, ok, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.True(t, ok)
	for range 2 {
		propose()
		m.size.Store(32 << 10)
		err = r.Checkpoint()
		require.ErrorIs(t, err, raftlog.ErrCheckpointSize)
		require.ErrorIs(t, err, vfs.ErrNoSpace, "it is not final")
	}
	require.EqualValues(t, 1, m.kept.Load())
	now, _, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.Equal(t, first, now)
	m.size.Store(2000)
	require.NoError(t, r.Checkpoint())
	require.EqualValues(t, 2000, m.state.Load())
	propose()
	m.size.Store(32 << 10)
	require.ErrorIs(t, r.Close(), vfs.ErrNoSpace)
	require.Empty(t, faults)
	now, _, err = w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.Len(t, now.State, 2000)
}

// The checkpoints of other groups have used up what the write-ahead log keeps of them. Then no checkpoint is made: the machine is not told
// that its state is kept, nobody is at fault, and when there is room again the next is made.
func TestACheckpointWithoutRoomInTheLogEndsNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: "c", Node: "n1", Incarnation: 1, Listener: ln,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("alone") },
	})
	require.NoError(t, err)
	defer tr.Close()
	w := smallWAL(t, raftlog.WALOptions{WriteDeadline: 200 * time.Millisecond})
	host := raftlog.NewHost(tr, "n1", 1, hclog.NewNullLogger())
	defer host.Close()
	led, faults := make(chan struct{}, 1), make(chan error, 8)
	m := new(growingMachine)
	m.syncs = 1 // none fails
	r, err := host.Open(raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: []raft.Server{{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}},
		Heartbeat: 100 * time.Millisecond, Logger: hclog.NewNullLogger(),
		OnLeader: func(lead bool, _ uint64) {
			if lead {
				led <- struct{}{}
			}
		},
		OnFault: func(err error) { faults <- err },
	}, m)
	require.NoError(t, err)
	<-led
	propose := func() {
		t.Helper()
		_, err := r.Propose(context.Background(), []byte("x"))
		require.NoError(t, err)
	}
	propose()
	m.size.Store(100)
	require.NoError(t, r.Checkpoint())
	propose()

	others := uint64(2)
	for _, size := range []int{10_000, 1000} {
		for {
			err := w.Group(others).SaveCheckpoint(raftlog.Checkpoint{Index: 1, Term: 1, State: make([]byte, size)})
			others++
			if err != nil {
				require.ErrorIs(t, err, raftlog.ErrWALFull)
				break
			}
		}
	}
	require.NoError(t, r.Checkpoint()) // no larger than before; the log asks for no more
	first, _, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	kept := m.kept.Load()
	m.size.Store(10_000)
	for range 2 {
		err = r.CheckpointAgain()
		require.ErrorIs(t, err, raftlog.ErrWALFull)
		require.ErrorIs(t, err, vfs.ErrNoSpace, "it is not final")
	}
	require.Equal(t, kept, m.kept.Load())
	require.Empty(t, faults)
	now, _, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.Equal(t, first, now)

	for id := uint64(2); id < others; id++ {
		require.NoError(t, w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: 2, Term: 1}))
	}
	require.NoError(t, r.CheckpointAgain())
	propose()
	require.NoError(t, r.Close())
	require.Empty(t, faults)
	now, _, err = w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.Len(t, now.State, 10_000)
}
