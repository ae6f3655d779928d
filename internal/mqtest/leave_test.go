package mqtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// A member that leaves when a node has just died, or dies, blocks no queues: the others
// have them long before the clients of that node are given up.
func TestAMemberThatLeavesWithItsNodeBlocksNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 4}))
	list := func(node int, group string) (ids remoting.ConsumerList) {
		w := DialWire(t, c.listener(node, 0), 0)
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumerListByGroup, fields{"consumerGroup": group}, nil).Body, &ids))
		return ids
	}
	const soon = 25 * time.Second // before the dead node's clients are given up
	for round := 1; ; round++ {
		group := fmt.Sprint("g-", round)
		stays := c.share(ctx, group, "t", client.Average())
		c.until("one has all queues", func() bool { return stays.Stats().Queues == 15 })
		leaves := c.share(ctx, group, "t", client.Average())
		c.until("they share the queues", func() bool { n := stays.Stats().Queues; return n < 15 && n+leaves.Stats().Queues == 15 })
		for i := range c.Nodes {
			c.until("every node knows both", func() bool { return len(list(i, group).ConsumerIDList) == 2 })
		}
		c.Stop(0)
		require.Len(t, list(1, group).ConsumerIDList, 2)
		begun := time.Now()
		leaves.stop()
		require.NoError(t, <-leaves.end)
		c.until("the other has all queues", func() bool { return stays.Stats().Queues == 15 })
		first := time.Since(begun)
		for _, i := range []int{1, 2} {
			c.until("every node knows one", func() bool { return len(list(i, group).ConsumerIDList) == 1 })
		}

		// It may come back, and leaves while another node dies.
		again := c.share(ctx, group, "t", client.Average())
		c.until("they share the queues", func() bool { n := stays.Stats().Queues; return n < 15 && n+again.Stats().Queues == 15 })
		c.Run(0)
		c.Await(0)
		begun = time.Now()
		again.stop()
		c.Stop(1)
		require.NoError(t, <-again.end)
		c.until("the other has all queues", func() bool { return stays.Stats().Queues == 15 })
		second := time.Since(begun)
		if first < soon && second < soon {
			return
		}
		require.Less(t, round, 3, "after %v and %v: not before the dead node's clients are given up", first, second)
		stays.stop()
		require.NoError(t, <-stays.end)
		c.Run(1)
		c.Await(1)
	}
}

// A leave counts for the run that ends: a member that has begun another since stays, and a
// heartbeat of the run that is over, which was on its way, does not bring it back.
func TestALeaveCountsForItsRunOnly(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	beat := func(joined int64) []byte {
		var h remoting.HeartbeatData
		require.NoError(t, remoting.DecodeBody(heartbeatOf("me", "g", "t"), &h))
		h.ConsumerDataSet[0].Joined = joined
		return remoting.EncodeBody(h)
	}
	leave := func(joined string) fields {
		return fields{"clientID": "me", "consumerGroup": "g", "joined": joined}
	}
	at, other := DialWire(t, c.listener(0, 0), 0), DialWire(t, c.listener(1, 0), 0)
	is := func(member bool) {
		t.Helper()
		for i := range c.Nodes {
			w := DialWire(t, c.listener(i, 0), 0)
			c.until("all nodes have heard", func() bool {
				r := w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, nil)
				return (r.Code == remoting.OK) == member
			})
		}
	}
	at.OK(remoting.Heartbeat, nil, beat(100))
	is(true)
	other.OK(remoting.UnregisterClient, leave("99"), nil)
	at.OK(remoting.Heartbeat, nil, beat(100))
	is(true)
	other.OK(remoting.UnregisterClient, leave("100"), nil) // another node than it was connected to
	is(false)
	at.OK(remoting.Heartbeat, nil, beat(100))
	is(false)
	at.OK(remoting.Heartbeat, nil, beat(101))
	is(true)
}
