package mqtest

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/ports"
	"raftmq/message"
	"raftmq/remoting"
)

// javaFrame reads a frame of remoting's testdata/java.
func javaFrame(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "remoting", "testdata", "java", name+".hex"))
	require.NoError(t, err)
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(line))
	}
	b, err := hex.DecodeString(digits.String())
	require.NoError(t, err)
	return b
}

// rawConn is a connection on which bytes are sent as they are.
type rawConn struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(whole)))
	return &rawConn{t, c, bufio.NewReader(c)}
}

// ask sends the frame and returns its answer, in the frame's own serialisation.
// What the node asks of the client meanwhile is passed over.
func (c *rawConn) ask(name string) *remoting.Command {
	c.t.Helper()
	frame := javaFrame(c.t, name)
	_, err := c.Write(frame)
	require.NoError(c.t, err)
	for {
		reply, err := remoting.ReadCommand(c.in, 0)
		require.NoError(c.t, err, name)
		if !reply.IsReply() {
			continue
		}
		require.Equal(c.t, frame[4], reply.Serial, "%s is answered in its serialisation", name)
		return reply
	}
}

// withListen starts a cluster of one node whose listeners have known ports, so
// that those two below them are there too.
func withListen(t *testing.T) (*Cluster, int) {
	t.Helper()
	first, err := ports.InARow(23) // those of three slots
	require.NoError(t, err)
	base := first + 2
	return Start(t, 1, func(c *broker.Config) { c.Listen = base }), base
}

// The bytes that Java clients send, to a real node, and what it answers.
func TestANodeAnswersJavaClients(t *testing.T) {
	t.Parallel()
	c, base := withListen(t)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "java", Queues: 2}))

	ns := dialRaw(t, c.Nodes[0].Addresses().NameServer)
	route := ns.ask("route")
	require.Equal(t, remoting.OK, route.Code)
	require.Contains(t, string(route.Body), fmt.Sprintf(`{"brokerAddrs":{"0":"127.0.0.1:%d","1":"127.0.0.1:%d"},"brokerName":"raftmq-1"`, base+10, base+10))

	// The VIP channel is slot 1's by its port alone; to slot 0's, newer clients name
	// the broker.
	vip := dialRaw(t, fmt.Sprintf("127.0.0.1:%d", base+10-2))
	slot1 := dialRaw(t, fmt.Sprintf("127.0.0.1:%d", base+10))
	slot0 := dialRaw(t, fmt.Sprintf("127.0.0.1:%d", base))
	sent := func(conn *rawConn, name string, queue int32, offset int64) {
		t.Helper()
		reply := conn.ask(name)
		require.Equal(t, remoting.OK, reply.Code, "%s: %s", name, reply.Remark)
		require.GreaterOrEqual(t, reply.Version, int32(401))
		var r remoting.SendReply
		require.NoError(t, r.Decode(reply.Ext))
		require.Equal(t, queue, r.QueueID, name)
		require.Equal(t, offset, r.QueueOffset, name)
		require.Equal(t, "DefaultRegion", r.Region)
		require.Contains(t, reply.Ext, "TRACE_ON")
	}
	sent(vip, "send-v2-json", 0, 0)
	sent(slot0, "send-v2-binary", 0, 1)
	sent(slot0, "send-v1-binary", 0, 2)
	sent(slot0, "send-batch", 0, 3)
	sent(slot1, "send-zlib", 1, 0)
	sent(slot1, "send-lz4", 1, 1)
	sent(vip, "send-zstd", 1, 2)

	// Heartbeats of version 2: a node that does not know the subscriptions asks for
	// them, one that does keeps them.
	require.Equal(t, "true", slot1.ask("heartbeat-fingerprint").Ext["IS_SUB_CHANGE"])
	require.Equal(t, remoting.SubscriptionNotExist, slot1.ask("pull-json").Code)
	require.Equal(t, remoting.OK, slot1.ask("heartbeat-full").Code)
	reply := slot1.ask("heartbeat-fingerprint")
	require.Equal(t, remoting.OK, reply.Code)
	require.NotContains(t, reply.Ext, "IS_SUB_CHANGE")
	var list remoting.ConsumerList
	require.NoError(t, remoting.DecodeBody(slot0.ask("consumer-list").Body, &list))
	require.EqualValues(t, []string{"10.0.0.9@4711#81520113"}, list.ConsumerIDList)

	pulled := func(conn *rawConn, name string) (recs []message.Record) {
		t.Helper()
		reply := conn.ask(name)
		require.Equal(t, remoting.OK, reply.Code, "%s: %s", name, reply.Remark)
		var h remoting.PullReply
		require.NoError(t, h.Decode(reply.Ext))
		for rest := reply.Body; len(rest) > 0; {
			rec, err := message.ParseRecord(rest)
			require.NoError(t, err)
			require.NoError(t, rec.Verify())
			recs = append(recs, rec)
			rest = rest[len(rec):]
		}
		require.EqualValues(t, len(recs), h.NextBeginOffset)
		require.EqualValues(t, len(recs), h.MaxOffset)
		return recs
	}
	for _, rec := range [][]message.Record{pulled(slot1, "pull-json"), pulled(slot0, "pull-binary")} {
		var bodies []string
		for _, r := range rec {
			bodies = append(bodies, string(r.Body()))
		}
		require.Equal(t, []string{"sent by 4.9", "sent by 5.3", "sent with long names", "first of a batch", "second of a batch"}, bodies)
	}
	// Compressed bodies pass as they came, flags and all.
	for i, rec := range pulled(slot0, "pull-lite") {
		frame, err := remoting.ReadCommand(bufio.NewReader(strings.NewReader(string(javaFrame(t, []string{"send-zlib", "send-lz4", "send-zstd"}[i])))), 0)
		require.NoError(t, err)
		require.Equal(t, frame.Body, rec.Body())
		require.EqualValues(t, []int32{1 | 3<<8, 1 | 1<<8, 1 | 2<<8}[i], rec.SysFlag())
	}
	// The bundled client reads all three.
	plain := strings.Repeat("A body of Java's producer, long enough to be compressed. ", 80)
	cons, err := cl.NewConsumer("reads-java", client.WithConcurrency(1))
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("java", client.Tags("TagC")))
	run, stop := context.WithCancel(ctx)
	n := 0
	require.NoError(t, cons.Run(run, func(_ context.Context, d *client.Delivery) error {
		require.Equal(t, plain, string(d.Body))
		if n++; n == 3 {
			stop()
		}
		return nil
	}))
	require.Equal(t, 3, n)

	var lock remoting.LockReply
	require.NoError(t, remoting.DecodeBody(slot1.ask("lock").Body, &lock))
	require.Len(t, lock.LockOKMQSet, 2)
	require.Equal(t, remoting.QueryNotFound, slot1.ask("query-offset").Code)
	require.Equal(t, remoting.OK, slot0.ask("heartbeat-full").Code) // the lock's holder, on this connection too
	_, err = slot0.Write(javaFrame(t, "update-offset"))             // one-way: the next answer is that to the next question
	require.NoError(t, err)
	c.until("the offset is kept", func() bool {
		reply := slot1.ask("query-offset")
		return reply.Code == remoting.OK && reply.Ext["offset"] == "3"
	})
	require.Equal(t, remoting.OK, vip.ask("unregister").Code, "also where the client is not known")
	require.Equal(t, remoting.OK, slot0.ask("unregister").Code)
	require.Equal(t, remoting.OK, slot1.ask("unregister").Code)
	require.NotEqual(t, remoting.OK, slot1.ask("consumer-list").Code)
}
