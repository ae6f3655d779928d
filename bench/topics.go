package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raftmq/client"
)

// slotsUsual is how many slots, and so partitions of a topic, a cluster has here unless told otherwise.
const slotsUsual = 3

// createLimit is how long a topic may be refused while leaders are elected.
const createLimit = 5 * time.Minute

// createPartitions makes topics until there are so many partitions, eight at once as an operator's script might,
// and waits until each has a leader.
func (c *raftmqCluster) createPartitions(ctx context.Context, cl *client.Client, partitions int) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	some := make(chan struct{}, 8)
	for made, i := 0, 0; made < partitions; made, i = made+slotsUsual, i+1 {
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			t := client.TopicConfig{Name: fmt.Sprintf("many-%04d", i), Partitions: min(slotsUsual, partitions-made), Queues: 1}
			if err := createTopic(ctx, cl, t); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.allLed(ctx, "many-", partitions, nil)
}

func createTopic(ctx context.Context, cl *client.Client, t client.TopicConfig) error {
	for until := time.Now().Add(createLimit); ; {
		err := cl.Admin().CreateTopic(ctx, t)
		if err == nil || errors.Is(err, client.ErrExists) {
			return nil
		}
		if time.Now().After(until) {
			return err
		}
		if e := sleep(ctx, 500*time.Millisecond); e != nil {
			return errors.Join(err, e)
		}
	}
}
