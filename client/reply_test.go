package client_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// slowly writes nothing long before it may.
type slowly struct {
	net.Conn
	writes chan<- struct{}
	may    <-chan struct{}
}

func (s slowly) Write(b []byte) (int, error) {
	if len(b) >= 1<<16 {
		s.writes <- struct{}{}
		<-s.may
	}
	return s.Conn.Write(b)
}

// Who was told that a reply may have come has its message back: what is still written is as it was.
func TestAReplyThatIsStillWrittenIsAsItWasGiven(t *testing.T) {
	f := newFake(t, 1, 1)
	came := make(chan string, 1)
	f.answer = func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.SendReplyMessageV2 {
			select {
			case came <- string(req.Body):
			default:
			}
			return req.Reply(remoting.OK, "")
		}
		return nil
	}
	writes, may := make(chan struct{}, 1), make(chan struct{})
	c := f.dial(client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return slowly{nc, writes, may}, err
	}))
	ctx, cancel := context.WithCancel(bg)
	m := msg("", strings.Repeat("a", 1<<17))
	d := &client.Delivery{Message: client.Message{Properties: map[string]string{message.PropReplyTo: "x", message.PropCorrelation: "1", message.PropCluster: "c"}}}
	ended := make(chan error, 1)
	go func() { ended <- c.Reply(ctx, d, m) }()
	<-writes
	cancel()
	require.ErrorIs(t, <-ended, client.ErrUncertain)
	copy(m.Body, strings.Repeat("b", len(m.Body)))
	close(may)
	require.True(t, strings.Repeat("a", 1<<17) == <-came, "it has what was written into the body later")
}
