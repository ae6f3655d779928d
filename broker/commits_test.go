package broker

import (
	"context"
	"runtime"
	"strconv"
	"strings"
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

// A commit that names the holder of a lock keeps no longer name than a holder has.
func TestACommitKeepsNoLongName(t *testing.T) {
	r := &request{client: "c"}
	o := r.offset("g", message.Queue{Topic: "t"}, 1, strings.Repeat("x", 1<<20), 7)
	require.Equal(t, maxClientID+1, len(o.Owner), "which holds no lock")
	require.EqualValues(t, 7, o.Epoch)
	require.Equal(t, "holder", r.offset("g", message.Queue{Topic: "t"}, 1, "holder", 7).Owner)
}

// A commit that waits for an entry keeps nothing of the request that it came in, which counts no
// more by then.
func TestCommitsThatWaitKeepNoHeaders(t *testing.T) {
	machine, err := fsm.OpenPartition("p", fsm.PartitionOptions{Store: store.Options{FS: vfs.NewMem(1)}}, nil)
	require.NoError(t, err)
	defer machine.Close()
	c := &committer{p: &partition{machine: machine}, wake: make(chan struct{}, 1), byKey: make(map[commitKey]*commitItem)}
	held := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	for i := range 100 {
		header := "g" + strconv.Itoa(i) + "/t" + strings.Repeat("x", 1<<20)
		group, rest, _ := strings.Cut(header, "/")
		require.NoError(t, c.add(context.Background(), fsm.CommitOffset{Group: group, Queue: message.Queue{Topic: rest[:1]}}, nil))
	}
	require.Less(t, held()-before, int64(10<<20))
	require.Len(t, c.take(), 100)
}
