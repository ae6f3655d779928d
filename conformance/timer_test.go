package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// late is a message that is to come after its level's delay.
type late struct {
	level int
	tries int       // that the client may make
	asked time.Time // before the call
	acked bool
}

// levelDelay is that of the levels that are sent.
var levelDelay = map[int]time.Duration{1: time.Second, 2: 5 * time.Second, 3: 10 * time.Second, 4: 30 * time.Second}

// Each node is killed while messages with a delay level are sent and come due: none comes
// before its time, none that was acknowledged is lost, and none is in its queue more often
// than the client may have sent it, which is once where it does not try again.
func TestDelayedMessagesComeOnceAndInTimeWhileNodesAreKilled(t *testing.T) {
	const topic, group = "timers", "timers-group"
	cluster.raftmq(t, "topic", "create", topic)
	var mu sync.Mutex
	came := make(map[string]map[place]time.Time) // when each was delivered first
	newMemberNamed(t, instance(t), group, topic, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			body, at := string(m.Body), place{m.Queue.BrokerName, m.Queue.QueueId, m.QueueOffset}
			if came[body] == nil {
				came[body] = make(map[place]time.Time)
			}
			if _, again := came[body][at]; !again {
				came[body][at] = time.Now()
			}
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.MessageSelector{})

	sent := make(map[string]*late)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	for i, retries := range []int{0, 0, 3} {
		p := newProducer(t, producer.WithRetry(retries))
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := fmt.Sprintf("%d-%d", i, n)
				l := &late{level: 1 + n%len(levelDelay), tries: 1 + retries, asked: time.Now()}
				r, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body)).WithDelayTimeLevel(l.level))
				l.acked = err == nil && r.Status == primitive.SendOK
				mu.Lock()
				sent[body] = l
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	acked := func() int {
		mu.Lock()
		defer mu.Unlock()
		return acknowledged(sent)
	}
	progress := func(what string) {
		t.Helper()
		from := acked()
		until(t, time.Minute, func() bool { return acked() > from+100 }, func() string { return what })
	}
	progress("delayed messages are acknowledged")
	for _, n := range cluster.nodes {
		cluster.tell(t, "kill", n)
		progress("delayed messages are acknowledged without " + n.Name)
		cluster.tell(t, "restart", n)
		progress("delayed messages are acknowledged with " + n.Name)
	}
	stop()
	wg.Wait()
	missing := 0
	until(t, 3*time.Minute, func() bool { // the last has 30 s to wait, and the client's pulls may be held by nodes that died
		mu.Lock()
		defer mu.Unlock()
		missing = 0
		for body, l := range sent {
			if l.acked && came[body] == nil {
				missing++
			}
		}
		return missing == 0
	}, func() string { return fmt.Sprintf("%d delayed messages that were acknowledged have not come", missing) })
	cluster.committed(t, group, topic)

	mu.Lock()
	defer mu.Unlock()
	twice, unknown := 0, 0
	for body, at := range came {
		l := sent[body]
		require.NotNil(t, l, "%s was not sent", body)
		require.LessOrEqual(t, len(at), l.tries, "%s is stored at %v", body, at)
		twice += len(at) - 1
		if !l.acked {
			unknown++
		}
		for _, when := range at {
			require.GreaterOrEqual(t, when.Sub(l.asked), levelDelay[l.level]-50*time.Millisecond, "%s of level %d came early", body, l.level)
		}
	}
	t.Logf("%d delayed messages were sent, all that were acknowledged came in time; stored twice by the client's own tries %d, failed but stored %d of %d", len(sent), twice, unknown, len(sent)-acknowledged(sent))
}

// acknowledged is how many were.
func acknowledged(sent map[string]*late) (n int) {
	for _, l := range sent {
		if l.acked {
			n++
		}
	}
	return n
}
