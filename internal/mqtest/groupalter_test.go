package mqtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// Two operators alter a group at once: what one has not named is not set back to what it was when he looked. Nor
// are settings that only other clients set. It is so after the catalogue's leader has died.
func TestAnAlterationOfAGroupLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	admin := c.Client().Admin()
	settings := func() remoting.SubscriptionGroupConfig {
		t.Helper()
		var got remoting.SubscriptionGroupTable
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetAllSubscriptionGroup, nil, nil).Body, &got))
		return got.SubscriptionGroupTable["g"]
	}
	require.ErrorIs(t, admin.AlterGroup(ctx, "g", client.GroupChange{RetryMaxTimes: new(3)}), client.ErrGroupNotFound)
	require.ErrorIs(t, admin.AlterGroup(ctx, "a b", client.GroupChange{RetryMaxTimes: new(3)}), client.ErrInvalid)
	w.OK(remoting.UpdateSubscriptionGroup, nil, []byte(`{"groupName":"g","retryMaxTimes":5,"consumeMessageOrderly":true,"consumeTimeoutMinute":7,"consumeFromMinEnable":false,"attributes":{"a":"b"}}`))
	require.NoError(t, admin.AlterGroup(ctx, "g", client.GroupChange{RetryMaxTimes: new(3)}))
	require.NoError(t, admin.AlterGroup(ctx, "g", client.GroupChange{NoBroadcast: new(true)}))
	c.Stop(c.ofCatalogue())
	admin = c.Client().Admin()
	require.NoError(t, admin.AlterGroup(ctx, "g", client.GroupChange{Disabled: new(true)}))
	for i := range 3 {
		if c.Nodes[i] != nil {
			w = DialWire(t, c.listener(i, 0), remoting.JSON)
		}
	}
	got := settings()
	want := remoting.DefaultGroup("g")
	want.RetryMaxTimes, want.ConsumeMessageOrderly, want.ConsumeTimeoutMinute, want.ConsumeFromMinEnable = 3, true, 7, false
	want.ConsumeEnable, want.ConsumeBroadcastEnable = false, false
	want.Attributes = got.Attributes
	require.Equal(t, want, got)
	require.Equal(t, "b", got.Attributes["a"])

	x, err := admin.Group(ctx, "g")
	require.NoError(t, err)
	require.Equal(t, client.GroupConfig{Name: "g", Disabled: true, NoBroadcast: true, RetryMaxTimes: 3}, x)
	require.NoError(t, admin.AlterGroup(ctx, "g", client.GroupChange{RetryMaxTimes: new(0), Disabled: new(false)}))
	x, err = admin.Group(ctx, "g")
	require.NoError(t, err)
	require.Equal(t, client.GroupConfig{Name: "g", NoBroadcast: true, RetryMaxTimes: -1}, x)
	require.NoError(t, admin.DeleteGroup(ctx, "g"))
	_, err = admin.Group(ctx, "g")
	require.ErrorIs(t, err, client.ErrGroupNotFound)
	require.ErrorIs(t, admin.AlterGroup(ctx, "g", client.GroupChange{Disabled: new(true)}), client.ErrGroupNotFound, "it is not made again")
}

// A group that may not consume gets nothing, also by pulls that are held already, and goes on where it was when
// it may again.
func TestAGroupIsPausedAndGoesOn(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	p, err := cl.NewProducer("p")
	require.NoError(t, err)
	send := func(i int) {
		t.Helper()
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	send(0)
	h := newHandled()
	cons, err := cl.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("t", client.All()))
	ended := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			h.note(d, true)
			return nil
		})
	}()
	c.until("the first is consumed", func() bool { return h.count() == 1 })
	require.NoError(t, cl.Admin().AlterGroup(ctx, "g", client.GroupChange{Disabled: new(true)}))
	for i := range 3 { // each node knows it
		var got remoting.SubscriptionGroupTable
		w := DialWire(t, c.listener(i, 0), remoting.JSON)
		c.until("a node knows that the group is paused", func() bool {
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetAllSubscriptionGroup, nil, nil).Body, &got))
			return !got.SubscriptionGroupTable["g"].ConsumeEnable
		})
	}
	for i := range 50 {
		send(1 + i)
	}
	another, err := cl.NewConsumer("another") // when it has all, the held pulls have been woken long since
	require.NoError(t, err)
	require.NoError(t, another.Subscribe("t", client.All()))
	seen := newHandled()
	go another.Run(run, func(_ context.Context, d *client.Delivery) error {
		seen.note(d, true)
		return nil
	})
	c.until("another group has all", func() bool { return seen.count() == 51 })
	require.Equal(t, 1, h.count())
	require.NoError(t, cl.Admin().AlterGroup(ctx, "g", client.GroupChange{Disabled: new(false)}))
	c.until("it goes on", func() bool { return h.count() == 51 })
	stop()
	require.NoError(t, <-ended)
}
