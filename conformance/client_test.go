package conformance

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

var instances atomic.Int64

// instance is a name of its own for each client: clients of one process that
// share a name share connections, and one group may be in it only once.
func instance(t testing.TB) string { return fmt.Sprintf("%s-%d", t.Name(), instances.Add(1)) }

func newProducer(t testing.TB, opts ...producer.Option) rocketmq.Producer {
	t.Helper()
	p, err := rocketmq.NewProducer(append([]producer.Option{
		producer.WithNameServer(cluster.endpoints()), producer.WithInstanceName(instance(t)), producer.WithGroupName("p-" + t.Name()),
	}, opts...)...)
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.Shutdown() })
	return p
}

// place is where a message is stored.
type place struct {
	broker string
	queue  int
	offset int64
}

// delivery is a message as a consumer got it.
type delivery struct {
	place
	member string
	msg    *primitive.MessageExt
}

// deliveries is what one or more consumers got, in order.
type deliveries struct {
	mu  sync.Mutex
	all []delivery
}

// take is a consumer's callback.
func (d *deliveries) take(member string) func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	return func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, m := range msgs {
			d.all = append(d.all, delivery{place{m.Queue.BrokerName, m.Queue.QueueId, m.QueueOffset}, member, m})
		}
		return consumer.ConsumeSuccess, nil
	}
}

func (d *deliveries) snapshot() []delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]delivery(nil), d.all...)
}

func (d *deliveries) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)
}

// inOrder requires that each queue was given message by message, and returns how often one went
// back: its next holder begins at what was committed.
func (d *deliveries) inOrder(t testing.TB) (back int) {
	t.Helper()
	next := make(map[place]int64)
	for _, x := range d.snapshot() {
		q := x.place
		q.offset = 0
		require.LessOrEqual(t, x.offset, next[q], "queue %v", q)
		if x.offset < next[q] {
			back++
		}
		next[q] = x.offset + 1
	}
	return back
}

// bodies counts deliveries by body, of one member or of all.
func (d *deliveries) bodies(member string) map[string]int {
	n := make(map[string]int)
	for _, x := range d.snapshot() {
		if member == "" || x.member == member {
			n[string(x.msg.Body)]++
		}
	}
	return n
}

// await waits until each of want was delivered, to member or to anyone.
func (d *deliveries) await(t testing.TB, member string, want []string) {
	t.Helper()
	missing := 0
	until(t, 2*time.Minute, func() bool {
		got := d.bodies(member)
		missing = 0
		for _, b := range want {
			if got[b] == 0 {
				missing++
			}
		}
		return missing == 0
	}, func() string { return fmt.Sprintf("%d of %d messages are not delivered", missing, len(want)) })
}

// member is a push consumer whose shutdown may be called early.
type member struct {
	rocketmq.PushConsumer
	name string
	once sync.Once
}

func (m *member) stop() { m.once.Do(func() { m.Shutdown() }) }

// newMember starts a push consumer that reads topic from its beginning.
func newMember(t testing.TB, group, topic string, into *deliveries, selector consumer.MessageSelector, opts ...consumer.Option) *member {
	t.Helper()
	name := instance(t)
	return newMemberNamed(t, name, group, topic, into.take(name), selector, opts...)
}

// newMemberNamed is newMember with a name and a callback of one's own.
func newMemberNamed(t testing.TB, name, group, topic string, handle func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error), selector consumer.MessageSelector, opts ...consumer.Option) *member {
	t.Helper()
	c, err := rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNameServer(cluster.endpoints()), consumer.WithInstance(name), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, opts...)...)
	require.NoError(t, err)
	m := &member{PushConsumer: c, name: name}
	require.NoError(t, c.Subscribe(topic, selector, handle))
	require.NoError(t, c.Start())
	t.Cleanup(m.stop)
	return m
}

// newPuller starts a pull consumer that reads topic from its beginning.
func newPuller(t testing.TB, group, topic string) rocketmq.PullConsumer {
	t.Helper()
	c, err := rocketmq.NewPullConsumer(consumer.WithNameServer(cluster.endpoints()), consumer.WithInstance(instance(t)),
		consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(t, err)
	require.NoError(t, c.Subscribe(topic, consumer.MessageSelector{}))
	require.NoError(t, c.Start())
	t.Cleanup(func() { c.Shutdown() })
	return c
}

// numbered are n bodies.
func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// sendAll sends each body with SendSync; each must be stored.
func sendAll(t testing.TB, p rocketmq.Producer, topic string, bodies []string) {
	t.Helper()
	for _, b := range bodies {
		r, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(b)))
		require.NoError(t, err)
		require.Equal(t, primitive.SendOK, r.Status)
	}
}
