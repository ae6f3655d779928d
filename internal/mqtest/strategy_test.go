package mqtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// sharing is a member of a group that runs.
type sharing struct {
	*client.Consumer
	stop func()
	end  chan error
}

func (c *Cluster) share(ctx context.Context, group, topic string, s client.Strategy) *sharing {
	c.t.Helper()
	cons, err := c.Client().NewConsumer(group, client.WithStrategy(s))
	require.NoError(c.t, err)
	require.NoError(c.t, cons.Subscribe(topic, client.All()))
	ctx, stop := context.WithCancel(ctx)
	m := &sharing{cons, stop, make(chan error, 1)}
	go func() { m.end <- cons.Run(ctx, func(context.Context, *client.Delivery) error { return nil }) }()
	c.t.Cleanup(stop)
	return m
}

// Members share a topic's queues by each strategy, and share them anew when one joins or
// leaves: all queues have a member, and no member has too many.
func TestMembersShareByEachStrategy(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	for i, s := range []client.Strategy{client.Average(), client.Circle(), client.ConsistentHash()} {
		name := fmt.Sprint("t", i)
		require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Queues: 4}))
		shared := func(members ...*sharing) {
			t.Helper()
			var last []int
			c.until(s.String()+": 12 queues and the retries are shared", func() bool {
				sum, most, least := 0, 0, 15
				last = nil
				for _, m := range members {
					n := m.Stats().Queues
					sum, most, least, last = sum+n, max(most, n), min(least, n), append(last, n)
				}
				share := func(queues int) int { return (5*queues + 4*len(members) - 1) / (4 * len(members)) }
				return sum == 12+3 && most <= share(12)+share(3) && least > 0
			})
			t.Log(s, last)
		}
		a := c.share(ctx, "g-"+name, name, s)
		shared(a)
		b := c.share(ctx, "g-"+name, name, s)
		shared(a, b)
		d := c.share(ctx, "g-"+name, name, s)
		shared(a, b, d)
		b.stop()
		require.NoError(t, <-b.end)
		shared(a, d)
		for _, m := range []*sharing{a, d} {
			m.stop()
			require.NoError(t, <-m.end)
		}
	}
}

// A member that shares otherwise than its group is refused, through whichever node it comes,
// says why, and takes nothing from the others; a stock member counts as one that shares by the
// average. When the others are gone it may come.
func TestAMemberThatSharesOtherwiseIsRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 4}))
	first := c.share(ctx, "g", "t", client.Circle())
	all := func() bool { n := first.Stats().Queues; return n >= 12 }
	c.until("the first has all queues", all)
	for _, s := range []client.Strategy{client.Average(), client.ConsistentHash()} {
		other := c.share(ctx, "g", "t", s)
		err := <-other.end
		require.ErrorIs(t, err, client.ErrInvalid)
		require.ErrorContains(t, err, "group g shares its queues by circle")
		require.ErrorContains(t, err, "this member by "+s.String())
		require.True(t, all(), "it was never given a queue")
	}
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 0), 0)
		c.until("the node has heard of the first", func() bool {
			return w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, nil).Code == remoting.OK
		})
		r := w.ask(remoting.Heartbeat, nil, heartbeatOf("stock", "g", "t"))
		require.Equal(t, remoting.InvalidParameter, r.Code)
		require.Contains(t, r.Remark, "all members of a group must use the same strategy")
	}
	second := c.share(ctx, "g", "t", client.Circle())
	c.until("one that shares alike is a member", func() bool { return second.Stats().Queues >= 6 })
	for _, m := range []*sharing{first, second} {
		m.stop()
		require.NoError(t, <-m.end)
	}
	w := DialWire(t, c.listener(1, 0), 0)
	c.until("who is alone shares as it likes", func() bool {
		r := w.ask(remoting.Heartbeat, nil, heartbeatOf("stock", "g", "t"))
		return r.Code == remoting.OK
	})
	c.until("the stock member counts", func() bool {
		m := c.share(ctx, "g", "t", client.Circle())
		select {
		case err := <-m.end:
			return errors.Is(err, client.ErrInvalid) && strings.Contains(err.Error(), "shares its queues by average, as stock does")
		case <-time.After(3 * time.Second): // the list of clients was on its way
			m.stop()
			<-m.end
			return false
		}
	})
}
