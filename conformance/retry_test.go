package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// A message with a delay level comes after that delay, not before, and once, without
// the properties that said so.
func TestDelayLevels(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "delays")
	p := newProducer(t)
	var got deliveries
	newMember(t, "delays-group", "delays", &got, consumer.MessageSelector{})
	delay := map[int]time.Duration{1: time.Second, 2: 5 * time.Second, 3: 10 * time.Second}
	sent := make(map[string]time.Time)
	for level := range delay {
		for i := range 5 {
			m := primitive.NewMessage("delays", fmt.Appendf(nil, "%d-%d", level, i)).WithDelayTimeLevel(level).WithKeys([]string{"k"})
			r, err := p.SendSync(context.Background(), m)
			require.NoError(t, err)
			require.Equal(t, primitive.SendOK, r.Status)
			sent[string(m.Body)] = time.Now()
		}
	}
	var bodies []string
	for b := range sent {
		bodies = append(bodies, b)
	}
	got.await(t, "", bodies)
	for _, d := range got.snapshot() {
		body := string(d.msg.Body)
		level := int(body[0] - '0')
		took := time.UnixMilli(d.msg.StoreTimestamp).Sub(time.UnixMilli(d.msg.BornTimestamp))
		require.GreaterOrEqual(t, took, delay[level]-50*time.Millisecond, body)
		t.Logf("%s: stored to come %v after it was born", body, took)
		require.Equal(t, "delays", d.msg.Topic)
		require.Empty(t, d.msg.GetProperty(primitive.PropertyDelayTimeLevel))
		require.Empty(t, d.msg.GetProperty("REAL_TOPIC"))
		require.Equal(t, "k", d.msg.GetKeys())
	}
	require.Len(t, got.snapshot(), len(sent), "nothing twice")
}

// tries is what a listener saw of each message.
type tries struct {
	mu    sync.Mutex
	times map[string][]int32
	topic map[string]string
}

func (s *tries) note(m *primitive.MessageExt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[string(m.Body)] = append(s.times[string(m.Body)], m.ReconsumeTimes)
	s.topic[string(m.Body)] = m.Topic
}

func (s *tries) of(body string) []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int32(nil), s.times[body]...)
}

// What a listener refuses comes again after 10 s and 30 s, or as it says, with the
// times that it was consumed and its topic; after the last time, or when the listener
// says so, it is among the dead letters, which a consumer can read.
func TestRetriesAndDeadLetters(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "retries")
	p := newProducer(t)
	seen := &tries{times: make(map[string][]int32), topic: make(map[string]string)}
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(cluster.endpoints()), consumer.WithInstance(instance(t)), consumer.WithGroupName("retries-group"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithMaxReconsumeTimes(2))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe("retries", consumer.MessageSelector{}, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		m := msgs[0]
		seen.note(m)
		concurrent, _ := primitive.GetConcurrentlyCtx(ctx)
		switch body := string(m.Body); {
		case strings.HasPrefix(body, "once") && m.ReconsumeTimes == 0:
			concurrent.DelayLevelWhenNextConsume = 1
			return consumer.ConsumeRetryLater, nil
		case strings.HasPrefix(body, "never"):
			return consumer.ConsumeRetryLater, nil
		case strings.HasPrefix(body, "poison"):
			concurrent.DelayLevelWhenNextConsume = -1
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	require.NoError(t, c.Start())
	defer c.Shutdown()
	var sent []string
	for i := range 4 {
		sent = append(sent, fmt.Sprint("fine-", i), fmt.Sprint("once-", i))
	}
	sent = append(sent, "never", "poison")
	sendAll(t, p, "retries", sent)
	// The client learns of its retry topic when it asks for routes, which it does every 30 s.
	until(t, 3*time.Minute, func() bool { return len(seen.of("once-3")) >= 2 && len(seen.of("never")) >= 3 }, func() string {
		return fmt.Sprintf("once-3 came %v, never came %v", seen.of("once-3"), seen.of("never"))
	})
	for i := range 4 {
		require.Equal(t, []int32{0, 1}, seen.of(fmt.Sprint("once-", i)))
	}
	require.Equal(t, []int32{0, 1, 2}, seen.of("never"))
	require.Equal(t, []int32{0}, seen.of("poison"))
	require.Equal(t, "retries", seen.topic["never"])

	var dead deliveries
	newMember(t, "undertaker", "%DLQ%retries-group", &dead, consumer.MessageSelector{})
	dead.await(t, "", []string{"never", "poison"})
	for _, d := range dead.snapshot() {
		require.Equal(t, "retries", d.msg.GetProperty("DLQ_ORIGIN_TOPIC"))
	}
}

// A group that begins at a time has what it refused at first: a client hears of its group's retry queue up to half a minute later, and
// begins there at what the broker says.
func TestAGroupThatBeginsAtATimeHasItsFirstRetries(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "timed")
	p := newProducer(t)
	s := &tries{times: make(map[string][]int32), topic: make(map[string]string)}
	newMemberNamed(t, instance(t), "timed-group", "timed", func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		s.note(msgs[0])
		if msgs[0].ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.MessageSelector{}, consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp))
	sent := numbered("m", 6)
	sendAll(t, p, "timed", sent)
	again := func() (n int) {
		for _, body := range sent {
			if len(s.of(body)) > 1 {
				n++
			}
		}
		return n
	}
	until(t, 2*time.Minute, func() bool { return again() == len(sent) }, func() string { return fmt.Sprintf("%d of %d come again", again(), len(sent)) })
}
