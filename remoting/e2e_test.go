package remoting_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// start serves h on loopback until the test ends.
func start(t testing.TB, s *remoting.Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		require.ErrorIs(t, <-done, remoting.ErrServerClosed)
	})
	return ln.Addr().String()
}

func dial(t testing.TB, addr string, o remoting.DialOptions) *remoting.Conn {
	t.Helper()
	c, err := remoting.Dial(context.Background(), addr, o)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func echo(_ context.Context, _ *remoting.ServerConn, req *remoting.Command) *remoting.Command {
	r := req.Reply(remoting.OK, req.Remark)
	r.Ext, r.Body = req.Ext, req.Body
	return r
}

func TestReplyTravelsInTheSerialisationOfItsRequest(t *testing.T) {
	addr := start(t, &remoting.Server{Handler: remoting.HandlerFunc(echo)})
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		c := dial(t, addr, remoting.DialOptions{Serial: serial})
		req := remoting.NewRequest(remoting.SendMessageV2, remoting.SendHeader{ProducerGroup: "p", Topic: "t", Properties: "a\x01b\x02"})
		req.Body = make([]byte, 100_000)
		req.Body[99_999] = 7
		reply, err := c.Call(context.Background(), req)
		require.NoError(t, err)
		require.Equal(t, serial, reply.Serial)
		require.Equal(t, req.Ext, reply.Ext)
		require.Equal(t, req.Body, reply.Body)
	}
}
