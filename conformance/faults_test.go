package conformance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// ledger is what the producers of a run were told.
type ledger struct {
	acked atomic.Int64 // messages

	mu       sync.Mutex
	attempts int               // calls
	errors   int               // calls that failed: their messages may be stored or not
	stored   map[string]string // acknowledged bodies, and how they were sent
	unknown  map[string]bool   // bodies of which no call succeeded
	order    map[string][]string
}

// record notes the outcome of one call.
func (l *ledger) record(kind string, err error, bodies ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts++
	for _, b := range bodies {
		if err != nil {
			if l.stored[b] == "" {
				l.unknown[b] = true
			}
			continue
		}
		delete(l.unknown, b)
		l.stored[b] = kind
		l.order[kind] = append(l.order[kind], b)
	}
	if err != nil {
		l.errors++
		return
	}
	l.acked.Add(int64(len(bodies)))
}

// Nodes are killed with -9 and restarted, one after another, while the stock
// client sends in each way and two members of a group consume. Nothing that was
// acknowledged may be lost, and what one producer sends to one queue keeps its
// order. A message may be stored twice: the client sends again after a timeout,
// and its messages carry nothing to tell them by.
func TestNothingAcknowledgedIsLostWhileNodesAreKilled(t *testing.T) {
	kills := 6
	if s := os.Getenv("RAFTMQ_KILLS"); s != "" {
		var err error
		kills, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	const topic, group = "faults", "faults-group"
	cluster.raftmq(t, "topic", "create", topic)
	var got deliveries
	a := newMember(t, group, topic, &got, consumer.MessageSelector{})
	b := newMember(t, group, topic, &got, consumer.MessageSelector{})

	l := &ledger{stored: make(map[string]string), unknown: make(map[string]bool), order: make(map[string][]string)}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	send := func(kind string, each func(n int) (bodies []string, err error)) {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				bodies, err := each(n)
				l.record(kind, err, bodies...)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	ok := func(r *primitive.SendResult, err error) error {
		if err == nil && r.Status != primitive.SendOK {
			return fmt.Errorf("status %v", r.Status)
		}
		return err
	}
	spread := newProducer(t)
	for i := range 2 {
		send("sync", func(n int) ([]string, error) {
			body := fmt.Sprintf("sync-%d-%d", i, n)
			return []string{body}, ok(spread.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body))))
		})
	}
	batches := newProducer(t)
	send("batch", func(n int) ([]string, error) {
		bodies := numbered(fmt.Sprintf("batch-%d", n), 5)
		var batch []*primitive.Message
		for _, body := range bodies {
			batch = append(batch, primitive.NewMessage(topic, []byte(body)))
		}
		return bodies, ok(batches.SendSync(context.Background(), batch...))
	})
	oneway := newProducer(t)
	var oneways atomic.Int64
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			oneways.Add(1)
			oneway.SendOneWay(context.Background(), primitive.NewMessage(topic, fmt.Appendf(nil, "oneway-%d", n)))
			time.Sleep(10 * time.Millisecond)
		}
	})
	async := newProducer(t)
	wg.Go(func() {
		inFlight := make(chan struct{}, 16)
		for n := 0; ctx.Err() == nil; n++ {
			body := fmt.Sprintf("async-%d", n)
			inFlight <- struct{}{}
			err := async.SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
				l.record("async", ok(r, err), body)
				<-inFlight
			}, primitive.NewMessage(topic, []byte(body)))
			if err != nil {
				l.record("async", err, body)
				<-inFlight
				time.Sleep(10 * time.Millisecond) // refused at once while a node is down
			}
			time.Sleep(2 * time.Millisecond)
		}
		for range cap(inFlight) {
			inFlight <- struct{}{}
		}
	})
	// One producer for a queue of each slot: it sends one message until it is
	// acknowledged, then the next.
	ordered := make([]atomic.Int64, 3)
	for slot := range 3 {
		p := newProducer(t, producer.WithQueueSelector(producer.NewManualQueueSelector()))
		next := 0
		send(fmt.Sprintf("ordered-%d", slot), func(int) ([]string, error) {
			body := fmt.Sprintf("ordered-%d-%d", slot, next)
			m := primitive.NewMessage(topic, []byte(body))
			m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: fmt.Sprintf("raftmq-%d", slot), QueueId: 1}
			err := ok(p.SendSync(context.Background(), m))
			if err == nil {
				next++
				ordered[slot].Add(1)
			}
			return []string{body}, err
		})
	}

	progress := func(more int64, what string) {
		t.Helper()
		from := l.acked.Load()
		until(t, 2*time.Minute, func() bool { return l.acked.Load() >= from+more }, func() string {
			return fmt.Sprintf("%s: %d of %d more messages are acknowledged", what, l.acked.Load()-from, more)
		})
	}
	progress(500, "before")
	cluster.killEach(t, kills, func(what string) { progress(500, what) })
	for slot := range ordered {
		from := ordered[slot].Load()
		until(t, 2*time.Minute, func() bool { return ordered[slot].Load() > from+10 }, func() string {
			return fmt.Sprintf("the ordered producer of raftmq-%d goes on", slot)
		})
	}
	stop()
	wg.Wait()

	var want []string
	for body := range l.stored {
		want = append(want, body)
	}
	got.await(t, "", want) // nothing acknowledged is lost
	cluster.committed(t, group, topic)

	places := make(map[string][]place)
	at := make(map[place]string)
	redelivered := 0
	for _, d := range got.snapshot() {
		body := string(d.msg.Body)
		if seen, ok := at[d.place]; ok {
			require.Equal(t, seen, body, "%v holds one message for ever", d.place)
			redelivered++
			continue
		}
		at[d.place] = body
		places[body] = append(places[body], d.place)
	}
	twice, late := 0, 0
	for body, ps := range places {
		if len(ps) > 1 {
			twice += len(ps) - 1
		}
		if l.unknown[body] {
			late++
		}
	}
	// Offsets are dense from 0, and all of them were delivered.
	queues := 0
	var total int64
	for _, row := range cluster.raftmq(t, "topic", "show", topic) {
		queues++
		for off := int64(row["min"].(float64)); off < int64(row["max"].(float64)); off++ {
			p := place{row["broker"].(string), int(row["queue"].(float64)), off}
			require.Contains(t, at, p, "an offset that was not delivered")
			total++
		}
	}
	require.Equal(t, 6, queues)
	require.EqualValues(t, len(at), total)
	for slot := range ordered {
		kind := fmt.Sprintf("ordered-%d", slot)
		last := int64(-1)
		for _, body := range l.order[kind] {
			first := slices.MinFunc(places[body], func(x, y place) int { return int(x.offset - y.offset) })
			require.Equal(t, place{fmt.Sprintf("raftmq-%d", slot), 1, first.offset}, first)
			require.Greater(t, first.offset, last, "%s is stored before what was acknowledged before it", body)
			last = first.offset
		}
	}
	t.Logf("kills %d, calls %d, of which failed %d; messages acknowledged %d, lost 0, one-way sent %d; stored twice %d, failed but stored %d of %d; delivered again %d; panics inside the client %d",
		kills, l.attempts, l.errors, len(l.stored), oneways.Load(), twice, late, len(l.unknown), redelivered, clientPanics.Load())
	for _, kind := range []string{"sync", "batch", "async", "ordered-0", "ordered-1", "ordered-2"} {
		t.Logf("%s: %d acknowledged", kind, len(l.order[kind]))
	}

	// Offsets that were committed through all of this hold.
	a.stop()
	b.stop()
	sent := numbered("afterwards", 60)
	sendAll(t, newProducer(t), topic, sent)
	var rest deliveries
	newMember(t, group, topic, &rest, consumer.MessageSelector{})
	rest.await(t, "", sent)
	require.Len(t, rest.snapshot(), len(sent), "nothing that was committed comes again")
}
