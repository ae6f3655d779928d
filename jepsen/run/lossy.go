package run

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// loseReply is how many reads of a lossy connection one is lost of.
const loseReply = 50

var errLost = errors.New("the reply was thrown away, and the connection closed")

// lossy connects, and now and then throws away what came and closes the
// connection: what was asked was done, and the client is not told.
type lossy struct {
	to func(ctx context.Context, network, addr string) (net.Conn, error) // nil: there

	mu   sync.Mutex
	rng  *rand.Rand
	kept chan struct{} // closes when what came meanwhile is thrown away; nil: nothing is kept back
}

// keep keeps back all that comes from now on, until drop throws it away.
func (l *lossy) keep() (drop func()) {
	kept := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = kept
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.kept = nil
		close(kept)
	}
}

func (l *lossy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	to := l.to
	if to == nil {
		to = new(net.Dialer).DialContext
	}
	c, err := to(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return lossyConn{c, l}, nil
}

// lose decides about what came: what is kept back is lost in the end.
func (l *lossy) lose() bool {
	l.mu.Lock()
	kept, lost := l.kept, l.rng.IntN(loseReply) == 0
	l.mu.Unlock()
	if kept != nil {
		<-kept
	}
	return lost || kept != nil
}

type lossyConn struct {
	net.Conn
	l *lossy
}

func (c lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.l.lose() {
		c.Conn.Close()
		return 0, errLost
	}
	return n, err
}
