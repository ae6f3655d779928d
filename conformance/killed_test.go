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
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// stream is messages that one producer sends, one after another, until it is ended.
type stream struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked []string // bodies
}

func newStream(t testing.TB, p rocketmq.Producer, pause time.Duration, message func(n int) *primitive.Message) *stream {
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{stop: stop}
	s.wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			m := message(n)
			if r, err := p.SendSync(context.Background(), m); err == nil && r.Status == primitive.SendOK {
				s.mu.Lock()
				s.acked = append(s.acked, string(m.Body))
				s.mu.Unlock()
			}
			time.Sleep(pause)
		}
	})
	t.Cleanup(func() { s.end() })
	return s
}

// sent is how many are acknowledged.
func (s *stream) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// end returns the bodies that were acknowledged.
func (s *stream) end() []string {
	s.stop()
	s.wg.Wait()
	return s.acked
}

// underKills is a feature in use while nodes are killed.
type underKills struct {
	sends *stream
	// done is how far the feature is: it must not stay where it is.
	done func() int
	// whileDead runs once, while the first node is dead; nil: nothing.
	whileDead func()
	// check judges, when all nodes are back and the messages in acked were stored.
	check func(t *testing.T, acked []string)
}

// Each node is killed with -9 and restarted while the client is used in every way that
// TestNothingAcknowledgedIsLostWhileNodesAreKilled and others of its kind do not: each use
// goes on while a node is dead and when it is back, and is then judged by itself.
func TestFeaturesGoOnWhileNodesAreKilled(t *testing.T) {
	features := []struct {
		name  string
		begin func(t *testing.T) underKills
	}{
		{"Tags", tagsUnderKills},
		{"OrderlyMembers", orderUnderKills},
		{"RetriesAndDeadLetters", retriesUnderKills},
		{"Poll", pollUnderKills},
		{"PullFrom", pullFromUnderKills},
		{"Traces", tracesUnderKills},
		{"AnOperatorMovesTheGroup", resetUnderKills},
	}
	uses := make([]underKills, len(features))
	for i, f := range features {
		uses[i] = f.begin(t)
	}
	goOn := func(what string) {
		for i, u := range uses {
			sent, done := u.sends.sent(), u.done()
			until(t, 2*time.Minute, func() bool { return u.sends.sent() >= sent+30 && u.done() >= done+5 }, func() string {
				return fmt.Sprintf("%s: %s: %d more are sent, it is %d further", what, features[i].name, u.sends.sent()-sent, u.done()-done)
			})
		}
	}
	goOn("before")
	begun, first := time.Now(), true
	cluster.killEach(t, len(cluster.nodes), func(what string) {
		for _, u := range uses {
			if first && u.whileDead != nil {
				u.whileDead()
			}
		}
		first = false
		goOn(what)
	})
	t.Logf("all nodes were killed within %v", time.Since(begun).Round(time.Second))
	for _, u := range uses {
		u.sends.end()
	}
	for i, u := range uses {
		t.Run(features[i].name, func(t *testing.T) { u.check(t, u.sends.end()) })
	}
}

// tagsUnderKills: of what is acknowledged the group gets all that has its tags, and
// nothing else.
func tagsUnderKills(t *testing.T) underKills {
	const topic, group = "tags-killed", "tags-killed-group"
	cluster.raftmq(t, "topic", "create", topic)
	tags := []string{"red", "green", "blau-ü"}
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{Type: consumer.TAG, Expression: "red || blau-ü"})
	s := newStream(t, newProducer(t), 20*time.Millisecond, func(n int) *primitive.Message {
		tag := tags[n/2%3] // each tag goes to all slots
		return primitive.NewMessage(topic, fmt.Appendf(nil, "%s %d", tag, n)).WithTag(tag)
	})
	return underKills{sends: s, done: got.count, check: func(t *testing.T, acked []string) {
		var want []string
		for _, body := range acked {
			if !strings.HasPrefix(body, "green") {
				want = append(want, body)
			}
		}
		got.await(t, "", want)
		cluster.committed(t, group, topic) // past what was filtered too
		for _, d := range got.snapshot() {
			require.NotEqual(t, "green", d.msg.GetTags())
		}
		t.Logf("acknowledged %d, wanted %d, lost 0; deliveries %d", len(acked), len(want), got.count())
	}}
}

// orderUnderKills: two orderly members have each queue in its order.
func orderUnderKills(t *testing.T) underKills {
	const topic, group = "orderly-killed", "orderly-killed-group"
	cluster.raftmq(t, "topic", "create", topic, "--queues", "1", "--order")
	var got deliveries
	for range 2 {
		newMember(t, group, topic, &got, consumer.MessageSelector{}, consumer.WithConsumerOrder(true))
	}
	s := newStream(t, newProducer(t), 20*time.Millisecond, func(n int) *primitive.Message {
		return primitive.NewMessage(topic, fmt.Appendf(nil, "m-%d", n))
	})
	return underKills{sends: s, done: got.count, check: func(t *testing.T, acked []string) {
		got.await(t, "", acked)
		cluster.committed(t, group, topic)
		t.Logf("acknowledged %d, lost 0; deliveries %d, queues that went back %d times", len(acked), got.count(), got.inOrder(t))
	}}
}

// retriesUnderKills: what the listener refuses comes again as often as its group allows, and
// is then among the dead letters. A request to put it back of which the client does not know
// it makes again, by having the listener refuse the same copy again: as many more copies there
// may be, and no more.
func retriesUnderKills(t *testing.T) underKills {
	const topic, group, limit = "retries-killed", "retries-killed-group", 2
	cluster.raftmq(t, "topic", "create", topic)
	var got deliveries
	name := instance(t)
	take := got.take(name)
	copies := make(map[string]*copiesOf)
	var mu sync.Mutex
	again := 0
	newMemberNamed(t, name, group, topic, func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		m := msgs[0]
		body := string(m.Body)
		if !strings.HasPrefix(body, "never") {
			return take(ctx, m)
		}
		mu.Lock()
		defer mu.Unlock()
		c := copies[body]
		if c == nil {
			c = &copiesOf{times: make(map[primitive.MessageQueue]map[int64]int32)}
			copies[body] = c
		}
		c.note(m)
		if strings.HasPrefix(m.Queue.Topic, "%RETRY%") {
			again++
		}
		concurrent, _ := primitive.GetConcurrentlyCtx(ctx)
		concurrent.DelayLevelWhenNextConsume = 1
		return consumer.ConsumeRetryLater, nil
	}, consumer.MessageSelector{}, consumer.WithMaxReconsumeTimes(limit))
	s := newStream(t, newProducer(t), 20*time.Millisecond, func(n int) *primitive.Message {
		body := fmt.Sprintf("fine %d", n)
		if n%25 == 0 {
			body = fmt.Sprintf("never %d", n)
		}
		return primitive.NewMessage(topic, []byte(body))
	})
	done := func() int {
		mu.Lock()
		defer mu.Unlock()
		return again
	}
	return underKills{sends: s, done: done, check: func(t *testing.T, acked []string) {
		var fine, never []string
		for _, body := range acked {
			if strings.HasPrefix(body, "never") {
				never = append(never, body)
			} else {
				fine = append(fine, body)
			}
		}
		got.await(t, "", fine)
		cluster.committed(t, group, topic)
		cluster.committed(t, group, "%RETRY%"+group)
		var dead deliveries
		newMember(t, "undertaker-killed", "%DLQ%"+group, &dead, consumer.MessageSelector{})
		dead.await(t, "", never)
		letters := 0
		for _, row := range cluster.raftmq(t, "topic", "show", "%DLQ%"+group) {
			letters += int(row["max"].(float64) - row["min"].(float64))
		}
		until(t, time.Minute, func() bool { return dead.count() >= letters }, func() string { return fmt.Sprintf("%d of %d dead letters are read", dead.count(), letters) })
		buried := make(map[string]map[place]bool)
		for _, d := range dead.snapshot() {
			body := string(d.msg.Body)
			require.Contains(t, body, "never", "a dead letter")
			if buried[body] == nil {
				buried[body] = make(map[place]bool)
			}
			buried[body][d.place] = true
		}
		mu.Lock()
		defer mu.Unlock()
		unknown, twice := 0, 0
		for body, at := range buried {
			c := copies[body]
			require.NotNil(t, c, "%s was never given", body)
			stored, given := c.stored()
			for times := range int32(limit + 1) {
				require.Positive(t, stored[times], "%s came with %v as often", body, stored)
			}
			require.Len(t, stored, limit+1, "%s came with %v as often", body, stored)
			n := stored[0] + stored[1] + stored[2]
			// Each copy that was given was put back at least once, and each refusal puts back once at most.
			require.LessOrEqual(t, n-stored[0]+len(at), given, "%s: copies %v, dead letters %d, refused %d times", body, stored, len(at), given)
			unknown += given - n
			twice += n - stored[0] + len(at) - (limit + 1)
		}
		t.Logf("acknowledged %d, to be buried %d, buried %d; refused again %d times, put back once too often %d times", len(acked), len(never), len(buried), unknown, twice)
	}}
}

// copiesOf is the stored copies of a message that a listener got.
type copiesOf struct {
	times map[primitive.MessageQueue]map[int64]int32 // by queue and offset: reconsume times when it first came
	given int                                        // how often any came
}

func (c *copiesOf) note(m *primitive.MessageExt) {
	c.given++
	q := c.times[*m.Queue]
	if q == nil {
		q = make(map[int64]int32)
		c.times[*m.Queue] = q
	}
	if _, ok := q[m.QueueOffset]; !ok { // the client counts further in a copy that it could not put back
		q[m.QueueOffset] = m.ReconsumeTimes
	}
}

// stored is how many copies there are by reconsume times, and how often any was given.
func (c *copiesOf) stored() (byTimes map[int32]int, given int) {
	byTimes = make(map[int32]int)
	for _, q := range c.times {
		for _, times := range q {
			byTimes[times]++
		}
	}
	return byTimes, c.given
}

// pollUnderKills: Poll and ACK have all that is acknowledged, and commit it.
func pollUnderKills(t *testing.T) underKills {
	const topic, group = "polled-killed", "polled-killed-group"
	cluster.raftmq(t, "topic", "create", topic)
	c := newPuller(t, group, topic)
	var got deliveries
	take := got.take("")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			r, err := c.Poll(ctx, time.Second)
			if err != nil {
				continue // nothing there
			}
			take(ctx, r.GetMsgList()...)
			c.ACK(context.Background(), r, consumer.ConsumeSuccess)
		}
	})
	s := newStream(t, newProducer(t), 20*time.Millisecond, func(n int) *primitive.Message {
		return primitive.NewMessage(topic, fmt.Appendf(nil, "m-%d", n))
	})
	return underKills{sends: s, done: got.count, check: func(t *testing.T, acked []string) {
		got.await(t, "", acked)
		cluster.committed(t, group, topic)
		t.Logf("acknowledged %d, lost 0; polled %d", len(acked), got.count())
	}}
}

// pullFromUnderKills: reading from one offset to the next, each has its message and
// none is passed over.
func pullFromUnderKills(t *testing.T) underKills {
	const topic = "random-access-killed"
	cluster.raftmq(t, "topic", "create", topic, "--queues", "1")
	c := newPuller(t, topic+"-group", topic)
	var got deliveries
	take := got.take("")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	failed := make([]int, 3)
	for slot := range failed {
		wg.Go(func() {
			next := int64(0)
			for ctx.Err() == nil {
				q := primitive.MessageQueue{Topic: topic, BrokerName: fmt.Sprintf("raftmq-%d", slot)}
				r, err := c.PullFrom(ctx, &q, next, 32)
				if err != nil {
					failed[slot]++
				}
				if err != nil || r.Status != primitive.PullFound {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				msgs := r.GetMessageExts()
				for _, m := range msgs {
					if m.QueueOffset != next {
						t.Errorf("%v: offset %d comes after %d", q, m.QueueOffset, next-1)
					}
					next = m.QueueOffset + 1
				}
				if r.NextBeginOffset != next {
					t.Errorf("%v: behind offset %d it is to go on at %d", q, next-1, r.NextBeginOffset)
				}
				take(ctx, msgs...)
			}
		})
	}
	s := newStream(t, newProducer(t), 20*time.Millisecond, func(n int) *primitive.Message {
		return primitive.NewMessage(topic, fmt.Appendf(nil, "m-%d", n))
	})
	return underKills{sends: s, done: got.count, check: func(t *testing.T, acked []string) {
		got.await(t, "", acked)
		stop()
		wg.Wait()
		var total int
		for _, row := range cluster.raftmq(t, "topic", "show", topic) {
			total += int(row["max"].(float64))
		}
		require.Equal(t, total, got.count(), "each offset once")
		t.Logf("acknowledged %d, lost 0; offsets %d; pulls that failed %v", len(acked), total, failed)
	}}
}

// tracesUnderKills: traces that were acknowledged are there. The client sends each once, so
// what it sends to a slot whose node is dead is lost, and only its log says which.
func tracesUnderKills(t *testing.T) underKills {
	const topic, group = "traced-killed", "traced-killed-group"
	cluster.raftmq(t, "topic", "create", topic)
	traced := &primitive.TraceConfig{GroupName: "traces", Access: primitive.Local, NamesrvAddrs: cluster.endpoints()}
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{}, consumer.WithTrace(traced))
	before := len(clientLogs.tracesStored())
	s := newStream(t, newProducer(t, producer.WithTrace(traced)), 50*time.Millisecond, func(n int) *primitive.Message {
		return primitive.NewMessage(topic, fmt.Appendf(nil, "m-%d", n))
	})
	done := func() int { return len(clientLogs.tracesStored()) }
	return underKills{sends: s, done: done, check: func(t *testing.T, acked []string) {
		got.await(t, "", acked)
		cluster.committed(t, group, topic)
		var there deliveries
		newMember(t, "trace-reader", "RMQ_SYS_TRACE_TOPIC", &there, consumer.MessageSelector{})
		stored := clientLogs.tracesStored()[before:]
		there.await(t, "", stored)
		want := make(map[string][]string) // kinds by id
		for _, body := range stored {
			for trace := range strings.SplitSeq(body, "\x02") {
				switch f := strings.Split(trace, "\x01"); f[0] {
				case "Pub", "SubBefore":
					want[f[5]] = append(want[f[5]], f[0])
				case "SubAfter":
					want[f[2]] = append(want[f[2]], f[0])
				}
			}
		}
		printed := 0
		for id, kinds := range want {
			require.Subset(t, traceKinds(id), kinds, "what is traced of %s", id)
			if printed++; printed == 20 {
				break
			}
		}
		t.Logf("sent %d, traces acknowledged %d, of %d messages", len(acked), len(stored), len(want))
	}}
}

// resetUnderKills: an operator moves the group back while a node is dead, and others are
// killed before it is where it should be: all comes again, and what is sent meanwhile comes.
func resetUnderKills(t *testing.T) underKills {
	const topic, group = "reset-killed", "reset-killed-group"
	cluster.raftmq(t, "topic", "create", topic)
	p := newProducer(t)
	early := numbered("early", 90)
	sendAll(t, p, topic, early)
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{})
	got.await(t, "", early)
	cluster.committed(t, group, topic) // they come again only by the operator
	s := newStream(t, p, 20*time.Millisecond, func(n int) *primitive.Message {
		return primitive.NewMessage(topic, fmt.Appendf(nil, "m-%d", n))
	})
	moved := 0
	whileDead := func() {
		moved = got.count()
		until(t, time.Minute, func() bool {
			return len(cluster.tryRaftmq("group", "reset", group, "--topic", topic, "--to", "earliest")) == 6
		}, func() string { return "an operator moves the group" })
	}
	return underKills{sends: s, done: got.count, whileDead: whileDead, check: func(t *testing.T, acked []string) {
		got.await(t, "", acked)
		again := func() map[string]bool {
			bodies := make(map[string]bool)
			for _, d := range got.snapshot()[moved:] {
				bodies[string(d.msg.Body)] = true
			}
			return bodies
		}
		missing := 0
		until(t, 2*time.Minute, func() bool {
			missing = 0
			there := again()
			for _, body := range early {
				if !there[body] {
					missing++
				}
			}
			return missing == 0
		}, func() string { return fmt.Sprintf("%d of %d do not come again", missing, len(early)) })
		cluster.committed(t, group, topic)
		t.Logf("acknowledged %d, lost 0; all %d before the move came again; deliveries %d", len(acked), len(early), got.count())
	}}
}
