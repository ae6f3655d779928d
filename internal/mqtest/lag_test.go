package mqtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// What a group put back is before it until it has handled it again: it counts in the group's
// lag, in the retry topic, whichever node is asked, and for who asks for that topic alone.
func TestRetriesCountInTheLag(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "work", Partitions: 3, Queues: 2}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	const n = 12
	for range n {
		_, err := p.Send(ctx, &client.Message{Topic: "work", Body: []byte("x")})
		require.NoError(t, err)
	}
	consume := func(handle func(d *client.Delivery) error, until func() bool) {
		cons, err := cl.NewConsumer("g")
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe("work", client.All()))
		run, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error { return handle(d) }) }()
		c.until("they are handled", until)
		stop()
		require.NoError(t, <-ended)
	}
	lag := func() map[string]int64 {
		sums := make(map[string]int64)
		for row, err := range cl.Admin().Lag(ctx, "g") {
			if errors.Is(err, client.ErrGroupNotFound) {
				return nil
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, row.Queue, 0)
			sums[row.Topic] += row.Lag
		}
		return sums
	}
	is := func(topic string, want int64) func() bool {
		return func() bool {
			of, ok := lag()[topic]
			return ok && of == want
		}
	}
	consume(func(d *client.Delivery) error { return client.RetryAfter(3*time.Second, errors.New("later")) }, is("work", 0))
	c.until("all retries are due", is("%RETRY%g", n))

	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, i), remoting.JSON)
		figures := func(topic string) (of map[string]int64, queues int) {
			var s remoting.ConsumeStats
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumeStats, with(fields{"consumerGroup": "g"}, "topic", topic), nil).Body, &s))
			of = make(map[string]int64)
			for q, o := range s.OffsetTable {
				of[q.Topic] += o.BrokerOffset - o.ConsumerOffset
			}
			return of, len(s.OffsetTable)
		}
		all, _ := figures("")
		require.Equal(t, map[string]int64{"work": 0, "%RETRY%g": n}, all)
		retries, queues := figures("%RETRY%g")
		require.Equal(t, map[string]int64{"%RETRY%g": n}, retries)
		require.Equal(t, 3, queues)
		work, _ := figures("work")
		require.Equal(t, map[string]int64{"work": 0}, work)
	}

	consume(func(d *client.Delivery) error { return nil }, is("%RETRY%g", 0))
}
