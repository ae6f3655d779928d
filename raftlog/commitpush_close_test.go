package raftlog_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// goneLogs can be closed under whoever reads.
type goneLogs struct {
	*raft.InmemStore
	gone atomic.Bool
}

func (l *goneLogs) GetLog(index uint64, out *raft.Log) error {
	if l.gone.Load() {
		return errors.New("closed")
	}
	return l.InmemStore.GetLog(index, out)
}

// heldMachine applies nothing until it may.
type heldMachine struct {
	counter
	hold atomic.Bool
	free chan struct{}
}

func (m *heldMachine) Apply(entries []*raft.Log) ([]any, error) {
	if m.hold.Load() {
		<-m.free
	}
	return m.counter.Apply(entries)
}

// A leader tells of a commit a moment after it has applied something. If its log cannot be read any more by then, since the
// replica is closed, that is no fault, by which a node would end.
func TestACommitThatCannotBeReadIsNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		wal, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: vfs.NewMem(1), SegmentBytes: 64 << 10, MaxAppend: 16 << 10, MaxEntry: 8 << 10})
		require.NoError(t, err)
		defer wal.Close()
		tr := n.open(t, "n1", nil)
		defer tr.Close()
		host := raftlog.NewHost(tr, "n1", 1, nil)
		defer host.Close()
		var fault atomic.Pointer[error]
		logs, m := &goneLogs{InmemStore: raft.NewInmemStore()}, &heldMachine{free: make(chan struct{})}
		r, err := host.Open(raftlog.ReplicaConfig{
			Group: 1, Log: wal.Group(1), Logs: logs, Snapshots: raft.NewInmemSnapshotStore(), Bootstrap: servers("n1").Servers,
			OnFault: func(err error) { fault.Store(&err) },
		}, m)
		require.NoError(t, err)
		defer r.Close()
		eventually(t, "leads", func() bool { _, ok := r.Leads(); return ok })
		_, err = r.Propose(t.Context(), []byte("applied"))
		require.NoError(t, err)
		m.hold.Store(true)
		done := make(chan error, 1)
		require.NoError(t, r.StartFunc([]byte("committed, not applied"), func(_ any, err error) { done <- err }))
		time.Sleep(5 * time.Millisecond)
		logs.gone.Store(true)
		time.Sleep(time.Second)
		logs.gone.Store(false)
		m.hold.Store(false)
		close(m.free)
		require.Nil(t, fault.Load())
		require.NoError(t, <-done)
	})
}
