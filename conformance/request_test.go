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

// fates is what became of requests, by body.
type fates struct {
	mu      sync.Mutex
	handled map[string]time.Time // first by the responder
	replied map[string]time.Time // when a reply was first accepted: the requester has it, says the broker
}

func newFates() *fates {
	return &fates{handled: make(map[string]time.Time), replied: make(map[string]time.Time)}
}

func (f *fates) note(body string, at map[string]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := at[body]; !ok {
		at[body] = time.Now()
	}
}

// delivered is what a request without an answer must not be.
const delivered = "replied in time"

// why says what became of a request that had no answer.
func (f *fates) why(body string, err error, gaveUp time.Time) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	handled, seen := f.handled[body]
	replied, ok := f.replied[body]
	switch {
	case strings.Contains(err.Error(), "sendAsync error"):
		return "not sent: the client's address of the slot is a dead node's"
	case !seen:
		return "never handled"
	case handled.After(gaveUp):
		return "handled too late"
	case ok && replied.Before(gaveUp):
		return delivered
	case ok:
		return "replied too late"
	}
	return "handled, and not replied to"
}

// replying is a consumer's callback that replies to each request with its body in upper
// case. What cannot be replied to is handled again.
func replying(t testing.TB, p interface {
	SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error)
}, f *fates) func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	return func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				t.Errorf("make a reply: %v", err)
				return consumer.ConsumeSuccess, nil
			}
			reply.Body = []byte(strings.ToUpper(string(m.Body))) // CreateReplyMessage takes it for properties
			f.note(string(m.Body), f.handled)
			if r, err := p.SendSync(ctx, reply); err == nil && r.Status == primitive.SendOK {
				f.note(string(m.Body), f.replied)
			}
		}
		return consumer.ConsumeSuccess, nil
	}
}

// A stock requester and a stock responder, and raftmq's own as either; then each node is
// killed, while requests go on: each has its own reply, or times out, and then no reply to
// it was accepted in time.
func TestRequestsAndReplies(t *testing.T) {
	const topic, group = "requests", "requests-group"
	cluster.raftmq(t, "topic", "create", topic)
	responder, requester := newProducer(t), newProducer(t)
	f := newFates()
	newMemberNamed(t, instance(t), group, topic, replying(t, responder, f), consumer.MessageSelector{})
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

	var answered atomic.Int64
	var mu sync.Mutex
	type failure struct {
		body   string
		err    error
		gaveUp time.Time
	}
	var failures []failure
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
					mu.Lock()
					failures = append(failures, failure{body, err, time.Now()})
					mu.Unlock()
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
	cluster.committed(t, group, topic)
	why := make(map[string]int)
	for _, x := range failures {
		why[f.why(x.body, x.err, x.gaveUp)]++
	}
	t.Logf("%d requests answered, %d not: %v", answered.Load(), len(failures), why)
	require.Zero(t, why[delivered], "who replied was told that the requester has it")
	got, err := request("last")
	require.NoError(t, err)
	require.Equal(t, "LAST", got)
}
