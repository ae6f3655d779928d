package mqtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

// Each node has its id in routes, whoever of the others is there.
func TestIDsInRoutesStayWithTheirNodes(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	route := func() (of map[int64]string) {
		var d remoting.TopicRouteData
		r := DialWire(t, c.Nodes[1].Addresses().NameServer, remoting.JSON).OK(remoting.GetRouteByTopic, fields{"topic": "t"}, nil)
		require.NoError(t, remoting.DecodeBody(r.Body, &d))
		for _, b := range d.BrokerDatas {
			if b.BrokerName == "raftmq-0" {
				of = b.BrokerAddrs
			}
		}
		return of
	}
	for i := range c.Nodes {
		require.Equal(t, c.listener(i, 0), route()[int64(i+1)])
	}
	c.Stop(0)
	c.until("the first is out", func() bool { return len(route()) == 3 && c.metric(1, "raftmq_nodes_alive") == 2 })
	for i := 1; i < 3; i++ {
		require.Equal(t, c.listener(i, 0), route()[int64(i+1)])
	}
}

// A node that was started with fewer slots than the cluster has names no other slot's port for
// those that it lacks: clients of RocketMQ 4 would come to another queue there.
func TestARouteNamesNoOtherSlotsPort(t *testing.T) {
	t.Parallel()
	slots := 3
	c := Start(t, 3, func(cfg *broker.Config) { cfg.Slots = slots })
	c.createTopic(t, topicOf("t", 1))
	c.Stop(0)
	slots = 2
	c.Run(0)
	c.Await(0)
	route := func() (at map[string]map[int64]string, queues int) {
		var d remoting.TopicRouteData
		r := DialWire(t, c.Nodes[0].Addresses().NameServer, remoting.JSON).OK(remoting.GetRouteByTopic, fields{"topic": "t"}, nil)
		require.NoError(t, remoting.DecodeBody(r.Body, &d))
		at = make(map[string]map[int64]string)
		for _, b := range d.BrokerDatas {
			at[b.BrokerName] = b.BrokerAddrs
		}
		return at, len(d.QueueDatas)
	}
	var all map[string]map[int64]string
	var queues int
	c.until("all slots are served", func() bool {
		all, queues = route()
		return len(all) == 3
	})
	require.Equal(t, 3, queues)
	require.NotContains(t, all["raftmq-2"], int64(1), "it does not listen there")
	c.Stop(1)
	c.Stop(2)
	c.until("the others are out", func() bool { return c.metric(0, "raftmq_nodes_alive") == 1 })
	all, queues = route()
	require.Equal(t, 3, queues, "the others keep their numbers")
	require.Equal(t, map[string]map[int64]string{
		"raftmq-0": {0: c.listener(0, 0), 1: c.listener(0, 0)},
		"raftmq-1": {0: c.listener(0, 1), 1: c.listener(0, 1)},
	}, all)
}
