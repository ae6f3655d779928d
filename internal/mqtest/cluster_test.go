package mqtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

func TestWhatIsSentIsConsumedOnceInOrderAfterALeaderIsLost(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "orders", Queues: 2}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	defer p.Close(ctx)

	const n = 300
	var mu sync.Mutex
	sent := make(map[string]client.Receipt)
	send := func(from, to int) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := from + w; i < to; i += 8 {
					body := fmt.Sprintf("m%d", i)
					r, err := p.Send(ctx, &client.Message{Topic: "orders", Body: []byte(body), Tag: "t", Keys: []string{body}})
					if err != nil {
						t.Errorf("send %s: %v", body, err)
						return
					}
					mu.Lock()
					sent[body] = r
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	send(0, n/3)
	c.Stop(0)
	send(n/3, 2*n/3)
	c.Run(0)
	c.Await(0)
	send(2*n/3, n)
	require.Len(t, sent, n)

	cons, err := cl.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("orders", client.All()))
	run, stop := context.WithCancel(ctx)
	seen := make(map[string]int)
	err = cons.Run(run, func(_ context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		seen[string(d.Body)]++
		if len(seen) == n {
			stop()
		}
		return nil
	})
	require.NoError(t, err)
	for body := range sent {
		require.Equal(t, 1, seen[body], body)
	}
	stats, err := cl.Admin().TopicStats(ctx, "orders")
	require.NoError(t, err)
	var total int64
	for _, q := range stats {
		total += q.Max - q.Min
	}
	require.EqualValues(t, n, total, "nothing is stored twice")
}
