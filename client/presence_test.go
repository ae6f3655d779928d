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

// namedBy is on how many connections a node takes this client for one of a group's
// producers.
func (f *fake) namedBy(group string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, groups := range f.named {
		for _, g := range groups {
			if g == group {
				n++
			}
		}
	}
	return n
}

// A producer that has ended is none for any node, also if a heartbeat that names it is still
// on its way when it ends: who is asked about transactions would not answer.
func TestAProducerThatEndedIsNamedToNobody(t *testing.T) {
	f := newFake(t, 3, 3)
	cl := f.dial()
	var held atomic.Bool
	arrived := make(chan struct{})
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.Heartbeat && held.CompareAndSwap(false, true) {
			close(arrived)
			return late
		}
		return healthy
	})
	p, err := cl.NewProducer("g")
	require.NoError(t, err)
	<-arrived
	closed := make(chan error, 1)
	go func() { closed <- p.Close(t.Context()) }()
	select {
	case err := <-closed:
		require.NoError(t, err)
		closed <- nil
	case <-time.After(200 * time.Millisecond): // in which it would have said that it ends
	}
	close(f.later)
	require.NoError(t, <-closed)
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, 10*time.Second, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // nothing was on its way
	require.Zero(t, f.namedBy("g"))
}

// Who was told of a producer hears of its end, also if the client would tell others by then:
// the connection is still open.
func TestWhoWasToldHearsOfTheEnd(t *testing.T) {
	f := newFake(t, 3, 1)
	cl := f.dial()
	p, err := cl.NewProducer("g")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return f.namedBy("g") > 0 }, 10*time.Second, time.Millisecond)
	var first atomic.Int64
	first.Store(-1)
	f.setFault(func(n *fakeNode, req *remoting.Command) fault {
		if isSend(req) && (first.CompareAndSwap(-1, int64(n.id)) || first.Load() == int64(n.id)) {
			return silent // so that another is asked first from now on
		}
		return healthy
	})
	f.topic("t", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, _ = p.Send(ctx, &client.Message{Topic: "t", Body: []byte("x")}) // whatever becomes of it
	f.setFault(nil)
	require.NoError(t, p.Close(t.Context()))
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, 10*time.Second, time.Millisecond)
}
