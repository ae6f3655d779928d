package broker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/store"
)

// While an entry of commits is on its way, those that nobody waits for become one, and nothing
// else is kept of each.
func TestCommitsThatNobodyWaitsForDoNotPileUp(t *testing.T) {
	machine, err := fsm.OpenPartition("p", fsm.PartitionOptions{Store: store.Options{FS: vfs.NewMem(1)}}, nil)
	require.NoError(t, err)
	defer machine.Close()
	c := &committer{p: &partition{machine: machine}, wake: make(chan struct{}, 1), byKey: make(map[commitKey]*commitItem)}
	o := fsm.CommitOffset{Group: "g", Owner: "client", Queue: message.Queue{Topic: "t"}}
	waits := make(chan commitDone, 1)
	require.NoError(t, c.add(context.Background(), o, waits))
	allocs := testing.AllocsPerRun(10_000, func() { c.add(context.Background(), o, nil) })
	require.Zero(t, allocs)
	batch := c.take()
	require.Len(t, batch, 1)
	require.Equal(t, 1, len(batch[0].done))
	batch[0].answer(commitDone{status: fsm.Raised})
	require.Equal(t, fsm.Raised, (<-waits).status)
}
