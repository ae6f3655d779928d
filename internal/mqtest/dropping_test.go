package mqtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// A node that is told to end while the partitions of a deleted topic are closed, one after
// the other, closes each once.
func TestANodeEndsWhileATopicGoes(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	cl := c.Client()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	topics := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, topic := range topics {
		require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic, Partitions: 3, Queues: 1}))
	}
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for _, topic := range topics {
		for q := range 3 {
			_, err := p.SendTo(ctx, q, &client.Message{Topic: topic, Body: []byte("x")})
			require.NoError(t, err)
		}
	}
	for _, topic := range topics {
		require.NoError(t, cl.Admin().DeleteTopic(ctx, topic))
	}
	c.Stop(0)
	c.Run(0)
	c.Await(0)
}
