package sim

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/history"
	"raftmq/jepsen/link"
)

// joined are two hosts, and a connection from the first to the second.
func joined(t *testing.T) (links *link.Net, a, b *Host, near, far net.Conn) {
	t.Helper()
	links = link.New([]string{"a", "b", "clients"}, history.Seed(1).Stream)
	n := NewNetwork(links, 1)
	a, b = n.Host(0), n.Host(1)
	ln, err := b.Listen(address(1) + ":0")
	require.NoError(t, err)
	near, err = a.Dial(t.Context(), ln.Addr().String())
	require.NoError(t, err)
	far, err = ln.Accept()
	require.NoError(t, err)
	return links, a, b, near, far
}

func TestAStreamKeepsItsOrderAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, _, _, near, far := joined(t)
		links.Link(0, 1).Set(link.Rule{Jitter: time.Second})
		var sent []byte
		for i := range 200 {
			b := []byte{byte(i), byte(i >> 1)}
			sent = append(sent, b...)
			_, err := near.Write(b)
			require.NoError(t, err)
			b[0] = 99 // it is the caller's again
		}
		require.NoError(t, near.Close())
		began := time.Now()
		got, err := io.ReadAll(far)
		require.NoError(t, err)
		require.Equal(t, sent, got)
		require.NotZero(t, time.Since(began))
		require.Equal(t, near.LocalAddr(), far.RemoteAddr())
		_, err = near.Read(got)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestACutHoldsAndHealingDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, a, _, near, far := joined(t)
		links.Link(0, 1).Set(link.Rule{Cut: true})
		_, err := near.Write([]byte("held"))
		require.NoError(t, err)
		require.NoError(t, far.SetReadDeadline(time.Now().Add(time.Minute)))
		b := make([]byte, 10)
		_, err = far.Read(b)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = far.Write([]byte("back"))
		require.NoError(t, err)
		n, err := near.Read(b)
		require.NoError(t, err)
		require.Equal(t, "back", string(b[:n]), "the other way is well")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.Dial(ctx, far.LocalAddr().String())
		require.ErrorIs(t, err, context.DeadlineExceeded, "a handshake needs both ways")
		require.NotZero(t, links.Link(0, 1).Counts().Struck())

		require.NoError(t, far.SetReadDeadline(time.Time{}))
		time.AfterFunc(time.Hour, links.Heal)
		began := time.Now()
		n, err = far.Read(b)
		require.NoError(t, err)
		require.Equal(t, "held", string(b[:n]))
		require.GreaterOrEqual(t, time.Since(began), time.Hour-time.Minute)
	})
}

func TestAResetBreaksBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, a, _, near, far := joined(t)
		time.AfterFunc(time.Second, func() {
			links.Link(0, 1).Set(link.Rule{Reset: true})
			links.Link(1, 0).Set(link.Rule{Reset: true})
		})
		b := make([]byte, 10)
		for _, c := range []net.Conn{near, far} {
			_, err := c.Read(b)
			require.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = c.Write(b)
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}
		_, err := a.Dial(t.Context(), far.LocalAddr().String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestTheEndOfAHostIsSeenByItsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, h, near, far := joined(t)
		_, err := far.Write([]byte("last words"))
		require.NoError(t, err)
		h.End()
		b := make([]byte, 20)
		n, err := near.Read(b)
		require.NoError(t, err)
		require.Equal(t, "last words", string(b[:n]))
		_, err = near.Read(b)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = far.Write(b)
		require.ErrorIs(t, err, net.ErrClosed, "what is left of it sends nothing")
		_, err = h.Dial(t.Context(), near.LocalAddr().String())
		require.Error(t, err)
		_, err = h.Listen(far.LocalAddr().String())
		require.Error(t, err)
		_, err = a.Dial(t.Context(), far.LocalAddr().String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		next := h.n.Host(1)
		ln, err := next.Listen(far.LocalAddr().String())
		require.NoError(t, err, "its next life has the address")
		_, err = a.Dial(t.Context(), ln.Addr().String())
		require.NoError(t, err)
	})
}

func TestPacketsComeLateOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links, a, b, _, _ := joined(t)
		from, err := a.ListenPacket(address(0) + ":7")
		require.NoError(t, err)
		to, err := b.ListenPacket(address(1) + ":7")
		require.NoError(t, err)
		links.Link(0, 1).Set(link.Rule{Cut: true})
		_, err = from.WriteTo([]byte("lost"), to.LocalAddr())
		require.NoError(t, err)
		links.Link(0, 1).Set(link.Rule{Delay: time.Second})
		began := time.Now()
		_, err = from.WriteTo([]byte("late"), to.LocalAddr())
		require.NoError(t, err)
		buf := make([]byte, 10)
		n, addr, err := to.ReadFrom(buf)
		require.NoError(t, err)
		require.Equal(t, "late", string(buf[:n]))
		require.Equal(t, from.LocalAddr(), addr)
		require.Greater(t, time.Since(began), time.Second)
		b.End()
		_, _, err = to.ReadFrom(buf)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
