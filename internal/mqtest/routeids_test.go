package mqtest

import (
	"testing"

	"github.com/stretchr/testify/require"

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
