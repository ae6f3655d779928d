package run

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

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

// What is kept back comes to nobody, neither then nor later.
func TestWhatIsKeptBackIsLost(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	l := &lossy{rng: history.Seed(1).Stream("lossy"), to: func(context.Context, string, string) (net.Conn, error) { return here, nil }}
	c, err := l.dial(t.Context(), "tcp", "")
	require.NoError(t, err)
	drop := l.keep()
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	_, err = there.Write([]byte{1}) // it has come
	require.NoError(t, err)
	select {
	case err := <-read:
		t.Fatalf("it was told: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	drop()
	require.ErrorIs(t, <-read, errLost)
	_, err = there.Write([]byte{1})
	require.ErrorIs(t, err, io.ErrClosedPipe, "the connection is closed")
}
