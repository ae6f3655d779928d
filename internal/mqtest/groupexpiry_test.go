package mqtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/remoting"
)

// What nobody uses for as long as is set is deleted, with its offsets, also when the catalogue's leader dies in
// between. What has a member, what moved meanwhile, what has retries, due or not, or dead letters, and what an operator made, stays.
func TestGroupsThatNobodyUsesExpire(t *testing.T) {
	t.Parallel()
	const expiry = 6 * time.Hour
	c := Start(t, 3, func(cfg *broker.Config) { cfg.GroupExpiry, cfg.GroupsEvery = expiry, 20*time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c.createTopic(t, topicOf("t", 1))
	cl := c.Client()
	a := cl.Admin()
	p, err := cl.NewProducer("p")
	require.NoError(t, err)
	for range 12 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte("x")})
		require.NoError(t, err)
	}
	require.NoError(t, a.CreateGroup(ctx, client.GroupConfig{Name: "made", RetryMaxTimes: 3}))
	var consumed []string
	consume := func(group string, handle client.Handler) func() {
		t.Helper()
		cons, err := cl.NewConsumer(group)
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe("t", client.All()))
		run, stop := context.WithCancel(ctx)
		h, ended := newHandled(), make(chan error, 1)
		go func() {
			ended <- cons.Run(run, func(ctx context.Context, d *client.Delivery) error {
				h.note(&client.Delivery{Message: client.Message{Body: []byte(d.ID)}}, true)
				return handle(ctx, d)
			})
		}()
		c.until("all has been given to "+group, func() bool { return h.count() == 12 })
		consumed = append(consumed, group)
		return func() {
			stop()
			require.NoError(t, <-ended)
		}
	}
	done := func(context.Context, *client.Delivery) error { return nil }
	consume("idle", done)()
	consume("moved", done)()
	consume("made", done)()
	consume("dead", func(context.Context, *client.Delivery) error { return client.DeadLetter(errors.New("poison")) })()
	consume("later", func(context.Context, *client.Delivery) error {
		return client.RetryAfter(10*24*time.Hour, errors.New("in some days"))
	})()
	consume("due", func(context.Context, *client.Delivery) error {
		return client.RetryAfter(time.Minute, errors.New("soon"))
	})()
	busy := consume("busy", done)
	defer busy()

	groups := func() (names []string) {
		t.Helper()
		for g, err := range a.Groups(ctx) {
			require.NoError(t, err)
			names = append(names, g.Name)
		}
		return names
	}
	noted := func() []string {
		for i, n := range c.Nodes {
			if n == nil {
				continue
			}
			r := DialWire(t, c.listener(i, 0), remoting.JSON).Led(remoting.GetKVListByNamespace, fields{"namespace": "RAFTMQ_IDLE_GROUPS"}, nil)
			var kv struct{ Table map[string]string }
			if r.Code == remoting.OK {
				require.NoError(t, remoting.DecodeBody(r.Body, &kv))
			}
			return slices.Sorted(maps.Keys(kv.Table))
		}
		return nil
	}
	c.until("idle groups are noted", func() bool {
		return slices.Equal(noted(), []string{"dead", "due", "idle", "later", "moved"})
	})
	all := groups()
	require.Subset(t, all, consumed)
	r := DialWire(t, c.listener(0, 0), remoting.JSON).Led(remoting.DeleteKVConfig, fields{"namespace": "RAFTMQ_IDLE_GROUPS", "key": "idle"}, nil)
	require.Equal(t, remoting.InvalidParameter, r.Code, r.Remark)

	moved, err := a.ResetOffsets(ctx, "moved", "t", client.Earliest(), false) // nobody's member
	require.NoError(t, err)
	require.NotEmpty(t, moved)
	c.Stop(c.ofCatalogue())
	for i := range c.Nodes {
		if c.Nodes[i] == nil {
			c.Run(i)
			c.Await(i)
		}
	}
	ahead := func() {
		for i := range c.Ahead {
			c.Ahead[i].Add(int64(expiry + time.Minute))
		}
	}
	a = c.Client().Admin()
	ahead()
	c.untilIn(ample, "what nobody used is deleted", func() bool { return !slices.Contains(groups(), "idle") })
	require.Equal(t, slices.DeleteFunc(all, func(n string) bool { return n == "idle" }), groups())
	for _, err := range a.Lag(ctx, "idle") {
		require.ErrorIs(t, err, client.ErrGroupNotFound)
	}
	c.until("its note is gone", func() bool { return !slices.Contains(noted(), "idle") })

	n, err := a.Purge(ctx, "dead", "", 0)
	require.NoError(t, err)
	require.Equal(t, 12, n)
	ahead()
	c.untilIn(ample, "what was moved, and not used since, and what has no dead letters any more are deleted", func() bool {
		now := groups()
		return !slices.Contains(now, "moved") && !slices.Contains(now, "dead")
	})
	require.Subset(t, groups(), []string{"busy", "due", "later", "made"})
}
