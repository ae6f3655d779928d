package mqtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// Who asks for a commit has it when it returns, also when the leader dies then; what is being handled does not count.
func TestACommitOnRequestIsThere(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for i := range 10 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	cons, err := cl.NewConsumer("g", client.WithConcurrency(1))
	require.NoError(t, err)
	require.ErrorIs(t, cons.Commit(ctx), client.ErrNotNow)
	require.NoError(t, cons.Subscribe("t", client.All()))
	committed := func() (off int64) {
		t.Helper()
		off = -1
		for row, err := range cl.Admin().Lag(ctx, "g") {
			require.NoError(t, err)
			if row.Topic == "t" {
				off = row.Committed
			}
		}
		return off
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	at := make(chan int64)
	goOn := make(chan struct{})
	go func() {
		ended <- cons.Run(run, func(ctx context.Context, d *client.Delivery) error {
			if err := cons.Commit(ctx); err != nil {
				return err
			}
			select {
			case at <- d.Offset:
				<-goOn
			case <-run.Done():
			}
			return nil
		})
	}()
	for i := range int64(4) {
		require.Equal(t, i, <-at)
		require.Equal(t, max(i, 0), max(committed(), 0), "what came before the one at work")
		goOn <- struct{}{}
	}
	require.EqualValues(t, 4, <-at)
	lead := c.leaderOf("t")
	c.Stop(lead)
	cl = c.Client()
	c.until("another leader has it", func() bool {
		off := int64(-1)
		for row, err := range cl.Admin().Lag(ctx, "g") {
			if err == nil && row.Topic == "t" {
				off = row.Committed
			}
		}
		return off == 4
	})
	stop()
	goOn <- struct{}{}
	<-ended
}

// Members that share queues by config have those of their tables, whoever comes, and what fails comes again too.
func TestMembersShareQueuesByConfig(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 2))
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	var (
		mu  sync.Mutex
		got = make(map[string][]int) // member -> queues
	)
	tables := map[string][]int{"a": {0, 5}, "b": {1, 2, 3, 4}}
	for name, queues := range tables {
		cons, err := c.Client().NewConsumer("g", client.WithStrategy(client.ByConfig(map[string][]int{"t": queues})))
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe("t", client.All()))
		go cons.Run(ctx, func(_ context.Context, d *client.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(got[name], d.Queue) {
				got[name] = append(got[name], d.Queue)
			}
			return nil
		})
	}
	p, err := c.Client().NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for q := range 6 {
		_, err := p.SendTo(ctx, q, &client.Message{Topic: "t", Body: []byte("x")})
		require.NoError(t, err)
	}
	c.until("all came", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got["a"])+len(got["b"]) == 6
	})
	mu.Lock()
	defer mu.Unlock()
	for name, queues := range tables {
		require.ElementsMatch(t, queues, got[name], name)
	}
	other, err := c.Client().NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, other.Subscribe("t", client.All()))
	require.Error(t, other.Run(ctx, func(context.Context, *client.Delivery) error { return nil }), "it shares otherwise")
}
