package mqtest

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// wire is a connection that speaks raw remoting: it sends what it is told to and
// shows what comes back.
type wire struct {
	t      testing.TB
	nc     net.Conn
	in     *bufio.Reader
	serial byte
	opaque int32
	early  map[int32]*remoting.Command // replies that came while another was waited for
	pushed []*remoting.Command         // what the node asked
}

func dialWire(t testing.TB, addr string, serial byte) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &wire{t: t, nc: nc, in: bufio.NewReader(nc), serial: serial, early: make(map[int32]*remoting.Command)}
}

type fields = map[string]string

// send writes a request and returns its opaque.
func (w *wire) send(code remoting.Code, ext fields, body []byte) int32 {
	w.t.Helper()
	w.opaque++
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: w.opaque, Ext: ext, Body: body, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
	return w.opaque
}

func (w *wire) oneway(code remoting.Code, ext fields, body []byte) {
	w.t.Helper()
	w.opaque++
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: w.opaque, Flag: remoting.FlagOneway, Ext: ext, Body: body, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
}

// read takes one frame; an error says that the connection ended.
func (w *wire) read() (*remoting.Command, error) {
	w.nc.SetReadDeadline(time.Now().Add(patience))
	return remoting.ReadCommand(w.in, 0)
}

// reply waits for the answer to a request.
func (w *wire) reply(opaque int32) *remoting.Command {
	w.t.Helper()
	for {
		if c := w.early[opaque]; c != nil {
			delete(w.early, opaque)
			return c
		}
		w.next()
	}
}

// next takes one frame and keeps it.
func (w *wire) next() {
	w.t.Helper()
	c, err := w.read()
	require.NoError(w.t, err)
	if !c.IsReply() {
		w.pushed = append(w.pushed, c)
		return
	}
	require.Equal(w.t, w.serial, c.Serial, "a reply travels as its request")
	require.GreaterOrEqual(w.t, c.Version, int32(232), "older servers are not asked for SQL filters")
	w.early[c.Opaque] = c
}

func (w *wire) ask(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	return w.reply(w.send(code, ext, body))
}

// led is ask, again while there is no leader, as every client does: on a loaded
// machine one may be lost.
func (w *wire) led(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	for until := time.Now().Add(patience); ; {
		r := w.ask(code, ext, body)
		if r.Code != remoting.ServiceNotAvailable || time.Now().After(until) {
			return r
		}
	}
}

// ok is led for what must succeed.
func (w *wire) ok(code remoting.Code, ext fields, body []byte) *remoting.Command {
	w.t.Helper()
	r := w.led(code, ext, body)
	require.Equal(w.t, remoting.OK, r.Code, "code %d: %s", code, r.Remark)
	return r
}

// closed waits until the node has closed the connection, without a reply.
func (w *wire) closed() {
	w.t.Helper()
	for {
		c, err := w.read()
		if err != nil {
			return
		}
		require.False(w.t, c.IsReply(), "answered %d: %s", c.Code, c.Remark)
	}
}

// waitPush waits for a request of the node's.
func (w *wire) waitPush(code remoting.Code) *remoting.Command {
	w.t.Helper()
	for {
		for i, c := range w.pushed {
			if c.Code == code {
				w.pushed = append(w.pushed[:i:i], w.pushed[i+1:]...)
				return c
			}
		}
		w.next()
	}
}

// num is an ext field that must be a number.
func num(t testing.TB, c *remoting.Command, key string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(c.Ext[key], 10, 64)
	require.NoError(t, err, "%s in %v (%d %s)", key, c.Ext, c.Code, c.Remark)
	return n
}

func (c *Cluster) listener(node, slot int) string { return c.Nodes[node].Addresses().Listeners[slot] }

// with returns a copy of m with fields set; "-" takes one away.
func with(m fields, change ...string) fields {
	out := maps.Clone(m)
	if out == nil {
		out = make(fields)
	}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "-" {
			delete(out, change[i])
		} else {
			out[change[i]] = change[i+1]
		}
	}
	return out
}

// replicaIn is node i's replica of a topic's partition.
func (c *Cluster) replicaIn(i int, topic string, slot int) (broker.PartitionInfo, bool) {
	for _, p := range c.Nodes[i].Partitions() {
		if p.Topic == topic && p.Slot == slot {
			return p, true
		}
	}
	return broker.PartitionInfo{}, false
}

// leader waits for the node that leads a partition and returns its place.
func (c *Cluster) leader(topic string, slot int) int {
	c.t.Helper()
	at := -1
	c.until("a leader of "+topic, func() bool {
		for i, b := range c.Nodes {
			if b == nil {
				continue
			}
			if p, ok := c.replicaIn(i, topic, slot); ok && p.State == "Leader" && p.Leader == c.names[i] {
				at = i
				return true
			}
		}
		return false
	})
	return at
}

// each runs f against every node, whichever leads, in both serialisations.
func (c *Cluster) each(t *testing.T, slot int, f func(t *testing.T, w *wire)) {
	for i := range c.Nodes {
		for serial, name := range []string{"json", "binary"} {
			t.Run(fmt.Sprintf("%s/%s", c.names[i], name), func(t *testing.T) {
				f(t, dialWire(t, c.listener(i, slot), byte(serial)))
			})
		}
	}
}

// some is each for what takes its time: every node in one of the serialisations.
func (c *Cluster) some(t *testing.T, slot int, f func(t *testing.T, w *wire)) {
	for i := range c.Nodes {
		t.Run(c.names[i], func(t *testing.T) { f(t, dialWire(t, c.listener(i, slot), byte(i%2))) })
	}
}

// Requests as stock clients make them.

func sendLong(topic string, queue int) fields {
	return fields{"producerGroup": "p", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": strconv.Itoa(queue),
		"sysFlag": "0", "bornTimestamp": "1700000000000", "flag": "7", "properties": "KEYS\x01k1 k2\x02TAGS\x01tag\x02", "reconsumeTimes": "0", "unitMode": "false", "batch": "false"}
}

func sendShort(topic string, queue int) fields {
	return fields{"a": "p", "b": topic, "c": "TBW102", "d": "4", "e": strconv.Itoa(queue), "f": "0", "g": "1700000000000", "h": "7",
		"i": "KEYS\x01k1 k2\x02TAGS\x01tag\x02", "j": "0", "k": "false", "m": "false"}
}

func pullOf(topic string, queue int, offset int64) fields {
	return fields{"consumerGroup": "g", "topic": topic, "queueId": strconv.Itoa(queue), "queueOffset": strconv.FormatInt(offset, 10), "maxMsgNums": "32",
		"sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subVersion": "0", "subscription": "*", "expressionType": "TAG"}
}

func topicOf(name string, queues int) fields {
	n := strconv.Itoa(queues)
	return fields{"topic": name, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n, "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
}

func heartbeatOf(client, group string, topics ...string) []byte {
	h := remoting.HeartbeatData{ClientID: client, ProducerDataSet: []remoting.ProducerData{{GroupName: "p-" + group}}}
	c := remoting.ConsumerData{ConsumeFromWhere: remoting.FromFirstOffset, ConsumeType: remoting.ConsumePassively, GroupName: group, MessageModel: remoting.Clustering}
	for _, t := range topics {
		c.SubscriptionDataSet = append(c.SubscriptionDataSet, remoting.SubscriptionData{ExpressionType: "TAG", SubString: "*", SubVersion: 1, Topic: t})
	}
	h.ConsumerDataSet = append(h.ConsumerDataSet, c)
	return remoting.EncodeBody(h)
}

func lockOf(client, group string, queues ...remoting.MessageQueue) []byte {
	return remoting.EncodeBody(remoting.LockBatch{ConsumerGroup: group, ClientID: client, MQSet: queues})
}

// records splits a body of stored messages.
func records(t testing.TB, body []byte) []message.Record {
	t.Helper()
	var rs []message.Record
	for len(body) > 0 {
		r, err := message.ParseRecord(body)
		require.NoError(t, err)
		require.NoError(t, r.Verify())
		rs = append(rs, r)
		body = body[len(r):]
	}
	return rs
}

// createTopic makes a topic through a node and waits until every node knows it.
func (c *Cluster) createTopic(t testing.TB, ext fields) {
	t.Helper()
	w := dialWire(t, c.listener(0, 0), remoting.JSON)
	c.until("leaders of "+ext["topic"], func() bool { // on a loaded machine they may be late
		r := w.ask(remoting.UpdateAndCreateTopic, ext, nil)
		require.Contains(t, []remoting.Code{remoting.OK, remoting.SystemError, remoting.ServiceNotAvailable}, r.Code, r.Remark)
		return r.Code == remoting.OK
	})
	for i := range c.Nodes {
		c.until(c.names[i]+" knows "+ext["topic"], func() bool {
			return dialWire(t, c.Nodes[i].Addresses().NameServer, remoting.JSON).ask(remoting.GetRouteByTopic, fields{"topic": ext["topic"]}, nil).Code == remoting.OK
		})
		c.Await(i)
	}
}

// respond answers what the node asked.
func (w *wire) respond(c *remoting.Command, code remoting.Code) {
	w.t.Helper()
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: c.Opaque, Flag: remoting.FlagReply, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
}
