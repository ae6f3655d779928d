//go:build linux

package netns

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
)

// setUp is three hosts, a, b and the clients' c, of which b has a server that sends all
// back, and tells how a connection broke.
func setUp(t *testing.T) (*Network, *link.Net, <-chan error) {
	t.Helper()
	if err := Possible(); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	links := link.New([]string{"a", "b", "c"}, func(string) *rand.Rand { return rand.New(rand.NewPCG(1, 1)) })
	n, err := New(links)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	var ln net.Listener
	require.NoError(t, n.Enter(1, func() (err error) {
		ln, err = net.Listen("tcp", "0.0.0.0:7000")
		return err
	}))
	t.Cleanup(func() { ln.Close() })
	broken := make(chan error, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := io.Copy(c, c); err != nil {
					select {
					case broken <- err:
					default:
					}
				}
				c.Close()
			}()
		}
	}()
	return n, links, broken
}

const server = "10.77.0.2:7000"

func ask(t *testing.T, c net.Conn, what string) {
	t.Helper()
	_, err := io.WriteString(c, what)
	require.NoError(t, err)
	b := make([]byte, len(what))
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, what, string(b))
}

func (n *Network) dialFrom(i int, wait time.Duration) (c net.Conn, err error) {
	err = n.Enter(i, func() (err error) {
		c, err = net.DialTimeout("tcp", server, wait)
		return err
	})
	return c, err
}

func TestHostsReachEachOtherThroughTheSwitchOnly(t *testing.T) {
	n, links, _ := setUp(t)
	c, err := n.Dial(t.Context(), 1, server)
	require.NoError(t, err)
	defer c.Close()
	ask(t, c, "hello")
	require.NotZero(t, links.Link(2, 1).Counts().Passed)
	require.Zero(t, links.Link(0, 1).Counts().Passed)
}

func TestOneWayIsCutForOneHostOfTwo(t *testing.T) {
	n, links, _ := setUp(t)
	a, err := n.dialFrom(0, time.Minute)
	require.NoError(t, err)
	defer a.Close()
	c, err := n.Dial(t.Context(), 1, server)
	require.NoError(t, err)
	defer c.Close()
	links.Link(1, 0).Set(link.Rule{Cut: true})
	_, err = io.WriteString(a, "asked")
	require.NoError(t, err)
	a.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err = a.Read(make([]byte, 9))
	require.ErrorContains(t, err, "timeout")
	ask(t, c, "others are heard")
	_, err = n.dialFrom(0, 100*time.Millisecond)
	require.ErrorContains(t, err, "timeout")
	require.NotZero(t, links.Link(1, 0).Counts().Dropped)
	links.Heal()
	a.SetReadDeadline(time.Time{})
	b := make([]byte, 5)
	_, err = io.ReadFull(a, b)
	require.NoError(t, err)
	require.Equal(t, "asked", string(b))
}

func TestABadLinkDeliversAllTheSame(t *testing.T) {
	n, links, _ := setUp(t)
	bad := link.Rule{Delay: time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.02, Duplicate: 0.05, Corrupt: 0.02}
	links.Link(2, 1).Set(bad)
	links.Link(1, 2).Set(bad)
	c, err := n.Dial(t.Context(), 1, server)
	require.NoError(t, err)
	defer c.Close()
	sent := make([]byte, 256<<10)
	for i := range sent {
		sent[i] = byte(i * i >> 3)
	}
	go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, sent, got)
	k := links.Link(2, 1).Counts()
	require.NotZero(t, k.Dropped)
	require.NotZero(t, k.Doubled)
	require.NotZero(t, k.Corrupted)
	require.NotZero(t, k.Delayed)
}

func TestConnectionsAreReset(t *testing.T) {
	n, links, broken := setUp(t)
	c, err := n.Dial(t.Context(), 1, server)
	require.NoError(t, err)
	defer c.Close()
	ask(t, c, "hello")
	links.Link(2, 1).Set(link.Rule{Reset: true})
	_, err = io.WriteString(c, "more")
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.ErrorContains(t, err, "reset")
	require.ErrorContains(t, <-broken, "reset", "at the other end too")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = n.Dial(ctx, 1, server)
	require.ErrorContains(t, err, "refused", "a SYN that is reset")
}

func TestPortsHaveClasses(t *testing.T) {
	n, links, _ := setUp(t)
	_, err := n.Via(0, []cluster.Peer{{Node: 1, Raft: server, Gossip: "10.77.0.2:7001"}})
	require.NoError(t, err)
	links.Link(0, 1).Set(link.Rule{Cut: true, Only: link.Gossip})
	c, err := n.dialFrom(0, time.Minute)
	require.NoError(t, err)
	ask(t, c, "raft passes")
	c.Close()
	links.Link(0, 1).Set(link.Rule{Cut: true, Only: link.Raft})
	_, err = n.dialFrom(0, 100*time.Millisecond)
	require.Error(t, err)
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	syn := make([]byte, ethernetHeader+40)
	syn[12], syn[13], syn[14], syn[17], syn[23] = 8, 0, 0x45, 40, protoTCP
	syn[ethernetHeader+20+1], syn[ethernetHeader+20+3], syn[ethernetHeader+20+12], syn[ethernetHeader+20+13] = 1, 2, 5<<4, flagSYN
	f.Add(syn)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := parse(b)
		back, on, ok := p.resets(b)
		if ok && (len(back) != len(on) || parse(back).src != p.dst || parse(on).dst != p.dst) {
			t.Fatal(p)
		}
	})
}
