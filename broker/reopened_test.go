package broker

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// A node that starts goes through what the catalogue decided before: partitions of topics that were deleted long ago are
// not made anew meanwhile, which would vote and lead without what they had promised in their earlier life.
func TestPartitionsOfTopicsThatWereDeletedAreNotMadeAtAStart(t *testing.T) {
	const topics = 150
	l := newLone(t)
	name := func(i int) string { return fmt.Sprint("gone-", i) }
	for i := range topics {
		require.Nil(t, l.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, name(i)))
	}
	for i := range topics {
		r := &request{Command: remoting.NewRequest(remoting.DeleteTopicInBroker, remoting.TopicHeader{Topic: name(i)}), slot: 0}
		require.Equal(t, remoting.OK, l.change(t.Context(), r).Code)
	}
	eventually(t, func() bool { return len(l.local()) == 1 })
	l.stop()
	var made atomic.Int32
	l.mem.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpMkdirAll && strings.HasPrefix(op.Name, filepath.Join(l.conf.Data, "partitions")+"/") && op.Name != l.partitionDir(l.part) {
			made.Add(1)
		}
		return nil
	})
	l.run()
	eventually(t, func() bool { ok, _ := l.Ready(); return ok })
	l.leader()
	l.store(1)
	require.Zero(t, made.Load())
	require.Nil(t, l.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, "new"))
	eventually(t, func() bool { return len(l.local()) == 2 })
	require.Positive(t, made.Load(), "it is seen when one is made")
}
