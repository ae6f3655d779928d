package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// The rules of a topic put a stock producer's messages into their queues, whatever it
// chose: each key into one, also while a node is killed.
func TestRulesPlaceWhatStockClientsSend(t *testing.T) {
	const topic, group = "placed", "placed-group"
	cluster.raftmq(t, "topic", "create", topic)
	cluster.raftmq(t, "topic", "rules", topic, "--set", "tag=vip : 5", "--set", "key : 0-3")
	where := make(map[string]place)
	for i := range 10 {
		key := fmt.Sprintf("k%d", i)
		row := cluster.raftmq(t, "topic", "rules", topic, "--try", "--key", key)[0]
		n := int(row["queue"].(float64))
		where[key] = place{broker: fmt.Sprintf("raftmq-%d", n%3), queue: n / 3}
	}
	where["vip"] = place{broker: "raftmq-2", queue: 1}
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{})
	p := newProducer(t)
	var want []string
	send := func(round int) {
		t.Helper()
		for i := range 10 {
			key := fmt.Sprintf("k%d", i)
			m := primitive.NewMessage(topic, fmt.Appendf(nil, "%s %d", key, round))
			m.WithKeys([]string{key})
			if i == 9 {
				m.WithTag("vip")
				m.Body = fmt.Appendf(nil, "vip %d", round)
			}
			want = append(want, string(m.Body))
			until(t, time.Minute, func() bool {
				r, err := p.SendSync(context.Background(), m)
				return err == nil && r.Status == primitive.SendOK
			}, func() string { return "a message is stored" })
		}
	}
	send(0)
	send(1)
	cluster.tell(t, "kill", cluster.nodes[2])
	send(2)
	cluster.tell(t, "restart", cluster.nodes[2])
	got.await(t, "", want)
	for _, d := range got.snapshot() {
		var key string
		fmt.Sscan(string(d.msg.Body), &key)
		require.Equal(t, where[key], place{d.broker, d.queue, 0}, "%s", d.msg.Body)
	}
}
