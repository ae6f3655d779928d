package membership

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, name, dir string, port int) *Members {
	t.Helper()
	m, err := Open(Config{Self: Node{Name: name, Incarnation: 1, Raft: name + ":1", Listeners: []string{"a:1", "a:2"}}, Bind: fmt.Sprintf("127.0.0.1:%d", port), Cluster: "c", Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func until(t *testing.T, m *Members, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		changed := m.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatal("never: " + what)
		}
	}
}

func TestNodesFindEachOtherAndTheHighestTermLeads(t *testing.T) {
	a, b, c := open(t, "a", "", 0), open(t, "b", "", 0), open(t, "c", "", 0)
	for _, m := range []*Members{b, c} {
		n, err := m.Join([]string{a.Addr()})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	for _, m := range []*Members{a, b, c} {
		until(t, m, "three nodes", func() bool { return len(m.Nodes()) == 3 })
	}
	n, ok := c.Node("b")
	require.True(t, ok)
	require.Equal(t, "b:1", n.Raft)
	a.Announce([]Lead{{7, 3}})
	b.Announce([]Lead{{7, 4}, {8, 1}})
	until(t, c, "b leads", func() bool { node, term, _ := c.Leader(7); return node == "b" && term == 4 })
	a.Announce([]Lead{{7, 2}})
	require.NoError(t, b.Leave(context.Background()))
	until(t, c, "b gone", func() bool { return len(c.Nodes()) == 2 })
}

func TestADeadNodeIsOutAndComesBackElsewhere(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, "a", "", 0), open(t, "b", dir, 0)
	_, err := b.Join([]string{a.Addr()})
	require.NoError(t, err)
	until(t, b, "two nodes", func() bool { return len(b.Nodes()) == 2 })
	until(t, a, "two nodes", func() bool { return len(a.Nodes()) == 2 })
	require.NoError(t, b.Close())
	until(t, a, "b dead", func() bool { return len(a.Nodes()) == 1 })
	b = open(t, "b", dir, 0) // another port; it knows where a was
	until(t, a, "b back", func() bool { return len(a.Nodes()) == 2 })
}
