package client_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// A consumer's queues have the numbers that they have in a topic that was made again.
func TestDeliveriesNumberQueuesAsTheTopicHasThem(t *testing.T) {
	f := newFake(t, 1, 3)
	f.mu.Lock()
	f.topics["t"] = &fakeTopic{2, 2, 6, 1}
	f.mu.Unlock()
	c := f.dial()
	var mu sync.Mutex
	numbers := make(map[int]bool) // of the second queue in the first slot
	r := consume(t, c, "t", func(_ context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if d.Broker == "raftmq-0" && d.QueueID == 1 {
			numbers[d.Queue] = true
		}
		return nil
	})
	has := func(number int) func() bool {
		p := producer(t, f.dial())
		return func() bool {
			_, err := p.SendTo(bg, number, msg("t", "x"))
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			return numbers[number]
		}
	}
	require.Eventually(t, has(1), patience, 50*time.Millisecond)
	f.mu.Lock()
	f.deleteLocked("t")
	f.topics["t"] = &fakeTopic{2, 2, 6, 3}
	f.notifyLocked("g")
	f.mu.Unlock()
	require.Eventually(t, has(3), patience, 50*time.Millisecond)
	require.NoError(t, r.stop())
}
