package mqtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// What always fails comes again 16 times by default, after RocketMQ's delays of the levels 3 to 18, or as often as its
// group says; then it is a dead letter.
func TestRetriesAreAsManyAndAsLateAsPromised(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	a := cl.Admin()
	now := func() time.Time { return time.Now().Add(time.Duration(c.Ahead[0].Load())) }
	delays := []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 6 * time.Minute,
		7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
	for group, retries := range map[string]int{"usual": 16, "three": 3, "none": 0} {
		topic(ctx, t, cl, group, nil)
		if retries != 16 {
			require.NoError(t, a.CreateGroup(ctx, client.GroupConfig{Name: group}))
			require.NoError(t, a.AlterGroup(ctx, group, client.GroupChange{RetryMaxTimes: &retries}))
		}
		cons, err := cl.NewConsumer(group)
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe(group, client.All()))
		run, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		attempts := make(chan int, 1)
		go func() {
			ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
				attempts <- d.Attempt
				return errors.New("never")
			})
		}()
		p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
		require.NoError(t, err)
		before := now()
		_, err = p.Send(ctx, &client.Message{Topic: group, Body: []byte("x")})
		require.NoError(t, err)
		for i := range retries + 1 {
			select {
			case n := <-attempts:
				require.Equal(t, i+1, n, group)
			case <-ctx.Done():
				require.Fail(t, "it does not come again", "group %s, attempt %d", group, i+1)
			}
			if i == retries {
				break
			}
			var waits []client.TimerInfo
			c.until("it is put back", func() bool {
				waits, err = a.Timers(ctx, group, 0)
				return err == nil && len(waits) == 1
			})
			const slack = time.Second // of what a node takes for the cluster's time
			require.WithinRange(t, waits[0].Due, before.Add(delays[i]-slack), now().Add(delays[i]+slack), "group %s, retry %d", group, i+1)
			for n := range c.Ahead {
				c.Ahead[n].Add(int64(delays[i]))
			}
			before = now().Add(-slack)
		}
		c.until("it is a dead letter", func() bool {
			dead, err := a.DeadLetters(ctx, group, 0)
			return err == nil && len(dead) == 1
		})
		stop()
		require.NoError(t, <-ended)
	}
}
