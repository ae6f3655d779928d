package client_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// Queues that another member holds are asked for once a second, for as long as it has them.
func TestLocksOfAnotherAreAskedForOnceInAWhile(t *testing.T) {
	const slots = 3
	f := newFake(t, 1, slots)
	f.topic("t", 1)
	for _, slot := range f.slots {
		f.locks[offsetKey("g", "t", slot, 0)] = "another"
	}
	var asked atomic.Int64
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.LockBatchMQ {
			asked.Add(1)
			time.Sleep(30 * time.Millisecond) // it takes a node so long
		}
		return healthy
	})
	begun := time.Now()
	r := consume(t, f.dial(), "t", func(context.Context, *client.Delivery) error { return nil }, client.WithOrder())
	time.Sleep(6 * time.Second)
	require.NoError(t, r.stop())
	const others = 5 // for what members are told
	require.LessOrEqual(t, asked.Load(), slots*(int64(time.Since(begun)/time.Second)+others))
}
