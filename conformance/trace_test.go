package conformance

import (
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// traceKinds is what "message trace" prints of an id or key.
func traceKinds(id string) (all []string) {
	for _, row := range cluster.tryRaftmq("message", "trace", id) {
		all = append(all, row["kind"].(string))
	}
	return all
}

// What a stock producer and a stock consumer trace is printed by "message trace", also
// after a node was killed; what the cluster knows, by "message explain".
func TestTracesOfStockClients(t *testing.T) {
	const topic, group = "traced", "traced-group"
	cluster.raftmq(t, "topic", "create", topic)
	traced := &primitive.TraceConfig{GroupName: "traces", Access: primitive.Local, NamesrvAddrs: cluster.endpoints()}
	p := newProducer(t, producer.WithTrace(traced))
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{}, consumer.WithTrace(traced))
	m := primitive.NewMessage(topic, []byte("traced"))
	m.WithTag("red").WithKeys([]string{"order-17"})
	r, err := p.SendSync(t.Context(), m)
	require.NoError(t, err)
	got.await(t, "", []string{"traced"})
	until(t, time.Minute, func() bool { return len(traceKinds(r.MsgID)) == 3 }, func() string { return "the message is traced: it has " + r.MsgID })
	require.ElementsMatch(t, []string{"Pub", "SubBefore", "SubAfter"}, traceKinds(r.MsgID))
	require.Contains(t, traceKinds("order-17"), "Pub")

	n := cluster.nodes[0]
	cluster.tell(t, "kill", n)
	until(t, time.Minute, func() bool { return len(traceKinds(r.MsgID)) == 3 }, func() string { return "traces are there without " + n.Name })
	life := cluster.raftmq(t, "message", "explain", r.OffsetMsgID)
	require.Equal(t, []any{"stored", r.MsgID, "red"}, []any{life[0]["what"], life[0]["id"], life[0]["tag"]})
	cluster.tell(t, "restart", n)
	cluster.committed(t, group, topic)
	life = cluster.raftmq(t, "message", "explain", r.MsgID, "--topic", topic)
	require.Equal(t, true, life[0]["groups"].([]any)[0].(map[string]any)["handled"])
}
