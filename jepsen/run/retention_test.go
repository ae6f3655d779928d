package run

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
)

// How much is kept is told by a leader that has applied all that it has, and not before.
func TestHowMuchIsKeptIsTakenOfWhoHasAll(t *testing.T) {
	steps := []cluster.Replica{
		{State: "Follower", Term: 2, Last: 9, Applied: 9, First: 100, Position: 150},
		{State: "Leader", Term: 3, Last: 10, Applied: 9, First: 100, Position: 150},
		{State: "Leader", Term: 3, Last: 10, Applied: 10, First: 100, Position: 200},
		{State: "Leader", Term: 3, Last: 12, Applied: 11, First: 100, Position: 300}, // told
		{State: "Leader", Term: 3, Last: 12, Applied: 12, First: 100, Position: 320},
		{State: "Leader", Term: 3, Last: 12, Applied: 12, First: 250, Position: 320},
		{State: "Follower", Term: 3, Last: 12, Applied: 12, First: 250, Position: 260},
		{State: "Leader", Term: 5, Last: 20, Applied: 20, First: 250, Position: 400},
		{State: "Leader", Term: 5, Last: 21, Applied: 21, First: 250, Position: 410}, // told
	}
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	r, _ := toyRun(t, func(int) []cluster.Replica {
		at := int(asked.Add(1)) - 1
		if at >= len(steps) {
			cancel()
		}
		x := steps[min(at, len(steps)-1)]
		x.ID, x.Topic = 7, retentionTopic.Name
		return []cluster.Replica{x}
	})
	r.keeps(ctx, r.cluster.Nodes[0], retentionTopic)
	require.NoError(t, r.history.Close())
	ops, err := history.Load(filepath.Join(r.o.Store, "history.jsonl"))
	require.NoError(t, err)
	var told []history.Range
	for _, op := range ops {
		require.Equal(t, history.Kept, op.F)
		require.Equal(t, retentionTopic.Name, op.Topic)
		told = append(told, *op.Range)
	}
	require.Equal(t, []history.Range{{Min: 100, End: 300}, {Min: 250, End: 410}}, told)
}
