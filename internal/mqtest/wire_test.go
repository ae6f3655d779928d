package mqtest

import (
	"fmt"
	"maps"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

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
	c.untilIn(ample, "a leader of "+topic, func() bool {
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
func (c *Cluster) each(t *testing.T, slot int, f func(t *testing.T, w *Wire)) {
	for i := range c.Nodes {
		for serial, name := range []string{"json", "binary"} {
			t.Run(fmt.Sprintf("%s/%s", c.names[i], name), func(t *testing.T) {
				f(t, DialWire(t, c.listener(i, slot), byte(serial)))
			})
		}
	}
}

// some is each for what takes its time: every node in one of the serialisations.
func (c *Cluster) some(t *testing.T, slot int, f func(t *testing.T, w *Wire)) {
	for i := range c.Nodes {
		t.Run(c.names[i], func(t *testing.T) { f(t, DialWire(t, c.listener(i, slot), byte(i%2))) })
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

// createTopic makes a topic through a node and waits until every node knows it.
func (c *Cluster) createTopic(t testing.TB, ext fields) {
	t.Helper()
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	c.untilIn(ample, "leaders of "+ext["topic"], func() bool { // on a loaded machine they may be late
		r := w.ask(remoting.UpdateAndCreateTopic, with(ext, "rmq", "1"), nil) // else it is not answered when nobody knows
		require.Contains(t, []remoting.Code{remoting.OK, remoting.SystemError, remoting.ServiceNotAvailable, remoting.OutcomeUnknown}, r.Code, r.Remark)
		return r.Code == remoting.OK
	})
	for i := range c.Nodes {
		c.until(c.names[i]+" knows "+ext["topic"], func() bool {
			return DialWire(t, c.Nodes[i].Addresses().NameServer, remoting.JSON).ask(remoting.GetRouteByTopic, fields{"topic": ext["topic"]}, nil).Code == remoting.OK
		})
		c.Await(i)
	}
}

// respond answers what the node asked.
func (w *Wire) respond(c *remoting.Command, code remoting.Code) {
	w.t.Helper()
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: c.Opaque, Flag: remoting.FlagReply, Serial: w.serial})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
}

// answer is respond with a body.
func (w *Wire) answer(c *remoting.Command, code remoting.Code, body string) {
	w.t.Helper()
	b, err := remoting.AppendCommand(nil, &remoting.Command{Code: code, Language: remoting.Go, Version: 317, Opaque: c.Opaque, Flag: remoting.FlagReply, Serial: w.serial, Body: []byte(body)})
	require.NoError(w.t, err)
	_, err = w.nc.Write(b)
	require.NoError(w.t, err)
}
