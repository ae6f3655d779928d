package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Figures of this row.
const (
	createTime   = "create_s"
	failoverTime = "failover_s" // from kill -9 until all that the node led is led elsewhere
	readyTime    = "ready_s"    // from the start of the killed node's process until /readyz answers 200
	ledBefore    = "led"        // by the node that was killed
)

func manyPartitions(ctx context.Context, l *lab) (f figures, err error) {
	c, err := startRaftmq(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	cl, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	partitions := l.count(1000, 9)
	begin := time.Now()
	if err := c.createPartitions(ctx, cl, partitions); err != nil {
		return nil, err
	}
	created := time.Since(begin)
	if f, err = idle(ctx, l.duration(idleSettle), l.duration(idleWatch), c.pids()); err != nil {
		return nil, err
	}
	f[createTime] = created.Seconds()
	victim, led, err := c.sharing(ctx, partitions)
	if err != nil {
		return nil, err
	}
	f[ledBefore] = float64(led)
	begin = time.Now()
	if err := c.tell(ctx, "kill", victim.Name); err != nil {
		return nil, err
	}
	if err := c.allLed(ctx, "many-", partitions, victim); err != nil {
		return nil, err
	}
	f[failoverTime] = time.Since(begin).Seconds()
	begin = time.Now()
	if err := c.tell(ctx, "restart", victim.Name); err != nil {
		return nil, err
	}
	f[readyTime] = time.Since(begin).Seconds()
	return f, nil
}

// sharing waits until the leaders are spread over all nodes, and returns the node that leads most.
func (c *raftmqCluster) sharing(ctx context.Context, partitions int) (most *raftmqNode, led int, err error) {
	for until := time.Now().Add(ledLimit); ; {
		byNode, _ := c.leading(ctx, "many-", "")
		least := partitions
		led = 0
		for i := range c.nodes {
			n := &c.nodes[i]
			least = min(least, byNode[n.Name])
			if byNode[n.Name] > led {
				most, led = n, byNode[n.Name]
			}
		}
		if least >= partitions/len(c.nodes)-partitions/20-1 {
			return most, led, nil
		}
		if time.Now().After(until) {
			return nil, 0, fmt.Errorf("leaders are not spread: %v", byNode)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, 0, err
		}
	}
}

func partitions1000() row {
	return row{
		name: "partitions1000", work: "1,000 partitions a node",
		sides: []side{{ours, manyPartitions}},
		measures: []measure{
			{what: "create, until all have leaders", of: figure(ours, createTime), must: 60, goal: 20, less: true, unit: " s"},
			{what: "idle, of one core, all nodes together", of: figure(ours, idleCPU), must: 50, goal: 25, less: true, unit: " %"},
			{what: "a node that was killed is ready again after", of: figure(ours, readyTime), must: 20, goal: 8, less: true, unit: " s"},
			{what: "a node that leads a third killed: all led elsewhere in", of: figure(ours, failoverTime), must: 3, goal: 1, less: true, unit: " s"},
		},
	}
}
