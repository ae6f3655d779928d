package run

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
)

func TestALossyConnectionLosesRepliesNotRequests(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	heard := make(chan int)
	go func() {
		defer close(heard)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n, b := 0, make([]byte, 1)
			for {
				if _, err := io.ReadFull(c, b); err != nil {
					break
				}
				n++
				c.Write(b)
			}
			c.Close()
			heard <- n
		}
	}()
	l := &lossy{rng: history.Seed(1).Stream("lossy")}
	lost := 0
	for range 20 {
		c, err := l.dial(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		asked, told := 0, 0
		for b := make([]byte, 1); asked < 10; {
			_, err := c.Write(b)
			require.NoError(t, err)
			asked++
			if _, err := c.Read(b); errors.Is(err, errLost) {
				lost++
				break
			}
			told++
		}
		c.Close()
		require.Equal(t, asked, <-heard)
	}
	require.Positive(t, lost)
	require.Less(t, lost, 20)
}
