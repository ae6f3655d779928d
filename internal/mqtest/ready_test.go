package mqtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

func TestANodeWithoutAMajorityIsNotReady(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.Stop(1)
	c.Stop(2)
	c.until("it is not ready", func() bool {
		ok, _ := c.Nodes[0].Ready()
		return !ok
	})
	c.Run(1)
	c.Await(0)
	c.Await(1)
}

// Whatever node is asked, a group and a topic that were made through another are
// there, without waiting.
func TestEveryNodeKnowsWhatWasDecided(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	for i, b := range c.Nodes {
		name := "topic-" + c.names[i]
		maker, err := client.Dial(ctx, client.WithEndpoints(b.Addresses().NameServer))
		require.NoError(t, err)
		require.NoError(t, maker.Admin().CreateTopic(ctx, client.TopicConfig{Name: name}))
		require.NoError(t, maker.Admin().CreateGroup(ctx, client.GroupConfig{Name: "group-" + c.names[i]}))
		require.NoError(t, maker.Close(ctx))
		for _, other := range c.Nodes {
			asker, err := client.Dial(ctx, client.WithEndpoints(other.Addresses().NameServer))
			require.NoError(t, err)
			_, err = asker.Admin().Topic(ctx, name)
			require.NoError(t, err)
			for _, err := range asker.Admin().Lag(ctx, "group-"+c.names[i]) {
				require.NoError(t, err)
			}
			require.NoError(t, asker.Close(ctx))
		}
	}
}
