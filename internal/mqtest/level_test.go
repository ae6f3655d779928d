package mqtest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// A cluster whose nodes are upgraded one by one serves meanwhile, and uses what is new when
// the last has come to it. From then on an older program is refused: at its start, by the
// others, and where it asks to be replaced.
func TestAClusterUsesWhatAllItsNodesKnow(t *testing.T) {
	t.Parallel()
	c := startAt(t, 3, 1)
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	sent := 0
	send := func() fields {
		t.Helper()
		w := DialWire(t, c.listener(0, 0), remoting.Binary)
		named := with(sendShort("t", 0), "pid", "0123456789abcdef0123456789abcdef", "pep", "0", "seq", strconv.Itoa(sent))
		off := num(t, w.sure(remoting.SendMessageV2, named, []byte("x")), "queueOffset")
		sent++
		given := Records(t, w.OK(remoting.PullMessage, pullOf("t", 0, off), nil).Body)
		require.Len(t, given, 1)
		return fields{"group": "g", "offset": strconv.FormatInt(given[0].PhysicalOffset(), 10), "delayLevel": "5", "rmq": "1", "delivery": "00000000000000a7"}
	}
	again := func(of fields) string {
		t.Helper()
		w := DialWire(t, c.listener(0, 0), remoting.Binary)
		w.sure(remoting.ConsumerSendMessageBack, of, nil)
		return w.sure(remoting.ConsumerSendMessageBack, of, nil).Ext["dup"]
	}
	for i := range c.Nodes {
		if i == 2 { // the last: those that know more get to lead the catalogue, and look again
			c.Stop(i)
			c.Run(i)
			c.Await(i)
			time.Sleep(1500 * time.Millisecond)
		}
		require.True(t, c.atLevel(1))
		require.Empty(t, again(send()), "an older node would not understand")
		c.Stop(i)
		c.Levels[i] = 0
		c.Run(i)
		c.Await(i)
	}
	c.until("all know that all have come", func() bool { return c.atLevel(broker.Level) })
	require.Equal(t, "1", again(send()))

	old := 2
	c.Levels[old] = 1
	c.Stop(old)
	err := c.open(old)
	require.ErrorIs(t, err, broker.ErrTooOld)
	require.ErrorContains(t, err, "it knows feature level 1 and the cluster has come to 2: start the node with the version that the others have")
	require.Equal(t, "1", again(send()), "the others go on")

	require.NoError(t, os.RemoveAll(c.dirs[old]))
	c.Run(old)
	c.until("the node says why it is not replaced", func() bool {
		_, reason := c.Nodes[old].Ready()
		return strings.Contains(reason, "its program is too old for this cluster: it knows feature level 1, and the cluster has come to 2")
	})
	c.Stop(old)
	require.NoError(t, os.RemoveAll(c.dirs[old]))
	c.Levels[old] = 0
	c.Run(old)
	c.Await(old)
	require.True(t, c.atLevel(broker.Level))
}

// A node whose program is too old and that does not know it yet is told by the others, and ends.
func TestATooOldNodeIsToldByTheOthers(t *testing.T) {
	t.Parallel()
	c := startAt(t, 3, 1)
	const old = 2
	c.Stop(old)
	before := t.TempDir()
	require.NoError(t, os.CopyFS(before, os.DirFS(c.dirs[old])))
	for i := range c.Nodes {
		if c.Nodes[i] != nil {
			c.Stop(i)
		}
		c.Levels[i] = 0
	}
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	c.until("all have come", func() bool { return c.atLevel(broker.Level) })
	c.Stop(old)
	require.ErrorContains(t, c.hello(old, 1), "its program is too old for this cluster")
	require.NoError(t, c.hello(old, broker.Level))
	c.dirs[old] = before // as if it had not been told
	c.Levels[old] = 1
	c.Run(old)
	ctx, cancel := context.WithTimeout(t.Context(), whole)
	defer cancel()
	select {
	case err := <-c.Nodes[old].Failed():
		require.ErrorIs(t, err, broker.ErrTooOld)
	case <-ctx.Done():
		t.Fatal("it serves")
	}
	for _, b := range c.Nodes[:old] {
		c.until("the others are ready", func() bool { ok, _ := b.Ready(); return ok })
	}
}

// hello is what node 0 answers to the hello of a node that is stopped and knows a level.
func (c *Cluster) hello(as int, level uint64) error {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dirs[as], "node.json"))
	require.NoError(c.t, err)
	var id struct{ Incarnation, Folder uint64 }
	require.NoError(c.t, json.Unmarshal(b, &id))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(c.t, err)
	tr, err := raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: c.Name, Node: c.names[as], Incarnation: id.Incarnation, Folder: id.Folder, Level: level, Listener: ln, Logger: hclog.NewNullLogger(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", c.Nodes[0].Addresses().Raft)
		},
	})
	require.NoError(c.t, err)
	defer tr.Close()
	_, err = tr.Call(c.t.Context(), c.names[0], 200, nil)
	if errors.Is(err, raftlog.ErrHello) {
		return err
	}
	return nil
}
