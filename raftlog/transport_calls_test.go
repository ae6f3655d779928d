package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

func echo(_ context.Context, from string, req []byte) ([]byte, error) {
	return append([]byte(from+" "), req...), nil
}

// A caller can tell answered, refused without effect, certainly not delivered, and unknown apart.
func TestCallOutcomes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		entered := make(chan struct{})
		n2.Handle(1, echo)
		n2.Handle(2, func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no") })
		n2.Handle(3, func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			entered <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		})

		resp, err := n1.Call(t.Context(), "n2", 1, []byte("hi"))
		require.NoError(t, err)
		require.Equal(t, "n1 hi", string(resp))

		_, err = n1.Call(t.Context(), "n2", 2, nil)
		var remote *raftlog.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, raftlog.RemoteError{Node: "n2", Text: "no"}, *remote)

		_, err = n1.Call(t.Context(), "n2", 9, nil)
		require.ErrorIs(t, err, raftlog.ErrRefused)

		// The deadline reaches the handler.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		go func() { <-entered }()
		_, err = n1.Call(ctx, "n2", 3, nil)
		require.Error(t, err)
		require.NotErrorIs(t, err, raftlog.ErrUnreachable)
		require.Equal(t, time.Second, time.Since(began))

		// The link is lost while the handler has it.
		go func() { <-entered; n.cuts.Cut("n1", "n2") }()
		_, err = n1.Call(t.Context(), "n2", 3, nil)
		require.ErrorIs(t, err, raftlog.ErrLinkLost)
		require.NotErrorIs(t, err, raftlog.ErrUnreachable)

		// There is no link, and none comes for a second.
		began = time.Now()
		_, err = n1.Call(t.Context(), "n2", 1, nil)
		require.ErrorIs(t, err, raftlog.ErrUnreachable)
		require.Equal(t, time.Second, time.Since(began))
		require.ErrorIs(t, n1.Notify("n2", 1, nil), raftlog.ErrUnreachable)

		// It comes while the call waits.
		go func() { time.Sleep(300 * time.Millisecond); n.cuts.HealAll() }()
		_, err = n1.Call(t.Context(), "n2", 1, nil)
		require.NoError(t, err)

		n1.Handle(1, echo)
		resp, err = n1.Call(t.Context(), "n1", 1, []byte("self"))
		require.NoError(t, err)
		require.Equal(t, "n1 self", string(resp))
	})
}

// What could not be written before the link broke was certainly not delivered.
func TestCallBehindAHangingLinkIsUnreachable(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		n2.Handle(1, echo)
		_, err := n1.Call(t.Context(), "n2", 1, nil)
		require.NoError(t, err)
		n.cuts.Hang("n1", "n2")
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := n1.Call(t.Context(), "n2", 1, nil); first <- err }()
		synctest.Wait() // the writer hangs with the first
		go func() { _, err := n1.Call(t.Context(), "n2", 1, nil); second <- err }()
		synctest.Wait()
		n.cuts.Cut("n1", "n2")
		require.ErrorIs(t, <-first, raftlog.ErrLinkLost)
		require.ErrorIs(t, <-second, raftlog.ErrUnreachable)
	})
}

// Notifications of one node are handled in order.
func TestNotificationsKeepTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		got := make(chan string, 200)
		n2.Handle(5, func(ctx context.Context, from string, msg []byte) ([]byte, error) {
			require.True(t, raftlog.IsNotice(ctx))
			got <- from + string(msg)
			return nil, nil
		})
		n2.Handle(1, func(ctx context.Context, from string, msg []byte) ([]byte, error) {
			require.False(t, raftlog.IsNotice(ctx))
			return echo(ctx, from, msg)
		})
		_, err := n1.Call(t.Context(), "n2", 1, nil)
		require.NoError(t, err)
		for i := range 200 {
			require.NoError(t, n1.Notify("n2", 5, []byte(fmt.Sprint(" ", i))))
		}
		for i := range 200 {
			require.Equal(t, fmt.Sprint("n1 ", i), <-got)
		}
	})
}

// A node that asks too much at once is refused what does not fit, and the rest is answered.
func TestCallsBeyondTheLimitAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		release := make(chan struct{})
		n2.Handle(1, func(context.Context, string, []byte) ([]byte, error) { <-release; return nil, nil })
		answers := make(chan error, 300)
		for range 300 {
			go func() { _, err := n1.Call(t.Context(), "n2", 1, nil); answers <- err }()
		}
		synctest.Wait()
		refused := len(answers)
		require.Equal(t, 300-256, refused)
		for range refused {
			require.ErrorIs(t, <-answers, raftlog.ErrRefused)
		}
		close(release)
		for range 256 {
			require.NoError(t, <-answers)
		}
	})
}

// Other protocols share the port, behind the hello.
func TestListenersShareThePort(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1, n2 := n.open(t, "n1", nil), n.open(t, "n2", nil)
		_, err := n1.Dial(t.Context(), "n2", "remoting")
		require.ErrorIs(t, err, raftlog.ErrUnreachable)
		require.ErrorContains(t, err, `nothing listens for "remoting"`)

		l := n2.Listener("remoting")
		c, err := n1.Dial(t.Context(), "n2", "remoting")
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		go func() { io.Copy(s, s); s.Close() }()
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err)
		b := make([]byte, 5)
		_, err = io.ReadFull(c, b)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))
		require.NoError(t, c.Close())

		require.NoError(t, l.Close())
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = n1.Dial(t.Context(), "n2", "remoting")
		require.ErrorContains(t, err, "nothing listens")
	})
}
