package conformance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"
)

// order is a message with an amount and a region, and says whether the condition of
// these tests is true of it.
func order(topic, prefix string, i int) (m *primitive.Message, wanted bool) {
	region := []string{"eu", "us", "asia"}[i%3]
	m = primitive.NewMessage(topic, fmt.Appendf(nil, "%s-%d", prefix, i))
	m.WithProperties(map[string]string{"amount": strconv.Itoa(i % 200), "region": region})
	if i%5 == 0 {
		m.WithProperty("amount", "none") // not a number: it never matches
	}
	return m, i%5 != 0 && i%200 > 100 && region != "asia"
}

const bigOrders = "amount > 100 AND region IN ('eu', 'us')"

func TestPropertiesAreFiltered(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "sql")
	p := newProducer(t)
	var got deliveries
	newMember(t, "sql-group", "sql", &got, consumer.MessageSelector{Type: consumer.SQL92, Expression: bigOrders})
	var want []string
	for i := range 300 {
		m, wanted := order("sql", "order", i)
		_, err := p.SendSync(context.Background(), m)
		require.NoError(t, err)
		if wanted {
			want = append(want, string(m.Body))
		}
	}
	got.await(t, "", want)
	cluster.committed(t, "sql-group", "sql") // past what was filtered too
	require.Len(t, got.snapshot(), len(want))
	require.Greater(t, len(want), 50)
}

// A member whose condition cannot be read gets nothing, and takes no queue from the
// others of its group.
func TestAConditionThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	cluster.raftmq(t, "topic", "create", "sql-bad")
	p := newProducer(t)
	var good, bad deliveries
	newMember(t, "sql-bad-group", "sql-bad", &good, consumer.MessageSelector{Type: consumer.SQL92, Expression: "amount IS NOT NULL"})
	newMember(t, "sql-bad-group", "sql-bad", &bad, consumer.MessageSelector{Type: consumer.SQL92, Expression: "amount >> 100"})
	total := 0
	for round := range 4 { // long enough for queues to be shared anew
		var want []string
		for i := range 60 {
			m, _ := order("sql-bad", fmt.Sprint("order-", round), i)
			_, err := p.SendSync(context.Background(), m)
			require.NoError(t, err)
			want = append(want, string(m.Body))
		}
		total += len(want)
		good.await(t, "", want)
		time.Sleep(250 * time.Millisecond)
	}
	require.Len(t, good.snapshot(), total)
	require.Empty(t, bad.snapshot())
}

// Each node in turn is killed with -9 while a group consumes by a condition: of what was
// acknowledged it gets all that matches, and never anything else.
func TestFilteredGroupMissesNothingWhileNodesAreKilled(t *testing.T) {
	kills := 2
	if s := os.Getenv("RAFTMQ_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		kills = min(n, 3)
	}
	cluster.raftmq(t, "topic", "create", "sql-killed")
	var got deliveries
	for range 2 {
		newMember(t, "sql-killed-group", "sql-killed", &got, consumer.MessageSelector{Type: consumer.SQL92, Expression: bigOrders})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	var want, unwanted []string
	acked := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(want) + len(unwanted)
	}
	var wg sync.WaitGroup
	for s := range 3 {
		p := newProducer(t)
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				m, wanted := order("sql-killed", fmt.Sprintf("order-%d", s), i)
				body := string(m.Body)
				_, err := p.SendSync(context.Background(), m)
				mu.Lock()
				switch {
				case !wanted:
					unwanted = append(unwanted, body) // whatever became of it
				case err == nil:
					want = append(want, body)
				}
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	progress := func(what string) {
		from := acked()
		until(t, 2*time.Minute, func() bool { return acked() >= from+600 }, func() string { return what + ": sends do not go on" })
	}
	progress("before")
	cluster.killEach(t, kills, progress)
	stop()
	wg.Wait()
	got.await(t, "", want)
	cluster.committed(t, "sql-killed-group", "sql-killed")
	bodies := got.bodies("")
	for _, body := range unwanted {
		require.Zero(t, bodies[body], "%s is not wanted", body)
	}
	slices.Sort(want)
	t.Logf("kills %d, acknowledged and wanted %d, lost 0; not wanted %d, delivered 0; deliveries %d", kills, len(want), len(unwanted), len(got.snapshot()))
}
