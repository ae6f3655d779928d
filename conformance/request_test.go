package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// replying is a consumer's callback that replies to each request with its body in upper
// case. What cannot be replied to is handled again.
func replying(t testing.TB, p interface {
	SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error)
}, replied *atomic.Int64) func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	return func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				t.Errorf("make a reply: %v", err)
				return consumer.ConsumeSuccess, nil
			}
			reply.Body = []byte(strings.ToUpper(string(m.Body))) // CreateReplyMessage takes it for properties
			if _, err := p.SendSync(ctx, reply); err == nil {
				replied.Add(1)
			} else {
				t.Logf("reply to %s: %v", m.Body, err)
			}
		}
		return consumer.ConsumeSuccess, nil
	}
}

// A stock requester and a stock responder, and raftmq's own as either; then each node is
// killed, while requests go on: each has its own reply, or times out.
func TestRequestsAndReplies(t *testing.T) {
	const topic, group = "requests", "requests-group"
	cluster.raftmq(t, "topic", "create", topic)
	responder, requester := newProducer(t), newProducer(t)
	var replied atomic.Int64
	newMemberNamed(t, instance(t), group, topic, replying(t, responder, &replied), consumer.MessageSelector{})
	request := func(body string) (string, error) {
		m, err := requester.Request(context.Background(), 8*time.Second, primitive.NewMessage(topic, []byte(body)))
		if err != nil {
			return "", err
		}
		return string(m.Body), nil
	}
	until(t, time.Minute, func() bool { // until the consumer has its queues
		got, err := request("first")
		return err == nil && got == "FIRST"
	}, func() string { return "a request has its reply" })
	for _, size := range []int{1, 5000, 300_000} { // the client says that more than 4 KiB are compressed
		body := strings.Repeat("b", size)
		got, err := request(body)
		require.NoError(t, err)
		require.Equal(t, strings.ToUpper(body), got)
	}
	require.Equal(t, "OURS", cluster.raftmq(t, "request", topic, "ours", "--timeout", "50s")[0]["body"], "raftmq asks, stock replies")

	var answered, silent atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				body := fmt.Sprintf("r%d-%d", i, n)
				switch got, err := request(body); {
				case err != nil:
					silent.Add(1)
				case got != strings.ToUpper(body):
					t.Errorf("the reply to %s is %s", body, got)
				default:
					answered.Add(1)
				}
			}
		})
	}
	for _, n := range cluster.nodes {
		cluster.tell(t, "kill", n)
		before := answered.Load()
		until(t, time.Minute, func() bool { return answered.Load() > before+10 }, func() string { return "requests are answered without " + n.Name })
		cluster.tell(t, "restart", n)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests answered, %d timed out", answered.Load(), silent.Load())
	got, err := request("last")
	require.NoError(t, err)
	require.Equal(t, "LAST", got)
}
