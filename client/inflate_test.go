package client_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// What a pull's messages are inflated to is bounded: those that would be more are pulled again,
// and none is left out.
func TestAPullHoldsSoManyBytesInflated(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	const messages, size = 40, 4 << 20
	body := make([]byte, size)
	p := producer(t, c, client.WithCompression(client.Zstd, 1))
	for range messages {
		require.NoError(t, p.SendAsync(bg, &client.Message{Topic: "t", Body: body}, func(_ client.Receipt, err error) { require.NoError(t, err) }))
	}
	require.NoError(t, p.Flush(bg))
	var pulls atomic.Int64
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.PullMessage {
			pulls.Add(1)
		}
		return healthy
	})
	r, err := c.NewReader("t")
	require.NoError(t, err)
	next := int64(0)
	for d, err := range r.UntilEnd(bg) {
		require.NoError(t, err)
		require.NoError(t, d.BodyErr)
		require.Equal(t, next, d.Offset)
		require.Len(t, d.Body, size)
		next++
	}
	require.EqualValues(t, messages, next)
	require.GreaterOrEqual(t, pulls.Load(), int64(messages*size>>25), "a pull gives 32 MiB")
}
