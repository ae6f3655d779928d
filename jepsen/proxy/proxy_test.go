package proxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/link"
)

func setUp(t *testing.T) (*Proxy, *link.Net) {
	t.Helper()
	n := link.New([]string{"a", "b"}, func(string) *rand.Rand { return rand.New(rand.NewPCG(1, 1)) })
	p := New(n)
	t.Cleanup(func() { p.Close() })
	return p, n
}

// echo answers each connection with what it sends, and each datagram.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close(); pc.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return ln.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(t *testing.T, c net.Conn, what string) string {
	t.Helper()
	_, err := io.WriteString(c, what)
	require.NoError(t, err)
	b := make([]byte, len(what))
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b)
}

// silent says that nothing comes.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	require.ErrorContains(t, err, "timeout")
	c.SetReadDeadline(time.Time{})
}

func TestAStreamIsHeldWhileItsWayIsCut(t *testing.T) {
	p, n := setUp(t)
	at, err := p.TCP(0, 1, echo(t), "")
	require.NoError(t, err)
	c := dial(t, at)
	require.Equal(t, "hello", ask(t, c, "hello"))
	for _, l := range []*link.Link{n.Link(0, 1), n.Link(1, 0)} {
		l.Set(link.Rule{Cut: true})
		_, err = io.WriteString(c, "held")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return l.Counts().Dropped > 0 }, time.Minute, time.Millisecond)
		silent(t, c)
		l.Set(link.Rule{})
		b := make([]byte, 4)
		_, err = io.ReadFull(c, b)
		require.NoError(t, err)
		require.Equal(t, "held", string(b))
	}
	n.Link(1, 0).Set(link.Rule{Cut: true})
	late := dial(t, at)
	_, err = io.WriteString(late, "late")
	require.NoError(t, err)
	silent(t, late)
	n.Heal()
	b := make([]byte, 4)
	_, err = io.ReadFull(late, b)
	require.NoError(t, err, "a connection is made when there is a way")
}

func TestMuchPassesInOrderThroughABadLink(t *testing.T) {
	p, n := setUp(t)
	n.Link(0, 1).Set(link.Rule{Jitter: time.Millisecond})
	n.Link(1, 0).Set(link.Rule{Jitter: time.Millisecond})
	at, err := p.TCP(0, 1, echo(t), "")
	require.NoError(t, err)
	c := dial(t, at)
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 3)
	}
	go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, got))
}

func TestConnectionsAreReset(t *testing.T) {
	p, n := setUp(t)
	at, err := p.TCP(0, 1, echo(t), "")
	require.NoError(t, err)
	c := dial(t, at)
	ask(t, c, "x")
	n.Link(1, 0).Set(link.Rule{Reset: true})
	_, err = c.Read(make([]byte, 1))
	require.ErrorContains(t, err, "reset")
	c, err = net.Dial("tcp", at)
	if err == nil { // else the reset was there before the dialler looked
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	require.Error(t, err, "and so are those that come")
	n.Heal()
	require.Equal(t, "again", ask(t, dial(t, at), "again"))
}

func TestWhoIsNotThereResets(t *testing.T) {
	p, _ := setUp(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln.Close()
	at, err := p.TCP(0, 1, ln.Addr().String(), "")
	require.NoError(t, err)
	c, err := net.Dial("tcp", at)
	if err == nil { // before the reset
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	require.ErrorContains(t, err, "reset")
	_, err = p.Dial(t.Context(), 0, 1, ln.Addr().String())
	require.ErrorContains(t, err, "refused")
}

func TestDial(t *testing.T) {
	p, n := setUp(t)
	at := echo(t)
	c, err := p.Dial(t.Context(), 0, 1, at)
	require.NoError(t, err)
	require.Equal(t, "hello", ask(t, c, "hello"))
	n.Link(0, 1).Set(link.Rule{Cut: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = p.Dial(ctx, 0, 1, at)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	n.Heal()
	require.Equal(t, "again", ask(t, c, "again"))
	require.NoError(t, c.Close())
}

func TestDatagrams(t *testing.T) {
	p, n := setUp(t)
	to, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer to.Close()
	at, err := p.Both(0, 1, to.LocalAddr().String(), link.Gossip)
	require.NoError(t, err)
	c, err := net.Dial("udp", at)
	require.NoError(t, err)
	defer c.Close()
	got := func(want int) (all []string) { // so many must come; then nothing does
		for b := make([]byte, 100); ; {
			wait := time.Minute
			if len(all) >= want {
				wait = 50 * time.Millisecond
			}
			to.SetReadDeadline(time.Now().Add(wait))
			n, _, err := to.ReadFrom(b)
			if err != nil {
				return all
			}
			all = append(all, string(b[:n]))
		}
	}
	send := func(s string) { _, err := io.WriteString(c, s); require.NoError(t, err) }
	send("plain")
	require.Equal(t, []string{"plain"}, got(1))
	n.Link(0, 1).Set(link.Rule{Duplicate: 1, Delay: time.Millisecond})
	send("twice")
	require.Equal(t, []string{"twice", "twice"}, got(2))
	n.Link(0, 1).Set(link.Rule{Corrupt: 1})
	send("wrong")
	wrong := got(1)
	require.Len(t, wrong, 1)
	require.NotEqual(t, "wrong", wrong[0])
	n.Link(0, 1).Set(link.Rule{Cut: true, Only: link.Gossip})
	dropped := n.Link(0, 1).Counts().Dropped
	send("lost")
	require.Eventually(t, func() bool { return n.Link(0, 1).Counts().Dropped > dropped }, time.Minute, time.Millisecond)
	require.Empty(t, got(0))
}
