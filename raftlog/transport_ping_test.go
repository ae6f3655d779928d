package raftlog_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// A node that stops answering is down after Silence, whichever way hangs, and up with its first answer.
func TestSilenceIsDown(t *testing.T) {
	for _, dir := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
		t.Run(dir[0]+" to "+dir[1], func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodeNet) {
				n1 := n.open(t, "n1", nil)
				n.open(t, "n2", nil)
				v := watchOf(n1)
				n1.SetPeers([]string{"n1", "n2"})
				require.Equal(t, "n2 true", v.next(t))
				require.True(t, n1.Alive("n2"))
				time.Sleep(time.Minute)
				v.none(t)

				n.cuts.Hang(dir[0], dir[1])
				began := time.Now()
				require.Equal(t, "n2 false", v.next(t))
				require.InDelta(t, 325*time.Millisecond, time.Since(began), float64(50*time.Millisecond))
				require.False(t, n1.Alive("n2"))
				time.Sleep(time.Minute)
				v.none(t)

				n.cuts.HealAll()
				began = time.Now()
				require.Equal(t, "n2 true", v.next(t))
				require.Less(t, time.Since(began), 1300*time.Millisecond)
				require.True(t, n1.Alive("n2"))
			})
		})
	}
}

// A node whose connection breaks and whose port refuses is down at once, without waiting for silence.
func TestRefusedRedialIsDownAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1 := n.open(t, "n1", func(c *raftlog.TransportConfig) { c.Silence = time.Hour })
		n2 := n.open(t, "n2", nil)
		v := watchOf(n1)
		n1.SetPeers([]string{"n2"})
		require.Equal(t, "n2 true", v.next(t))
		for range 3 {
			began := time.Now()
			require.NoError(t, n2.Close())
			require.Equal(t, "n2 false", v.next(t))
			require.Zero(t, time.Since(began))
			n2 = n.open(t, "n2", nil)
			require.Equal(t, "n2 true", v.next(t))
			require.Less(t, time.Since(began), 300*time.Millisecond)
		}
	})
}

// A node that is called before it is one of SetPeers, as one that gossip has lost and Raft has not, is up as soon as it is one.
func TestALinkMadeBeforeItsPeerIsNamedIsUp(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1 := n.open(t, "n1", nil)
		serveGroup(t, n.open(t, "n2", nil).Group(1), accept)
		v := watchOf(n1)
		n1.SetPeers([]string{"n2"})
		require.Equal(t, "n2 true", v.next(t))
		n1.SetPeers(nil)
		require.False(t, n1.Alive("n2"))
		require.NoError(t, n1.Group(1).AppendEntries("n2.1", "n2.1", appendOf(0, 0, 0), new(raft.AppendEntriesResponse)))
		n1.SetPeers([]string{"n2"})
		require.Equal(t, "n2 true", v.next(t))
		require.True(t, n1.Alive("n2"))
	})
}

// A connection that breaks while the node is well changes nothing.
func TestBrokenConnectionOfALiveNodeIsNotDown(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1 := n.open(t, "n1", nil)
		n.open(t, "n2", nil)
		v := watchOf(n1)
		n1.SetPeers([]string{"n2"})
		require.Equal(t, "n2 true", v.next(t))
		dials := n1.Stats().Dials
		n.cuts.Break("n1", "n2")
		time.Sleep(time.Second)
		v.none(t)
		require.Equal(t, dials+1, n1.Stats().Dials)
	})
}

// A node that is never there is reported down once, and nodes no longer named are left alone.
func TestVerdictsAreForNamedPeersOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n1 := n.open(t, "n1", nil)
		n.open(t, "n2", nil)
		v := watchOf(n1)
		n1.SetPeers([]string{"n2", "n3"})
		first, second := v.next(t), v.next(t)
		require.ElementsMatch(t, []string{"n2 true", "n3 false"}, []string{first, second})
		n1.SetPeers(nil)
		synctest.Wait()
		require.False(t, n1.Alive("n2"))
		require.Zero(t, n1.Stats().Connections)
		dials := n1.Stats().Dials
		time.Sleep(time.Minute)
		v.none(t)
		require.Equal(t, dials, n1.Stats().Dials)
		n1.SetPeers([]string{"n2"})
		require.Equal(t, "n2 true", v.next(t))
	})
}
