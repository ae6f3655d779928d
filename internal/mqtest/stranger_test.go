package mqtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/membership"
)

// A node of another cluster of this name gossips with this one's: its partitions have the same
// numbers, and later terms. It leads none of this cluster's.
func TestAStrangerThatGossipsLeadsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := Start(t, 3, nil)
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 3, Queues: 1}))
	x, err := membership.Open(membership.Config{Self: membership.Node{Name: "x", Incarnation: 1}, Bind: "127.0.0.1:0", Cluster: c.Name})
	require.NoError(t, err)
	t.Cleanup(func() { x.Close() })
	var leads []membership.Lead
	for id := range uint64(16) {
		leads = append(leads, membership.Lead{Partition: id, Term: 1 << 40})
	}
	x.Announce(leads)
	_, err = x.Join([]string{c.Nodes[0].Addresses().Gossip})
	require.NoError(t, err)
	for i, b := range c.Nodes {
		c.until("it is heard", func() bool { return c.metric(i, "raftmq_nodes_alive") == 4 })
		c.Await(i)
		cl, err := client.Dial(ctx, client.WithEndpoints(b.Addresses().NameServer))
		require.NoError(t, err)
		p, err := cl.NewProducer("p", client.WithSendTimeout(10*time.Second))
		require.NoError(t, err)
		for range 6 {
			_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte("x")})
			require.NoError(t, err)
		}
		require.NoError(t, cl.Close(ctx))
		for _, p := range b.Partitions() {
			require.NotEqual(t, "x", p.Leader)
		}
	}
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "u", Partitions: 3, Queues: 1}))
}
