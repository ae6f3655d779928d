package mqtest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// All partitions are led by the node that an operator chose for them; when it ends and is back they are led by their preferred
// nodes again, each as many, without a command.
func TestLeadersAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	admin := c.Client().Admin()
	topics := []string{"t", "u"}
	for _, name := range topics {
		require.NoError(t, admin.CreateTopic(ctx, client.TopicConfig{Name: name}))
	}
	leaders := func() map[string]int { // of partitions, by node
		of := make(map[string]int)
		all, err := admin.Leaders(ctx, "")
		require.NoError(t, err)
		for _, p := range all {
			if p.Partition != 0 {
				of[p.Leader]++
			}
		}
		return of
	}
	n := len(c.names) * len(topics)
	c.untilIn(ample, "one node leads all", func() bool {
		all, err := admin.Leaders(ctx, "")
		require.NoError(t, err)
		for _, p := range all {
			if p.Partition != 0 && p.Leader != c.names[0] { // refused for a moment, if it is behind
				if err := admin.MoveLeader(ctx, p.Partition, c.names[0]); err != nil && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrInvalid) {
					t.Fatal(err)
				}
			}
		}
		return leaders()[c.names[0]] == n
	})
	c.Stop(0)
	c.untilIn(ample, "the others lead", func() bool {
		of := leaders()
		return of[c.names[0]] == 0 && of[c.names[1]]+of[c.names[2]] == n
	})
	c.Run(0)
	c.Await(0)
	c.untilIn(ample, "each leads as many", func() bool {
		for _, name := range topics {
			for slot := range c.names {
				p, ok := c.replicaIn(slot, name, slot)
				if !ok || p.State != "Leader" || p.Leader != c.names[slot] {
					return false
				}
			}
		}
		return true
	})
	c.untilIn(ample, "it is known", func() bool {
		of := leaders()
		return of[c.names[0]] == len(topics) && of[c.names[1]] == len(topics) && of[c.names[2]] == len(topics)
	})
}
