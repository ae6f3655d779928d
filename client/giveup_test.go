package client_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// What was given up while it waited is let go of, however long its queue is busy with what is
// before it: callers with little time would else fill the memory while a queue has no leader.
func TestWhatWasGivenUpIsLetGoOf(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial(), client.WithSendTimeout(time.Hour))
	begun := make(chan struct{})
	var once sync.Once
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			once.Do(func() { close(begun) })
			return silent
		}
		return healthy
	})
	ctx, cancel := context.WithCancel(bg)
	busy := make(chan error, 1)
	go func() {
		_, err := p.Send(ctx, msg("t", "busy"))
		busy <- err
	}()
	<-begun
	var kept []weak.Pointer[byte]
	giveUp := func(send func(ctx context.Context, m *client.Message) error) {
		t.Helper()
		m := msg("t", strings.Repeat("x", 1<<20))
		kept = append(kept, weak.Make(&m.Body[0]))
		ctx, cancel := context.WithCancel(bg)
		ended := make(chan error, 1)
		go func() { ended <- send(ctx, m) }()
		eventually(t, func() bool { return p.Waiting() == 2 })
		cancel()
		err := <-ended
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, client.ErrUncertain)
		require.Equal(t, 1, p.Waiting())
	}
	giveUp(func(ctx context.Context, m *client.Message) error {
		_, err := p.Send(ctx, m)
		return err
	})
	giveUp(func(ctx context.Context, m *client.Message) error {
		_, err := p.SendBatch(ctx, []*client.Message{m})
		return err
	})
	giveUp(func(ctx context.Context, m *client.Message) error {
		_, err := p.Request(ctx, m)
		return err
	})
	eventually(t, func() bool {
		runtime.GC()
		for _, b := range kept {
			if b.Value() != nil {
				return false
			}
		}
		return true
	})
	cancel()
	require.ErrorIs(t, <-busy, client.ErrUncertain)
}
