package raftlog

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// noLog has lost its entries, as one of a partition that is removed.
type noLog struct{ raft.LogStore }

func (noLog) GetLog(uint64, *raft.Log) error { return errors.New("closed") }

type noMachine struct{}

func (noMachine) Apply(*raft.Log) any                  { return nil }
func (noMachine) Snapshot() (raft.FSMSnapshot, error)  { return nil, errors.New("none") }
func (noMachine) Restore(snapshot io.ReadCloser) error { return snapshot.Close() }

// What is committed is told from a timer and from greetings, which do not wait for a replica's end: that
// there is nothing left to read is no fault of the node.
func TestWhatIsCommittedIsNotToldOfAClosedReplica(t *testing.T) {
	store := raft.NewInmemStore()
	addr, transport := raft.NewInmemTransport("n1")
	c := raft.DefaultConfig()
	c.LocalID, c.LogOutput = "n1", io.Discard
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout, c.CommitTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 5*time.Millisecond
	ra, err := raft.NewRaft(c, noMachine{}, store, store, raft.NewInmemSnapshotStore(), transport)
	require.NoError(t, err)
	defer func() { require.NoError(t, ra.Shutdown().Error()) }()
	require.NoError(t, ra.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: addr}}}).Error())
	require.Eventually(t, func() bool { return ra.VerifyLeader().Error() == nil && ra.CommitIndex() > 0 }, time.Minute, time.Millisecond)
	fault := make(chan error, 1)
	applied := func() uint64 { return 0 }
	r := &Replica{raft: ra, logs: NewLog(noLog{store}, func(err error) { fault <- err })}
	r.logs.applied.Store(&applied)
	r.ready.Store(ra.CurrentTerm())
	told := make(chan *raft.AppendEntriesRequest)
	go func() {
		defer close(told)
		told <- r.committed()
	}()
	req, returned := <-told
	require.True(t, returned, "its goroutine has ended")
	require.Nil(t, req)
	require.Empty(t, fault)
}
