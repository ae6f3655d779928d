package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// crampedMachine applies entries while there is room for them.
type crampedMachine struct {
	countingMachine
	mu   sync.Mutex
	room int
}

func (m *crampedMachine) setRoom(n int) {
	m.mu.Lock()
	m.room = n
	m.mu.Unlock()
}

func (m *crampedMachine) Apply(entries []*raft.Log) (results []any, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range entries {
		if m.room == 0 {
			return results, fmt.Errorf("entry %d: %w", l.Index, vfs.ErrNoSpace)
		}
		m.room--
		m.index, m.term = l.Index, l.Term
		results = append(results, string(l.Data))
	}
	return results, nil
}

func (m *crampedMachine) Applied() (index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index, m.term
}

func (m *crampedMachine) Checkpoint() (state []byte, sync func() error) {
	return nil, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.room == 0 {
			return vfs.ErrNoSpace
		}
		return nil
	}
}

// A machine without room is asked again and again: nothing is given twice or left out,
// each proposal gets its own result, the replica is not at fault, and says that it
// waits. Checkpoints can be asked for meanwhile; one without room is not final. A
// replica that waits can be closed.
func TestAReplicaWithoutRoomWaits(t *testing.T) {
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
	led, faults, stalls := make(chan struct{}, 1), make(chan error, 8), make(chan error, 8)
	m := &crampedMachine{room: 1 << 30}
	r, err := host.Open(raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: []raft.Server{{Suffrage: raft.Voter, ID: "n1.1", Address: "n1.1"}},
		Heartbeat: 100 * time.Millisecond, Logger: hclog.NewNullLogger(),
		OnLeader: func(lead bool, _ uint64) {
			if lead {
				led <- struct{}{}
			}
		},
		OnFault: func(err error) { faults <- err }, OnStall: func(err error) { stalls <- err },
	}, m)
	require.NoError(t, err)
	<-led
	propose := func(n int) (ps []*raftlog.Proposal) {
		for i := range n {
			p, err := r.Start(fmt.Append(nil, i))
			require.NoError(t, err)
			ps = append(ps, p)
		}
		return ps
	}
	m.setRoom(3)
	ps := propose(10)
	require.ErrorIs(t, <-stalls, vfs.ErrNoSpace)
	require.ErrorIs(t, r.Stalled(), vfs.ErrNoSpace)
	require.ErrorIs(t, r.Checkpoint(), vfs.ErrNoSpace)
	m.setRoom(1 << 30)
	require.NoError(t, <-stalls)
	for i, p := range ps {
		v, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), v)
	}
	require.NoError(t, r.Stalled())
	require.NoError(t, r.Checkpoint(), "the one that had no room was not the last")
	_, there, err := w.Group(1).Checkpoint()
	require.NoError(t, err)
	require.True(t, there)

	m.setRoom(0)
	ps = propose(2)
	require.ErrorIs(t, <-stalls, vfs.ErrNoSpace)
	require.NoError(t, r.Close())
	for _, p := range ps {
		_, err := p.Wait(t.Context())
		require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
	}
	require.Empty(t, faults)
}
