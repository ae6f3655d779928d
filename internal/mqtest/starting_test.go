package mqtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

func dial(t *testing.T, addr string) *remoting.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := remoting.Dial(ctx, addr, remoting.DialOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func call(t *testing.T, conn *remoting.Conn, req *remoting.Command) *remoting.Command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := conn.Call(ctx, req)
	require.NoError(t, err)
	return reply
}

// told calls until the node does not answer that it cannot tell yet.
func told(t *testing.T, conn *remoting.Conn, req *remoting.Command) (reply *remoting.Command) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if reply = call(t, conn, req); reply.Code != remoting.ServiceNotAvailable || time.Now().After(deadline) {
			return reply
		}
	}
}

// join says to a node that a client consumes a topic in a group.
func join(t *testing.T, conn *remoting.Conn, id, group, topic string) {
	t.Helper()
	req := remoting.NewRequest(remoting.Heartbeat, nil)
	req.Body = remoting.EncodeBody(remoting.HeartbeatData{ClientID: id, ConsumerDataSet: []remoting.ConsumerData{{
		GroupName: group, ConsumeType: remoting.ConsumePassively, MessageModel: remoting.Clustering, ConsumeFromWhere: remoting.FromFirstOffset,
		SubscriptionDataSet: []remoting.SubscriptionData{{Topic: topic, SubString: "*", ExpressionType: "TAG", SubVersion: 1}},
	}}})
	require.Equal(t, remoting.OK, call(t, conn, req).Code)
}

// Stock clients send heartbeats every 30 s, and a node that was restarted hears of
// them only then. All nodes restarted meanwhile, one after another, the members are
// the same to each.
//
// One that leaves is gone for all as soon as a node that knows it sees it go.
func TestMembersStayWhileAllNodesAreRestarted(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t"}))
	for _, id := range []string{"one", "two"} {
		for _, b := range c.Nodes {
			join(t, dial(t, b.Addresses().Listeners[0]), id, "g", "t")
		}
	}
	for i := range c.Nodes {
		c.Stop(i)
		c.Run(i)
		c.Await(i)
		for _, b := range c.Nodes {
			reply := told(t, dial(t, b.Addresses().Listeners[0]), remoting.NewRequest(remoting.GetConsumerListByGroup, remoting.ConsumerGroupHeader{ConsumerGroup: "g"}))
			require.Equal(t, remoting.OK, reply.Code, reply.Remark)
			var list remoting.ConsumerList
			require.NoError(t, remoting.DecodeBody(reply.Body, &list))
			require.EqualValues(t, []string{"one", "two"}, list.ConsumerIDList)
		}
	}
	two := dial(t, c.Nodes[1].Addresses().Listeners[0])
	join(t, two, "two", "g", "t")
	two.Close()
	for _, b := range c.Nodes {
		conn := dial(t, b.Addresses().Listeners[0])
		c.until("it is gone", func() bool {
			reply := call(t, conn, remoting.NewRequest(remoting.GetConsumerListByGroup, remoting.ConsumerGroupHeader{ConsumerGroup: "g"}))
			return string(reply.Body) == `{"consumerIdList":["one"]}`
		})
	}
}

// A stock consumer does not start without its topic's route, and takes "no such
// topic" for an answer. And stock producers name the template in every send: a node
// that does not know yet what the cluster decided must not make the topic again,
// with other settings.
func TestAStartingNodeNeitherDeniesATopicNorMakesItAnew(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	admin := c.Client().Admin()
	require.NoError(t, admin.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 4}))
	c.Stop(0)
	c.Run(0)
	conn := dial(t, c.Nodes[0].Addresses().NameServer)
	reply := told(t, conn, remoting.NewRequest(remoting.GetRouteByTopic, remoting.RouteHeader{Topic: "t"}))
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	reply = told(t, conn, remoting.NewRequest(remoting.GetRouteByTopic, remoting.RouteHeader{Topic: "other"}))
	require.Equal(t, remoting.TopicNotExist, reply.Code, reply.Remark)
	c.Await(0)

	c.Stop(0)
	c.Run(0)
	conn = dial(t, c.Nodes[0].Addresses().Listeners[1])
	send := remoting.NewRequest(remoting.SendMessage, nil)
	send.Ext = remoting.SendHeader{ProducerGroup: "p", Topic: "t", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 3}.EncodeV1()
	send.Body = []byte("body")
	reply = told(t, conn, send)
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	c.Await(0)
	// Nor does automatic creation that comes behind another creation.
	late := remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
		Topic: "t", DefaultTopic: "TBW102", ReadQueueNums: 2, WriteQueueNums: 2, Perm: 6, TopicFilterType: "SINGLE_TAG"})
	late.SetExt("_new", "1")
	require.Equal(t, remoting.OK, told(t, conn, late).Code)
	cfg, err := admin.Topic(ctx, "t")
	require.NoError(t, err)
	require.Equal(t, 4, cfg.WriteQueues)
}
