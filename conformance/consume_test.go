package conformance

import (
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
)

func TestPushConsumerGetsWhatWasSent(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "push")
	p := newProducer(t)
	sent := numbered("m", 100)
	sendAll(t, p, "push", sent)
	var got deliveries
	newMember(t, "push-group", "push", &got, consumer.MessageSelector{})
	got.await(t, "", sent)
}
