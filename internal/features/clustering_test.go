package features

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

const later = "belongs to elasticity, which is still to come"

var clustering = []row{
	{name: "A64", about: "every node is a name server", test: nameService},
	{name: "A65", about: "nodes tell each other that they live", test: gossip, own: true},
	{name: "A66", about: "a dead node leaves the routes", test: eviction, own: true},
	{name: "A67", about: "a topic is spread over the nodes", test: spread},
	{name: "A68", about: "every partition has replicas", test: lostDisk, own: true},
	{name: "A69", about: "another takes over when a leader dies", test: takeover, own: true},
	{name: "A70", about: "sentinel", why: "there is none to run: replicas elect, as A69 shows"},
	{name: "A71", about: "controller that balances load", why: later},
	{name: "A72", about: "nodes join and leave", why: later},
	{name: "A73", about: "partitions are balanced", why: later},
	{name: "A74", about: "routing by key, tag or property", test: placement},
	{name: "A75", about: "two masters, two slaves", why: "README.md maps it to three nodes"},
	{name: "A76", about: "console", why: "still to come"},
	{name: "A77", about: "RocketMQ's protocol", test: protocol},
	{name: "A78", about: "first minute", why: "a program's, not a cluster's (cmd/raftmq: ScriptsFindWhatTheyWerePromised)"},
	{name: "A79", about: "uses", why: "each has a program with its own test in examples/"},
	{name: "A80", about: "statistics", test: statistics},
}

func nameService(w *world) {
	topic := w.topic(client.TopicConfig{})
	for node, addr := range w.endpoints() {
		var route remoting.TopicRouteData
		require.NoError(w, remoting.DecodeBody(w.raw(addr).OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil).Body, &route))
		require.Len(w, route.BrokerDatas, 3)
		var info remoting.ClusterInfo
		require.NoError(w, remoting.DecodeBody(w.raw(addr).OK(remoting.GetBrokerClusterInfo, nil, nil).Body, &info))
		require.Len(w, info.BrokerAddrTable, 3, "of node %d", node)
	}
	// One address is enough to find all.
	cl, err := client.Dial(w.ctx, client.WithEndpoints(w.endpoints()[2]))
	require.NoError(w, err)
	defer cl.Close(context.Background())
	p, err := cl.NewProducer("p")
	require.NoError(w, err)
	for q := range 6 {
		_, err := p.SendTo(w.ctx, q, &client.Message{Topic: topic, Body: []byte("x")})
		require.NoError(w, err)
	}
}

// addresses are those that node asks for a topic's slots are told, first ones first.
func (w *world) addresses(node int, topic string) (first, all []string) {
	w.Helper()
	var route remoting.TopicRouteData
	require.NoError(w, remoting.DecodeBody(w.raw(w.endpoints()[node]).OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil).Body, &route))
	for _, b := range route.BrokerDatas {
		first = append(first, b.BrokerAddrs[0])
		for _, a := range b.BrokerAddrs {
			all = append(all, a)
		}
	}
	return first, all
}

func (w *world) listeners(node int) (all []string) {
	for slot := range 3 {
		all = append(all, w.listener(node, slot))
	}
	return all
}

func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func gossip(w *world) {
	topic := w.topic(client.TopicConfig{})
	w.send(topic, 6)
	gone := w.listeners(2)
	w.stop(w, 2)
	w.until("nobody is sent to a node that died", func() bool {
		first, _ := w.addresses(0, topic)
		return !common(first, gone)
	})
	w.run(w, 2)
	back := w.listeners(2)
	w.until("it is known again", func() bool {
		_, all := w.addresses(0, topic)
		return common(all, back)
	})
}

func eviction(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 1})
	w.send(topic, 3)
	gone := w.listeners(0)
	w.stop(w, 0)
	// Who asks the others is told of them alone, and is served.
	var told []string
	w.until("it left the routes", func() bool {
		nc, err := net.Dial("tcp", w.endpoints()[len(w.endpoints())-1])
		require.NoError(w, err)
		nc.Close()
		told, _ = w.addresses(len(w.endpoints())-1, topic)
		return !common(told, gone)
	})
	p := w.producer()
	for q := range 3 {
		_, err := p.SendTo(w.ctx, q, &client.Message{Topic: topic, Body: []byte("after")})
		require.NoError(w, err)
	}
	w.run(w, 0)
	require.Len(w, w.read(topic), 6)
}

func spread(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 4})
	stats, err := w.cl.Admin().TopicStats(w.ctx, topic)
	require.NoError(w, err)
	by := make(map[string]int)
	for _, q := range stats {
		by[q.Broker]++
	}
	require.Equal(w, map[string]int{"raftmq-0": 4, "raftmq-1": 4, "raftmq-2": 4}, by)
	w.until("each node leads one partition", func() bool {
		first, _ := w.addresses(0, topic)
		for node := range w.data {
			if !common(first, w.listeners(node)) {
				return false
			}
		}
		return true
	})
}

func lostDisk(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 1})
	w.send(topic, 100)
	w.stop(w, 1)
	w.wipe(w, 1)
	w.run(w, 1) // as a new incarnation, which is caught up before it votes
	w.until("the others can go, one at a time", func() bool {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		return w.cl.Ping(ctx) == nil
	})
	w.stop(w, 0)
	require.Len(w, w.bodies(topic), 100)
	w.run(w, 0)
}

func takeover(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 1)
	p := w.producer()
	for i := range w.n(2, 10) {
		node := w.leader(topic)
		w.stop(w, node)
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: fmt.Appendf(nil, "after %d", i)})
		require.NoError(w, err, "nobody had to do anything")
		require.NotEqual(w, node, w.leader(topic))
		w.run(w, node)
	}
	require.Len(w, w.read(topic), 1+w.n(2, 10))
}

func placement(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 4, Attributes: map[string]string{client.AttrPlacement: "property region=eu : 3; tag=vip : 0; key : 1-2"}})
	// Stock clients too, whatever they chose.
	r := w.raw(w.listener(0, w.slot(topic)))
	for properties, want := range map[string]string{"region\x01eu\x02TAGS\x01vip\x02": "3", "TAGS\x01vip\x02": "0"} {
		for queue := range 4 {
			require.Equal(w, want, r.OK(remoting.SendMessage, sendOf(topic, queue, properties), []byte("x")).Ext["queueId"])
		}
	}
	require.Equal(w, "2", r.OK(remoting.SendMessage, sendOf(topic, 2, ""), []byte("x")).Ext["queueId"], "no rule, the sender's choice")
	queues := make(map[string]int)
	p := w.producer()
	for i := range 20 {
		key := fmt.Sprint("order-", i%10)
		at, err := p.Send(w.ctx, &client.Message{Topic: topic, Keys: []string{key}, Body: []byte("x")})
		require.NoError(w, err)
		require.Contains(w, []int{1, 2}, at.Queue)
		if i >= 10 {
			require.Equal(w, queues[key], at.Queue, "the same key, the same queue")
		}
		queues[key] = at.Queue
	}
	err := w.cl.Admin().UpdateTopic(w.ctx, client.TopicConfig{Name: topic, Attributes: map[string]string{client.AttrPlacement: "tag=vip : 9"}})
	require.ErrorIs(w, err, client.ErrInvalid, "there is no such queue")
}

// protocol is a short talk in both serialisations; conformance/ has the official client.
func protocol(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	for i, serial := range []byte{remoting.JSON, remoting.Binary} {
		r := w.rawAs(w.listener(i, w.slot(topic)), serial)
		reply := r.OK(remoting.SendMessage, sendOf(topic, 0, "TAGS\x01t\x02"), []byte("x"))
		require.Equal(w, serial, reply.Serial, "a reply travels as its request")
		require.Equal(w, strconv.Itoa(i), reply.Ext["queueOffset"])
		reply = r.Led(9999, nil, nil)
		require.Equal(w, remoting.RequestCodeNotSupported, reply.Code)
		require.NotEmpty(w, reply.Remark)
	}
}

func statistics(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	w.send(topic, 50)
	stats, err := w.cl.Admin().TopicStats(w.ctx, topic)
	require.NoError(w, err)
	sum := int64(0)
	for _, q := range stats {
		sum += q.Max - q.Min
	}
	require.EqualValues(w, 50, sum)
	got := newSeen()
	_, stop := w.consume(w.row, topic, got.handle)
	w.until("all are consumed", func() bool { return got.kinds() == 50 })
	stop()
	w.send(topic, 10)
	w.until("the group lags by what came since", func() bool {
		lag := int64(0)
		for row, err := range w.cl.Admin().Lag(w.ctx, w.row) {
			require.NoError(w, err)
			lag += row.Lag
		}
		return lag == 10
	})
}
