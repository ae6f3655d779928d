package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// leading counts the partitions of topics with a prefix that are led, by node. Nodes that do not answer, and the one named
// without, are left out.
func (c *raftmqCluster) leading(ctx context.Context, prefix, without string) (byNode map[string]int, led map[uint64]bool) {
	byNode, led = make(map[string]int), make(map[uint64]bool)
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.Name == without {
			continue
		}
		states, err := n.partitions(ctx)
		if err != nil {
			continue
		}
		for _, p := range states {
			if strings.HasPrefix(p.Topic, prefix) && p.State == "Leader" {
				byNode[n.Name]++
				led[p.ID] = true
			}
		}
	}
	return byNode, led
}

// ledLimit is how long all partitions may take to have leaders: far beyond what is asked for, so that there is a figure.
const ledLimit = 10 * time.Minute

// allLed waits until so many partitions are led; but, if it is not nil, is a node that does not count.
func (c *raftmqCluster) allLed(ctx context.Context, prefix string, partitions int, but *raftmqNode) error {
	without := ""
	if but != nil {
		without = but.Name
	}
	for until := time.Now().Add(ledLimit); ; {
		_, led := c.leading(ctx, prefix, without)
		if len(led) >= partitions {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d partitions have leaders", len(led), partitions)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
