package conformance

import (
	"context"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

func newAdmin(t testing.TB) admin.Admin {
	t.Helper()
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(cluster.endpoints())))
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func TestAdminCreatesAndDeletesATopic(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := newAdmin(t)
	// CreateTopic finds no broker by itself, and reports success whatever is
	// answered: that the topic is there is seen below.
	require.NoError(t, a.CreateTopic(ctx, admin.WithTopicCreate("made"), admin.WithBrokerAddrCreate(cluster.nodes[1].Listeners[2]),
		admin.WithReadQueueNums(2), admin.WithWriteQueueNums(2)))
	all, err := a.FetchAllTopicList(ctx)
	require.NoError(t, err)
	require.Contains(t, all.TopicList, "made")
	queues, err := a.FetchPublishMessageQueues(ctx, "made")
	require.NoError(t, err)
	var names []string
	for _, q := range queues {
		names = append(names, q.String())
	}
	require.ElementsMatch(t, []string{
		"MessageQueue [topic=made, brokerName=raftmq-0, queueId=0]", "MessageQueue [topic=made, brokerName=raftmq-0, queueId=1]",
		"MessageQueue [topic=made, brokerName=raftmq-1, queueId=0]", "MessageQueue [topic=made, brokerName=raftmq-1, queueId=1]",
		"MessageQueue [topic=made, brokerName=raftmq-2, queueId=0]", "MessageQueue [topic=made, brokerName=raftmq-2, queueId=1]",
	}, names, "one request creates the topic in every slot")

	p := newProducer(t)
	sent := numbered("m", 30)
	sendAll(t, p, "made", sent)
	var got deliveries
	m := newMember(t, "made-group", "made", &got, consumer.MessageSelector{})
	got.await(t, "", sent)
	m.stop()
	p.Shutdown()

	groups, err := a.GetAllSubscriptionGroup(ctx, cluster.nodes[0].Listeners[0], 3*time.Second)
	require.NoError(t, err)
	require.Contains(t, groups.SubscriptionGroupTable, "made-group")

	require.NoError(t, a.DeleteTopic(ctx, admin.WithTopicDelete("made")))
	all, err = a.FetchAllTopicList(ctx)
	require.NoError(t, err)
	require.NotContains(t, all.TopicList, "made")
	late, err := rocketmq.NewPushConsumer(consumer.WithNameServer(cluster.endpoints()), consumer.WithInstance(instance(t)), consumer.WithGroupName("made-group"))
	require.NoError(t, err)
	require.NoError(t, late.Subscribe("made", consumer.MessageSelector{}, new(deliveries).take("")))
	require.ErrorContains(t, late.Start(), "route info not found")
}

func TestFirstSendCreatesTheTopic(t *testing.T) {
	t.Parallel()
	p := newProducer(t)
	sent := numbered("m", 40)
	sendAll(t, p, "by-itself", sent) // none may fail, the first neither
	var got deliveries
	newMember(t, "by-itself-group", "by-itself", &got, consumer.MessageSelector{})
	got.await(t, "", sent)
	queues := make(map[place]bool)
	for _, d := range got.snapshot() {
		d.offset = 0
		queues[d.place] = true
	}
	require.Len(t, queues, 6, "every queue that the template's route named is there")
}
