package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
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
		if slices.Contains(groups, group) {
			n++
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
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, patience, time.Millisecond)
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
	require.Eventually(t, func() bool { return f.namedBy("g") > 0 }, patience, time.Millisecond)
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
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, patience, time.Millisecond)
}

// A node that took a heartbeat whose answer was lost was told too, and hears of the end.
func TestWhoMayHaveBeenToldHearsOfTheEnd(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 1)
	var first atomic.Int64
	first.Store(-1)
	f.setFault(func(n *fakeNode, req *remoting.Command) fault {
		if (isSend(req) || req.Code == remoting.Heartbeat) && (first.CompareAndSwap(-1, int64(n.id)) || first.Load() == int64(n.id)) {
			return silent
		}
		return healthy
	})
	cl := f.dial()
	p, err := cl.NewProducer("g")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return f.namedBy("g") > 0 }, patience, time.Millisecond)
	_, err = p.Send(t.Context(), msg("t", "x")) // after a while by another node, which is asked first from then on
	require.NoError(t, err)
	require.NoError(t, p.Close(t.Context()))
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, patience, time.Millisecond)
}

// Nodes forget a group by name: it is named to them for as long as the client has a
// producer of it.
func TestTheEndOfAProducerIsNotThatOfItsGroup(t *testing.T) {
	f := newFake(t, 3, 1)
	cl := f.dial()
	one, err := cl.NewProducer("g")
	require.NoError(t, err)
	other, err := cl.NewProducer("g")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return f.namedBy("g") == 1 }, patience, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // all that is to be told is
	require.NoError(t, one.Close(t.Context()))
	require.Equal(t, 1, f.namedBy("g"))
	require.NoError(t, other.Close(t.Context()))
	require.Eventually(t, func() bool { return f.namedBy("g") == 0 }, patience, time.Millisecond)
}

// A node that hangs up on everybody, as one does that has too many connections, is not
// called without a pause.
func TestWhoHangsUpIsNotCalledAllTheTime(t *testing.T) {
	f := newFake(t, 1, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var calls atomic.Int64
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			nc.Close()
		}
	}()
	f.nodes[0].ports[0] = ln.Addr().String()
	_, err = f.dial().NewProducer("g")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return calls.Load() > 0 }, patience, time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	require.Less(t, calls.Load(), int64(30))
}

// A node that hangs holds up no request: others know the client.
func TestARequestWaitsForNoNodeThatHangs(t *testing.T) {
	inARound(t, func() string {
		f := newFake(t, 1, 3)
		f.topic("t", 1)
		cl := f.dial()
		var hung atomic.Bool
		f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
			if req.Code == remoting.Heartbeat && hung.CompareAndSwap(false, true) {
				return silent
			}
			return healthy
		})
		p, err := cl.NewProducer("g")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.Request(ctx, msg("t", "x"))
		if !errors.Is(err, client.ErrNoReply) || !slices.Equal(f.bodies("t"), []string{"x"}) {
			return fmt.Sprintf("%v, %v is stored", err, f.bodies("t"))
		}
		return ""
	})
}

// A producer's end is told for so long, however many nodes do not answer.
func TestTheEndIsToldForSoLong(t *testing.T) {
	inARound(t, func() string {
		f := newFake(t, 3, 3)
		cl := f.dial()
		p, err := cl.NewProducer("g")
		require.NoError(t, err)
		eventually(t, func() bool { return f.namedBy("g") > 0 })
		f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
			if req.Code == remoting.UnregisterClient {
				return silent
			}
			return healthy
		})
		begun := time.Now()
		require.NoError(t, p.Close(t.Context()))
		return tooLong(time.Since(begun), 4*time.Second)
	})
}

// However many producers a client has, it is closed soon after its time is over.
func TestAClientWithManyProducersIsClosedInTime(t *testing.T) {
	inARound(t, func() string {
		f := newFake(t, 3, 1)
		cl := f.dial()
		for i := range 10 {
			_, err := cl.NewProducer(fmt.Sprint("g", i))
			require.NoError(t, err)
		}
		eventually(t, func() bool { return f.namedBy("g9") > 0 })
		f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
			if req.Code == remoting.UnregisterClient {
				return silent
			}
			return healthy
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		begun := time.Now()
		_ = cl.Close(ctx) // of a producer that could not be flushed in time or not
		return tooLong(time.Since(begun), 10*time.Second)
	})
}

// frozen is a connection on which nothing comes through any more, in either direction, though
// nobody says so.
type frozen struct {
	net.Conn
	now <-chan struct{}
}

func (c frozen) Write(b []byte) (int, error) {
	select {
	case <-c.now:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func (c frozen) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.now:
		if err == nil {
			return c.Read(b)
		}
	default:
	}
	return n, err
}

// A connection that is dead, though the network does not say so, is replaced.
func TestADeadConnectionIsReplaced(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	freeze := make(chan struct{})
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		select {
		case <-freeze:
			return nc, nil
		default:
			return frozen{nc, freeze}, nil
		}
	}
	p := producer(t, f.dial(client.WithDialer(dial)), client.WithSendTimeout(time.Minute))
	_, err := p.Send(bg, msg("t", "before"))
	require.NoError(t, err)
	close(freeze)
	_, err = p.Send(bg, msg("t", "after"))
	require.NoError(t, err)
	require.Equal(t, []string{"after", "before"}, f.bodies("t"))
}
