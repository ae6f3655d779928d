package mqtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// Leaders are moved from node to node, the catalogue's too, while messages are sent: each
// move ends at the node that was named, what is acknowledged is there, once, and the last
// one stays where it is.
func TestAnOperatorMovesLeaders(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	cl := c.Client()
	admin := cl.Admin()
	require.NoError(t, admin.CreateTopic(ctx, client.TopicConfig{Name: "t"}))
	p, err := cl.NewProducer("g", client.WithSendTimeout(ample))
	require.NoError(t, err)
	moving, moved := context.WithCancel(ctx)
	var wg sync.WaitGroup
	sent := 0
	wg.Go(func() {
		for ; moving.Err() == nil; sent++ {
			_, err := p.Send(ctx, &client.Message{Topic: "t", Body: fmt.Append(nil, sent)})
			if err != nil {
				t.Errorf("send %d: %v", sent, err)
				return
			}
		}
	})
	var last client.PartitionLeader
	for range 4 {
		all, err := admin.Leaders(ctx, "")
		require.NoError(t, err)
		require.Zero(t, all[0].Partition)
		require.GreaterOrEqual(t, len(all), 4)
		for _, part := range all {
			require.Equal(t, c.names, part.Voters)
			at := slices.Index(part.Voters, part.Leader)
			part.Leader = part.Voters[(at+1)%len(part.Voters)]
			c.untilIn(ample, "it is moved", func() bool { // one that is far behind is refused, as it may be here for a moment
				err := admin.MoveLeader(ctx, part.Partition, part.Leader)
				if err != nil && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrInvalid) {
					t.Fatal(err)
				}
				return err == nil
			})
			require.NoError(t, admin.MoveLeader(ctx, part.Partition, part.Leader), "asked again")
			last = part
		}
	}
	moved()
	wg.Wait()
	got := make(map[string]int)
	h := sync.Mutex{}
	cons, err := cl.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("t", client.All()))
	run, stop := context.WithCancel(ctx)
	require.NoError(t, cons.Run(run, func(_ context.Context, d *client.Delivery) error {
		h.Lock()
		defer h.Unlock()
		if got[string(d.Body)]++; len(got) == sent {
			stop()
		}
		return nil
	}))
	require.NoError(t, ctx.Err())
	require.Len(t, got, sent)
	for body, n := range got {
		require.Equal(t, 1, n, "message %s", body)
	}
	for _, x := range []struct {
		partition uint64
		node      string
	}{{last.Partition + 1000, c.names[0]}, {last.Partition, "n9"}, {1 << 63, c.names[0]}} {
		require.ErrorIs(t, admin.MoveLeader(ctx, x.partition, x.node), client.ErrInvalid, "%+v", x)
	}
	_, err = admin.Leaders(ctx, "nothing")
	require.ErrorIs(t, err, client.ErrTopicNotFound)

	// Partitions go to their preferred leaders every five seconds, when those have been there for 15.
	slots, err := admin.Cluster(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, slots)
	of, err := admin.Leaders(ctx, last.Topic)
	require.NoError(t, err)
	stays := of[0]
	preferred := c.names[stays.Slot]
	stays.Leader = c.names[(stays.Slot+1)%3]
	require.NotEqual(t, preferred, stays.Leader)
	c.untilIn(ample, "it is moved", func() bool { return admin.MoveLeader(ctx, stays.Partition, stays.Leader) == nil })
	for time.Since(began) < 22*time.Second {
		of, err := admin.Leaders(ctx, last.Topic)
		require.NoError(t, err)
		require.Equal(t, stays.Leader, of[0].Leader)
		time.Sleep(100 * time.Millisecond)
	}
}
