package mqtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// A consumer that runs while its topic is deleted and made again is given all that is in the
// new one, also if that is less than it had come to in the old one.
func TestAConsumerIsGivenAllOfATopicThatCameBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	conf := client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}
	require.NoError(t, cl.Admin().CreateTopic(ctx, conf))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	var mu sync.Mutex
	seen := make(map[string]bool)
	s, err := c.Client().NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(run, func(_ context.Context, d *client.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			seen[string(d.Body)] = true
			return nil
		})
	}()
	send := func(name string, n int) {
		for i := range n {
			_, err := p.Send(ctx, &client.Message{Topic: "t", Body: fmt.Appendf(nil, "%s-%d", name, i)})
			require.NoError(t, err)
		}
	}
	handled := func(n int) {
		eventually(ctx, t, fmt.Sprintf("%d are handled", n), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) == n
		})
	}
	send("old", 20)
	handled(20)
	s.Pause()
	require.NoError(t, cl.Admin().DeleteTopic(ctx, "t"))
	require.NoError(t, cl.Admin().CreateTopic(ctx, conf))
	send("new", 5)
	s.Resume()
	handled(25)
	send("newer", 1)
	handled(26)
	stop()
	require.NoError(t, <-ended)
}
