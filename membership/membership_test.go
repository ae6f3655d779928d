package membership

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/ports"
	"raftmq/internal/vfs"
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
	timeout := time.After(time.Minute)
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
	until(t, c, "b leads", func() bool { node, term, _ := c.Leader(7, nil); return node == "b" && term == 4 })
	a.Announce([]Lead{{7, 2}})
	require.NoError(t, b.Leave(context.Background()))
	until(t, c, "b gone", func() bool { return len(c.Nodes()) == 2 })
}

// Partitions go, and their ids are never used again: who led them is forgotten.
func TestWhoLeadsNoMoreIsNoLeader(t *testing.T) {
	a, b := open(t, "a", "", 0), open(t, "b", "", 0)
	join(t, b, a)
	a.Announce([]Lead{{7, 3}, {8, 1}})
	until(t, b, "a leads", func() bool { _, _, ok := b.Leader(7, nil); return ok })
	a.Announce([]Lead{{8, 2}})
	until(t, b, "a leads again", func() bool { _, term, _ := b.Leader(8, nil); return term == 2 })
	for _, m := range []*Members{a, b} {
		_, _, ok := m.Leader(7, nil)
		require.False(t, ok)
		require.Len(t, m.leaders, 1)
	}
}

// slowDisk lets nobody open a file before it is told.
type slowDisk struct {
	vfs.FS
	asked, goes chan struct{}
}

func (d slowDisk) Open(name string) (vfs.File, error) {
	close(d.asked)
	<-d.goes
	return d.FS.Open(name)
}

// Who is heard of while the peers of the last life are read is remembered too.
func TestAPeerThatComesWhileTheLastOnesAreReadIsRemembered(t *testing.T) {
	port, err := ports.InARow(1)
	require.NoError(t, err)
	at := fmt.Sprint("127.0.0.1:", port)
	disk := slowDisk{vfs.OS{}, make(chan struct{}), make(chan struct{})}
	opened := make(chan *Members, 1)
	go func() {
		a, err := Open(Config{Self: Node{Name: "a"}, Bind: at, Cluster: "c", Dir: t.TempDir(), Disk: disk})
		if err != nil {
			t.Error(err)
		}
		opened <- a
	}()
	<-disk.asked
	b := open(t, "b", "", 0)
	for range 3 { // what is told in one is taken before the next
		_, err := b.Join([]string{at})
		require.NoError(t, err)
	}
	close(disk.goes)
	a := <-opened
	t.Cleanup(func() { a.Close() })
	a.mu.RLock()
	defer a.mu.RUnlock()
	require.Equal(t, b.Addr(), a.known["b"])
}

func join(t *testing.T, m, to *Members) {
	t.Helper()
	_, err := m.Join([]string{to.Addr()})
	require.NoError(t, err)
}

func untilSize(t *testing.T, n int, ms ...*Members) {
	t.Helper()
	for _, m := range ms {
		until(t, m, fmt.Sprintf("%d nodes", n), func() bool { return len(m.Nodes()) == n })
	}
}

func TestTwoDeadNodesOfThreeAreOut(t *testing.T) {
	a, b, c := open(t, "a", "", 0), open(t, "b", "", 0), open(t, "c", "", 0)
	join(t, b, a)
	join(t, c, a)
	untilSize(t, 3, a, b, c)
	begin := time.Now()
	require.NoError(t, b.Close())
	require.NoError(t, c.Close())
	untilSize(t, 1, a)
	t.Logf("out after %v", time.Since(begin)) // 3 s are promised
}

// A record of an earlier life carries a higher number than this life gives, since
// the clock was set back in between.
func TestARestartWithAnEarlierClockIsHeard(t *testing.T) {
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	a := open(t, "a", "", 0)
	b, err := Open(Config{Self: Node{Name: "b", Raft: "old"}, Bind: "127.0.0.1:0", Cluster: "c", Now: at(time.Hour)})
	require.NoError(t, err)
	join(t, b, a)
	until(t, a, "the first life", func() bool { n, _ := a.Node("b"); return n.Raft == "old" })
	require.NoError(t, b.Close())
	b, err = Open(Config{Self: Node{Name: "b", Raft: "new"}, Bind: "127.0.0.1:0", Cluster: "c", Now: at(0)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	untilSize(t, 1, a)
	join(t, b, a)
	until(t, a, "the second life", func() bool { n, _ := a.Node("b"); return n.Raft == "new" })
	b.Update(func(n *Node) { n.Raft = "newer" })
	until(t, a, "what it says then", func() bool { n, _ := a.Node("b"); return n.Raft == "newer" })
}

// Every node restarts and all but one come back elsewhere; nobody is told
// where to join.
func TestAllRestartAtOtherAddresses(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	names := []string{"a", "b", "c"}
	var ms []*Members
	for i, n := range names {
		ms = append(ms, open(t, n, dirs[i], 0))
		if i > 0 {
			join(t, ms[i], ms[0])
		}
	}
	untilSize(t, 3, ms...)
	_, port, err := net.SplitHostPort(ms[0].Addr())
	require.NoError(t, err)
	kept, err := strconv.Atoi(port)
	require.NoError(t, err)
	for _, m := range ms[1:] { // they have written down where a is
		<-wrote(m)
	}
	for _, m := range ms {
		require.NoError(t, m.Close())
	}
	ms = ms[:0]
	for i, n := range names {
		at := 0
		if i == 0 {
			at = kept
		}
		ms = append(ms, open(t, n, dirs[i], at))
	}
	untilSize(t, 3, ms...)
}

// wrote closes when m's file of peers names another node.
func wrote(m *Members) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
			if len(m.readPeers()) > 0 {
				return
			}
		}
	}()
	return done
}

// After a long cut memberlist has forgotten the other side, and each side has more
// than one node.
func TestTwoHalvesFindEachOtherAgain(t *testing.T) {
	c, d := open(t, "c", "", 0), open(t, "d", "", 0)
	join(t, d, c)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, peersFile), []byte("c "+c.Addr()+"\n"), 0o640))
	b := open(t, "b", "", 0)
	a := open(t, "a", dir, 0)
	join(t, a, b)
	untilSize(t, 4, a, b, c, d)
}

func TestThousandsOfLeadsAndLongDescriptionsArrive(t *testing.T) {
	a, b := open(t, "a", "", 0), open(t, "b", "", 0)
	join(t, b, a)
	untilSize(t, 2, a, b)
	leads := make([]Lead, 5000)
	for i := range leads {
		leads[i] = Lead{Partition: uint64(len(leads) - i), Term: 9}
	}
	first := leads[0]
	a.Announce(leads)
	require.Equal(t, first, leads[0], "the caller's list stays as it was")
	a.Update(func(n *Node) {
		for i := range 64 {
			n.Listeners = append(n.Listeners, fmt.Sprintf("a-host-with-a-long-name.example.net:%d", i))
		}
	})
	until(t, b, "all leads", func() bool {
		_, _, first := b.Leader(1, nil)
		_, _, last := b.Leader(5000, nil)
		n, _ := b.Node("a")
		return first && last && len(n.Listeners) == 66
	})
}

func TestAnotherClusterAndAnotherKeyAreNotHeard(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	with := func(name, cluster string, key []byte) *Members {
		m, err := Open(Config{Self: Node{Name: name}, Bind: "127.0.0.1:0", Cluster: cluster, Key: key})
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		return m
	}
	a := with("a", "one", key)
	for _, x := range []*Members{with("b", "one", nil), with("c", "one", bytes.Repeat([]byte{8}, 32)), with("d", "two", key)} {
		_, err := x.Join([]string{a.Addr()})
		require.Error(t, err)
	}
	b := with("e", "one", key)
	join(t, b, a)
	untilSize(t, 2, a, b)
}

func TestAHangingPeerDelaysNobodyAndGetsTheLatest(t *testing.T) {
	var ts tellers
	hang, started, got := make(chan struct{}), make(chan struct{}, 3), make(chan string, 3)
	slow := func(b []byte) {
		started <- struct{}{}
		<-hang
		got <- string(b)
	}
	ts.to("slow", []byte("1"), slow)
	<-started
	ts.to("slow", []byte("2"), slow)
	ts.to("slow", []byte("3"), slow)
	ts.to("quick", []byte("4"), func(b []byte) { got <- string(b) })
	require.Equal(t, "4", <-got)
	close(hang)
	ts.wait()
	require.Equal(t, "1", <-got)
	require.Equal(t, "3", <-got)
	require.Empty(t, got)
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
