package remoting_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

func serveFunc(t testing.TB, f func(context.Context, *remoting.ServerConn, *remoting.Command) *remoting.Command) string {
	return start(t, &remoting.Server{Handler: remoting.HandlerFunc(f)})
}

func TestManyCallsInFlightGetTheirOwnReplies(t *testing.T) {
	c := dial(t, serveFunc(t, echo), remoting.DialOptions{})
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			req := remoting.NewRequest(remoting.GetMaxOffset, remoting.QueueHeader{Topic: "t", QueueID: int32(i)})
			req.Body = make([]byte, i*50)
			reply, err := c.Call(context.Background(), req)
			if err != nil || reply.Ext["queueId"] != req.Ext["queueId"] || len(reply.Body) != len(req.Body) {
				t.Error(i, reply, err)
			}
		})
	}
	wg.Wait()
}

func TestPanicInHandlerIsSystemErrorAndTheConnectionLives(t *testing.T) {
	c := dial(t, serveFunc(t, func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.Heartbeat {
			panic("boom")
		}
		return req.Reply(remoting.OK, "")
	}), remoting.DialOptions{})
	reply, err := c.Call(context.Background(), remoting.NewRequest(remoting.Heartbeat, nil))
	require.NoError(t, err)
	require.Equal(t, remoting.SystemError, reply.Code)
	reply, err = c.Call(context.Background(), remoting.NewRequest(remoting.GetMaxOffset, nil))
	require.NoError(t, err)
	require.Equal(t, remoting.OK, reply.Code)
}

func TestOnewayIsNeverAnswered(t *testing.T) {
	served := make(chan struct{})
	addr := serveFunc(t, func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.IsOneway() {
			close(served)
		}
		return req.Reply(remoting.OK, req.Code.String())
	})
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer nc.Close()
	one := remoting.NewOneway(remoting.UpdateConsumerOffset, nil)
	b, _ := remoting.AppendCommand(nil, one)
	nc.Write(b)
	<-served
	b, _ = remoting.AppendCommand(nil, remoting.NewRequest(remoting.GetMinOffset, nil))
	nc.Write(b)
	reply, err := remoting.ReadCommand(bufio.NewReader(nc), 0)
	require.NoError(t, err)
	require.Equal(t, "31", reply.Remark)
}

func TestHeldReplyComesLaterAndCountsUntilThen(t *testing.T) {
	held := make(chan *remoting.Command, 1)
	var conn atomic.Pointer[remoting.ServerConn]
	c := dial(t, serveFunc(t, func(_ context.Context, sc *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		conn.Store(sc)
		held <- req
		return nil
	}), remoting.DialOptions{})
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		done <- err
	}()
	req := <-held
	n, _ := conn.Load().InFlight()
	require.Equal(t, 1, n)
	require.NoError(t, conn.Load().Send(req.Reply(remoting.PullNotFound, "")))
	require.NoError(t, <-done)
	n, bytes := conn.Load().InFlight()
	require.Zero(t, n)
	require.Zero(t, bytes)
}

// A connection may have two requests in flight; the third is read when one of
// them was answered. Another connection is served meanwhile.
func TestRequestsInFlightAreBoundedPerConnection(t *testing.T) {
	began, release := make(chan struct{}, 10), make(chan struct{})
	s := &remoting.Server{MaxInFlight: 2, Handler: remoting.HandlerFunc(func(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		if req.Code == remoting.PullMessage {
			began <- struct{}{}
			<-release
		}
		return req.Reply(remoting.OK, "")
	})}
	addr := start(t, s)
	c := dial(t, addr, remoting.DialOptions{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil)) })
	}
	<-began
	<-began
	_, err := dial(t, addr, remoting.DialOptions{}).Call(context.Background(), remoting.NewRequest(remoting.Heartbeat, nil))
	require.NoError(t, err)
	require.Empty(t, began)
	release <- struct{}{}
	<-began
	close(release)
	wg.Wait()
}

func TestServerAsksItsClients(t *testing.T) {
	c := dial(t, serveFunc(t, func(ctx context.Context, sc *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		reply, err := sc.Call(ctx, remoting.NewRequest(remoting.NotifyConsumerIDsChanged, remoting.ConsumerGroupHeader{ConsumerGroup: "g"}))
		if err != nil {
			return req.Reply(remoting.SystemError, err.Error())
		}
		return req.Reply(remoting.OK, reply.Remark)
	}), remoting.DialOptions{Handler: func(_ context.Context, _ *remoting.Conn, req *remoting.Command) *remoting.Command {
		return req.Reply(remoting.OK, req.Ext["consumerGroup"])
	}})
	reply, err := c.Call(context.Background(), remoting.NewRequest(remoting.Heartbeat, nil))
	require.NoError(t, err)
	require.Equal(t, "g", reply.Remark)
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	began := make(chan struct{})
	s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		close(began)
		<-c.Draining()
		return req.Reply(remoting.PullNotFound, "")
	})}
	c := dial(t, start(t, s), remoting.DialOptions{})
	got := make(chan *remoting.Command, 1)
	go func() {
		reply, _ := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		got <- reply
	}()
	<-began
	require.NoError(t, s.Shutdown(context.Background()))
	reply := <-got
	require.NotNil(t, reply)
	require.Equal(t, remoting.PullNotFound, reply.Code)
	<-c.Done()
	_, err := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
	require.ErrorIs(t, err, remoting.ErrNotSent)
}

func TestShutdownAnswersHeldRequestsThroughItsHook(t *testing.T) {
	held := make(chan func(), 1)
	s := &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		held <- func() { c.Send(req.Reply(remoting.PullNotFound, "")) }
		return nil
	})}
	var answer func()
	s.OnDrain = func() { answer() }
	c := dial(t, start(t, s), remoting.DialOptions{})
	got := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), remoting.NewRequest(remoting.PullMessage, nil))
		got <- err
	}()
	answer = <-held
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, <-got)
}

func TestBrokenFramesAndIdlenessEndTheConnection(t *testing.T) {
	addr := start(t, &remoting.Server{Handler: remoting.HandlerFunc(echo), IdleTimeout: 50 * time.Millisecond})
	for name, b := range map[string][]byte{"serialisation": {0, 0, 0, 4, 9, 0, 0, 0}, "too long": {2, 0, 0, 0, 0, 0, 0, 0}, "idle": nil, "half a frame": {0, 0, 1}} {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err, name)
		nc.Write(b)
		_, err = nc.Read(make([]byte, 1))
		require.Error(t, err, name)
		nc.Close()
	}
}

// A peer that asks and never reads is closed; memory for it stays bounded.
func TestPeerThatDoesNotReadIsClosed(t *testing.T) {
	closed := make(chan struct{})
	s := &remoting.Server{MaxSendBytes: 1 << 20, OnClose: func(*remoting.ServerConn) { close(closed) },
		Handler: remoting.HandlerFunc(func(_ context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
			r := req.Reply(remoting.OK, "")
			r.Body = make([]byte, 512<<10)
			return r
		})}
	nc, err := net.Dial("tcp", start(t, s))
	require.NoError(t, err)
	defer nc.Close()
	b, _ := remoting.AppendCommand(nil, remoting.NewRequest(remoting.PullMessage, nil))
	for range 100 {
		if _, err := nc.Write(b); err != nil {
			break
		}
	}
	<-closed
}

// stuck is a connection whose writes wait until it is let go or closed.
type stuck struct {
	net.Conn
	writing chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func (s *stuck) Write([]byte) (int, error) {
	s.writing <- struct{}{}
	<-s.closed
	return 0, net.ErrClosed
}
func (s *stuck) Close() error { s.once.Do(func() { close(s.closed) }); return s.Conn.Close() }

func TestOutcomeOfACallOnABrokenConnection(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	nc := &stuck{Conn: a, writing: make(chan struct{}, 1), closed: make(chan struct{})}
	c := remoting.NewConn(nc, remoting.DialOptions{})
	call := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := c.Call(ctx, remoting.NewRequest(remoting.SendMessage, nil))
			done <- err
		}()
		return done
	}
	// The first is handed to the connection; the second waits behind it.
	first := call(context.Background())
	<-nc.writing
	ctx, cancel := context.WithCancel(context.Background())
	second := call(ctx)
	cancel()
	err := <-second
	require.ErrorIs(t, err, remoting.ErrNotSent)
	require.ErrorIs(t, err, context.Canceled)
	c.Close()
	require.ErrorIs(t, <-first, remoting.ErrConnLost)
	require.ErrorIs(t, <-call(context.Background()), remoting.ErrNotSent)
}

func TestDeadlineAfterSendingIsNoReply(t *testing.T) {
	began := make(chan struct{}, 1)
	c := dial(t, serveFunc(t, func(ctx context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		began <- struct{}{}
		<-ctx.Done()
		return nil
	}), remoting.DialOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	_, err := c.Call(ctx, remoting.NewRequest(remoting.SendMessage, nil))
	require.ErrorIs(t, err, remoting.ErrNoReply)
	require.False(t, errors.Is(err, remoting.ErrNotSent))
}

func TestPeerThatClosesAfterReadingIsConnLost(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		nc, _ := ln.Accept()
		io.ReadFull(nc, make([]byte, 8))
		nc.Close()
	}()
	c := dial(t, ln.Addr().String(), remoting.DialOptions{})
	_, err = c.Call(context.Background(), remoting.NewRequest(remoting.SendMessage, nil))
	require.ErrorIs(t, err, remoting.ErrConnLost)
}
