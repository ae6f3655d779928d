package remoting_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// timed is a connection that notes the most bytes which are written before one deadline.
type timed struct {
	net.Conn
	mu          sync.Mutex
	since, most int
}

func (c *timed) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	c.since = 0
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(at)
}

func (c *timed) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.since += len(b)
	c.most = max(c.most, c.since)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// A long frame has as much time as short ones that are as long together: a peer at a slow line would
// never have it.
func TestALongFrameHasItsTime(t *testing.T) {
	addr := start(t, &remoting.Server{Handler: remoting.HandlerFunc(echo)})
	var nc *timed
	c := dial(t, addr, remoting.DialOptions{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed, err := new(net.Dialer).DialContext(ctx, network, addr)
		nc = &timed{Conn: dialed}
		return nc, err
	}})
	for _, bytes := range []int{0, 1 << 10, 255 << 10, 256 << 10, 4<<20 - 1} {
		reply, err := c.Call(context.Background(), sized(remoting.SendMessage, bytes))
		require.NoError(t, err)
		require.Len(t, reply.Body, bytes)
	}
	nc.mu.Lock()
	defer nc.mu.Unlock()
	require.LessOrEqual(t, nc.most, 256<<10)
}
