package remoting_test

import (
	"bufio"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// gate lets requests through when all have come.
type gate struct {
	left atomic.Int32
	open chan struct{}
}

// What a connection needed for many requests at once it lets go of when they are answered.
func TestAConnectionKeepsNothingOfABurst(t *testing.T) {
	const conns, burst = 40, 3000
	body := make([]byte, 1<<10)
	addr := start(t, &remoting.Server{Handler: remoting.HandlerFunc(func(_ context.Context, c *remoting.ServerConn, req *remoting.Command) *remoting.Command {
		fresh := &gate{open: make(chan struct{})}
		fresh.left.Store(burst)
		g := c.GetOrSet("gate", fresh).(*gate)
		if g.left.Add(-1) == 0 {
			close(g.open)
		}
		<-g.open
		r := req.Reply(remoting.OK, "")
		r.Body = body
		return r
	})})
	var asks []byte
	for i := range burst {
		req := remoting.NewRequest(remoting.GetMaxOffset, nil)
		req.Opaque = int32(i)
		var err error
		asks, err = remoting.AppendCommand(asks, req)
		require.NoError(t, err)
	}
	before := heap()
	for range conns {
		nc := rawDial(t, addr)
		_, err := nc.Write(asks)
		require.NoError(t, err)
		in := bufio.NewReader(nc)
		for range burst {
			_, err := remoting.ReadCommand(in, 0)
			require.NoError(t, err)
		}
	}
	require.Eventually(t, func() bool { return heap()-before < conns*64<<10 }, 30*time.Second, 10*time.Millisecond)
}
