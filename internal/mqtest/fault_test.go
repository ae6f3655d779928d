package mqtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
)

// The disk of the leader fails a sync of the write-ahead log, once: the node gives
// up and says why, the process lives, the others go on, and the node, started
// again, holds the same bytes. Nothing acknowledged is lost or stored twice.
func TestAFailedSyncEndsItsNodeOnly(t *testing.T) {
	t.Parallel()
	disks := make([]vfs.FS, 3)
	for i := range disks {
		disks[i] = vfs.NewMem(uint64(i))
	}
	c := StartOn(t, disks, func(cfg *broker.Config) {
		cfg.SegmentBytes = 1 << 20
	})
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)

	var acked sync.Map
	var sent atomic.Int64
	load, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; load.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				if _, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte(id)}); err != nil {
					t.Errorf("send: %v", err)
					return
				}
				acked.Store(id, true)
				sent.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	await := func(n int64) {
		t.Helper()
		c.until("the load gets on", func() bool { return sent.Load() >= n })
	}
	await(200)
	leader := c.leads("t")
	disks[leader].(*vfs.Mem).Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpSyncData}, Name: "*.wal*", Times: 1})
	select {
	case err := <-c.Nodes[leader].Failed():
		require.ErrorContains(t, err, "write-ahead log")
	case <-ctx.Done():
		t.Fatal("the node goes on after a failed sync")
	}
	await(sent.Load() + 500)
	c.Stop(leader)
	await(sent.Load() + 500)
	c.Run(leader)
	c.Await(leader)
	stop()
	wg.Wait()
	c.awaitSame(ctx, "t")

	rd, err := cl.NewReader("t", client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer rd.Close()
	seen := make(map[string]bool)
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(t, err)
		require.False(t, seen[string(m.Body)], "%s is stored twice", m.Body)
		seen[string(m.Body)] = true
	}
	acked.Range(func(id, _ any) bool {
		require.True(t, seen[id.(string)], "%s was acknowledged", id)
		return true
	})
}
