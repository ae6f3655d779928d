package mqtest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/remoting"
)

// smallSegments has commit logs roll after 64 KiB, and looks often for what is to be
// deleted.
func smallSegments(cfg *broker.Config) {
	cfg.SegmentBytes, cfg.RetainEvery, cfg.DeleteWhen = 64<<10, 50*time.Millisecond, "any"
}

// topic creates a topic of one queue.
func topic(ctx context.Context, t *testing.T, cl *client.Client, name string, attributes map[string]string) {
	t.Helper()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Partitions: 1, Queues: 1, Attributes: attributes}))
}

// sendKiB sends n messages of a KiB and returns the last one's offset.
func sendKiB(ctx context.Context, t *testing.T, p *client.Producer, topic string, n int) (last int64) {
	t.Helper()
	body := make([]byte, 1<<10)
	for range n {
		r, err := p.Send(ctx, &client.Message{Topic: topic, Body: body})
		require.NoError(t, err)
		last = r.Offset
	}
	return last
}

// bounds are those of the topic's only queue.
func bounds(ctx context.Context, t *testing.T, cl *client.Client, topic string) (lo, hi int64) {
	t.Helper()
	s, err := cl.Admin().TopicStats(ctx, topic)
	require.NoError(t, err)
	require.Len(t, s, 1)
	return s[0].Min, s[0].Max
}

// eventually asks until ok says so.
func eventually(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// of is node i's replica of a topic of one partition.
func (c *Cluster) of(i int, topic string) (info broker.PartitionInfo) {
	for _, p := range c.Nodes[i].Partitions() {
		if p.Topic == topic {
			info = p
		}
	}
	return info
}

// logs are the segments of a topic's log on node i's disk, the real one.
func (c *Cluster) logs(i int, topic string) []string {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dirs[i], "partitions", fmt.Sprintf("%08d", c.of(i, topic).ID), "0*.log"))
	require.NoError(c.t, err)
	for n := range names {
		names[n] = filepath.Base(names[n])
	}
	return names
}

// Messages older than their topic's retention go, on all replicas alike and from
// their disks, in whole segments; those of a topic that keeps them stay. What was
// deleted is said by every node as RocketMQ does; consumers go on at the minimum; a
// restart of all nodes changes nothing.
func TestOldMessagesGoOnAllReplicas(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, smallSegments)
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	topic(ctx, t, cl, "kept", map[string]string{"retention": "forever"})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "kept", 200)
	sendKiB(ctx, t, p, "t", 200)
	reply := c.led(ctx, 0, remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{ConsumerGroup: "g", Topic: "t", CommitOffset: 5})
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	lo, _ := bounds(ctx, t, cl, "t")
	require.Zero(t, lo)
	conf, err := cl.Admin().Topic(ctx, "t")
	require.NoError(t, err)
	conf.Attributes = map[string]string{"retention": "1s"}
	require.NoError(t, cl.Admin().UpdateTopic(ctx, conf))
	conf, err = cl.Admin().Topic(ctx, "t")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"retention": "1s"}, conf.Attributes)
	eventually(ctx, t, "all but the newest segment go", func() bool { lo, _ = bounds(ctx, t, cl, "t"); return lo > 150 })
	_, hi := bounds(ctx, t, cl, "t")
	require.EqualValues(t, 200, hi)
	require.Less(t, lo, hi, "the newest segment stays")
	c.awaitSame(ctx, "t")
	for i := range c.Nodes {
		require.Positive(t, c.of(i, "t").First)
		require.Equal(t, c.of(0, "t").First, c.of(i, "t").First)
		eventually(ctx, t, "the files go", func() bool { return len(c.logs(i, "t")) == 1 })
		reply = c.led(ctx, i, remoting.PullMessage, remoting.PullHeader{ConsumerGroup: "raw", Topic: "t", QueueID: 0, QueueOffset: 3, MaxMsgNums: 1, SysFlag: remoting.PullSubscription, Subscription: "*"})
		require.Equal(t, remoting.PullOffsetMoved, reply.Code, "node %d: %s", i, reply.Remark)
		var h remoting.PullReply
		require.NoError(t, h.Decode(reply.Ext))
		require.Equal(t, remoting.PullReply{NextBeginOffset: lo, MinOffset: lo, MaxOffset: hi}, h)
		reply = c.led(ctx, i, remoting.GetMinOffset, remoting.QueueHeader{Topic: "t"})
		var o remoting.OffsetReply
		require.NoError(t, o.Decode(reply.Ext))
		require.Equal(t, lo, o.Offset)
	}
	lo, hi = bounds(ctx, t, cl, "kept")
	require.Equal(t, []int64{0, 200}, []int64{lo, hi})
	first := c.of(0, "t").First
	for i := range c.Nodes {
		c.Stop(i)
	}
	c.joins = nil
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
		require.GreaterOrEqual(t, c.of(i, "t").First, first)
	}
	c.awaitSame(ctx, "t")

	cl = c.Client()
	lo, hi = bounds(ctx, t, cl, "t")
	g, err := cl.NewConsumer("g", client.WithConcurrency(1))
	require.NoError(t, err)
	require.NoError(t, g.Subscribe("t", client.Tags()))
	run, stop := context.WithCancel(ctx)
	var got []int64
	require.NoError(t, g.Run(run, func(_ context.Context, d *client.Delivery) error {
		if got = append(got, d.Offset); d.Offset == hi-1 {
			stop()
		}
		return nil
	}))
	require.NoError(t, ctx.Err())
	for i, off := range got {
		require.Equal(t, lo+int64(i), off, "from the minimum on, each once")
	}
}

// A partition keeps as many bytes as it is told to, and at most a segment more.
func TestAPartitionKeepsItsBytes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, smallSegments)
	cl := c.Client()
	const keep = 150 << 10
	topic(ctx, t, cl, "t", map[string]string{"retention-bytes": fmt.Sprint(keep)})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for range 5 {
		sendKiB(ctx, t, p, "t", 100)
		eventually(ctx, t, "it comes down to its bytes", func() bool {
			x := c.of(0, "t")
			kept := x.Position - x.First
			require.GreaterOrEqual(t, kept, int64(min(x.Position, keep)))
			return kept <= keep+80<<10
		})
	}
	err = cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "wrong", Attributes: map[string]string{"retention": "3 days"}})
	require.ErrorIs(t, err, client.ErrInvalid)
	require.ErrorContains(t, err, "3 days")
}

// A replica that was away while all that it had was deleted starts at the floor, and
// comes to the same bytes.
func TestAReplicaThatWasAwayStartsAtTheFloor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, smallSegments)
	cl := c.Client()
	topic(ctx, t, cl, "t", map[string]string{"retention-bytes": "1"})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 20)
	c.Stop(2)
	sendKiB(ctx, t, p, "t", 500)
	first := func(i int) int64 { return c.of(i, "t").First }
	eventually(ctx, t, "all but the newest segment go", func() bool { return first(0) > 300<<10 && first(1) > 300<<10 })
	c.Run(2)
	c.Await(2)
	c.awaitSame(ctx, "t")
	require.Greater(t, first(2), int64(300<<10))
	sendKiB(ctx, t, p, "t", 200)
	c.awaitSame(ctx, "t")
	eventually(ctx, t, "it deletes what the others do", func() bool { return first(0) == first(2) && first(0) == first(1) })
}
