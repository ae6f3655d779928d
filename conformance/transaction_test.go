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

// local is what the local transactions of a test do, by the body's first word:
// commit, rollback, or unknown and what a check finds.
type local struct {
	mu     sync.Mutex
	checks map[string]int // by body
	group  string
	t      testing.TB
}

func (l *local) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	switch word, _, _ := strings.Cut(string(m.Body), " "); word {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

// CheckLocalTransaction does not know the first time, where a body asks for that.
func (l *local) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	l.mu.Lock()
	defer l.mu.Unlock()
	body := string(m.Body)
	l.checks[body]++
	if m.GetProperty(primitive.PropertyProducerGroup) != l.group {
		l.t.Errorf("%q is asked about in group %q", body, m.GetProperty(primitive.PropertyProducerGroup))
	}
	if strings.Contains(body, "yes") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func (l *local) asked(body string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checks[body]
}

func newTransactionProducer(t testing.TB, group string) (rocketmq.TransactionProducer, *local) {
	t.Helper()
	l := &local{checks: make(map[string]int), group: group, t: t}
	p, err := rocketmq.NewTransactionProducer(l, producer.WithNameServer(cluster.endpoints()), producer.WithInstanceName(instance(t)), producer.WithGroupName(group), producer.WithRetry(2))
	require.NoError(t, err)
	require.NoError(t, p.Start())
	return p, l
}

// prepare sends a transactional message, again while nodes change, and returns the slot
// that it went to. It is asked about after a second.
func prepare(t testing.TB, p rocketmq.TransactionProducer, topic, body string) (broker string) {
	t.Helper()
	until(t, time.Minute, func() bool {
		m := primitive.NewMessage(topic, []byte(body))
		m.WithTag("tx").WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")
		r, err := p.SendMessageInTransaction(context.Background(), m)
		if err != nil || r.Status != primitive.SendOK {
			return false
		}
		require.NotEmpty(t, r.TransactionID)
		broker = r.MessageQueue.BrokerName
		return true
	}, func() string { return "a transactional message is stored" })
	return broker
}

// What a stock transaction producer commits is delivered once, what it rolls back is
// not; what it does not know the cluster asks about.
func TestTransactions(t *testing.T) {
	const topic, group = "transactions", "transactions-group"
	cluster.raftmq(t, "topic", "create", topic)
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{})
	p, l := newTransactionProducer(t, "tx-"+t.Name())
	var want []string
	for i := range 20 {
		for _, kind := range []string{"commit", "rollback", "unknown yes", "unknown no"} {
			body := fmt.Sprintf("%s %d", kind, i)
			prepare(t, p, topic, body)
			if kind == "commit" || kind == "unknown yes" {
				want = append(want, body)
			}
		}
	}
	got.await(t, "", want)
	until(t, time.Minute, func() bool { return len(cluster.raftmq(t, "tx", "list", topic)) == 0 }, func() string { return "transactions without a decision" })
	cluster.committed(t, group, topic)
	require.Len(t, got.snapshot(), len(want), "once each, and nothing that was rolled back")
	for _, d := range got.snapshot() {
		require.Equal(t, "tx", d.msg.GetTags())
		require.Equal(t, "true", d.msg.GetProperty(primitive.PropertyTransactionPrepared), "as RocketMQ's broker leaves it")
		require.Equal(t, d.msg.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex), d.msg.TransactionId)
		require.NotZero(t, d.msg.PreparedTransactionOffset)
	}
	for i := range 20 {
		require.Positive(t, l.asked(fmt.Sprintf("unknown yes %d", i)))
		require.Positive(t, l.asked(fmt.Sprintf("unknown no %d", i)))
		require.Zero(t, l.asked(fmt.Sprintf("commit %d", i)))
	}
	require.NoError(t, p.Shutdown())
}

// The producer dies with transactions that it did not decide, and then the node that
// leads them: another producer of the group is asked by the next leader.
func TestTransactionsOutliveTheirProducerAndLeader(t *testing.T) {
	const topic, group = "transactions-faults", "transactions-faults-group"
	cluster.raftmq(t, "topic", "create", topic)
	var got deliveries
	newMember(t, group, topic, &got, consumer.MessageSelector{})
	first, _ := newTransactionProducer(t, "tx-"+t.Name())
	var want []string
	var broker string
	for i := range 12 {
		body := fmt.Sprintf("unknown %s %d", []string{"yes", "no"}[i%2], i)
		broker = prepare(t, first, topic, body)
		if i%2 == 0 {
			want = append(want, body)
		}
	}
	require.NoError(t, first.Shutdown())
	var slot int
	_, err := fmt.Sscanf(broker, "raftmq-%d", &slot)
	require.NoError(t, err)
	n := cluster.nodes[slot]
	cluster.tell(t, "kill", n)
	second, l := newTransactionProducer(t, "tx-"+t.Name())
	prepare(t, second, topic, "commit afterwards") // the client learns its brokers from what it sends
	want = append(want, "commit afterwards")
	got.await(t, "", want)
	until(t, time.Minute, func() bool { return len(cluster.raftmq(t, "tx", "list", topic)) == 0 }, func() string { return "transactions without a decision" })
	cluster.tell(t, "restart", n)
	cluster.committed(t, group, topic)
	bodies := make(map[string]map[place]bool)
	for _, d := range got.snapshot() {
		if bodies[string(d.msg.Body)] == nil {
			bodies[string(d.msg.Body)] = make(map[place]bool)
		}
		bodies[string(d.msg.Body)][d.place] = true
	}
	require.Len(t, bodies, len(want), "nothing that was rolled back")
	for body, at := range bodies {
		require.Len(t, at, 1, "%s is stored once", body)
	}
	require.Positive(t, l.asked(want[0]))
	require.NoError(t, second.Shutdown())
}
