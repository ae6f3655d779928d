package mqtest

import (
	"context"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 4}))
	stays := c.share(ctx, "g", "t", client.Average())
	c.until("one has all queues", func() bool { return stays.Stats().Queues == 15 })
	leaves := c.share(ctx, "g", "t", client.Average())
	c.until("they share the queues", func() bool { n := stays.Stats().Queues; return n < 15 && n+leaves.Stats().Queues == 15 })
	list := func(node int) (ids remoting.ConsumerList) {
		w := DialWire(t, c.listener(node, 0), 0)
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, nil).Body, &ids))
		return ids
	}
	for i := range c.Nodes {
		c.until("every node knows both", func() bool { return len(list(i).ConsumerIDList) == 2 })
	}
	c.Stop(0)
	require.Len(t, list(1).ConsumerIDList, 2)
	begun := time.Now()
	leaves.stop()
	require.NoError(t, <-leaves.end)
	c.until("the other has all queues", func() bool { return stays.Stats().Queues == 15 })
	require.Less(t, time.Since(begun), 25*time.Second, "before the dead node's clients are given up")
	for _, i := range []int{1, 2} {
		require.Len(t, list(i).ConsumerIDList, 1)
	}

	// It may come back, and leaves while another node dies.
	again := c.share(ctx, "g", "t", client.Average())
	c.until("they share the queues", func() bool { n := stays.Stats().Queues; return n < 15 && n+again.Stats().Queues == 15 })
	c.Run(0)
	c.Await(0)
	begun = time.Now()
	again.stop()
	c.Stop(1)
	require.NoError(t, <-again.end)
	c.until("the other has all queues", func() bool { return stays.Stats().Queues == 15 })
	require.Less(t, time.Since(begun), 25*time.Second)
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
