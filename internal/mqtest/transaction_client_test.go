package mqtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
)

// ledger is what local transactions of a test did, by message id: a database that all
// producers of a group see.
type ledger struct {
	mu   sync.Mutex
	done map[string]client.Verdict
	asks map[string]int
}

func newLedger() *ledger {
	return &ledger{done: make(map[string]client.Verdict), asks: make(map[string]int)}
}

// write reports whether it did: not what a check has answered for.
func (l *ledger) write(id string, v client.Verdict) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.done[id]; there {
		return false
	}
	l.done[id] = v
	return true
}

// check answers by what is written; what is not never will be.
func (l *ledger) check(_ context.Context, t client.Transaction) client.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks[t.ID]++
	if v, ok := l.done[t.ID]; ok {
		return v
	}
	l.done[t.ID] = client.Rollback
	return client.Rollback
}

// bodies reads all that a topic has.
func bodies(ctx context.Context, t *testing.T, cl *client.Client, topic string) map[string]int {
	t.Helper()
	r, err := cl.NewReader(topic, client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer r.Close()
	got := make(map[string]int)
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		got[string(d.Body)]++
	}
	return got
}

// Transactions of many senders, each of which commits, rolls back, does not know, or
// dies before it can say; leaders are stopped meanwhile, and checks find out the rest.
// What is delivered is what local transactions did, each once, and nothing else.
func TestWhatIsDeliveredIsWhatLocalTransactionsDid(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, func(cfg *broker.Config) {
		cfg.TransactionTimeout, cfg.TransactionCheckInterval, cfg.TransactionChecks = 300*time.Millisecond, 300*time.Millisecond, 100
	})
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 2}))
	book := newLedger()
	const senders, each = 12, 20
	var mu sync.Mutex
	committed, rolled := make(map[string]bool), make(map[string]bool) // by what the senders were told
	var wg sync.WaitGroup
	half := make(chan struct{}, senders*each)
	for s := range senders {
		p, err := cl.NewTransactionProducer("shop", book.check, client.WithSendTimeout(ample))
		require.NoError(t, err)
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf("%d/%d", s, i)
				r, err := p.Send(ctx, &client.Message{Topic: "t", Keys: []string{body}, Body: []byte(body)}, func(_ context.Context, x client.Transaction) (client.Verdict, error) {
					switch i % 5 {
					case 0: // it did, and its program died before it said so
						book.write(x.ID, client.Commit)
						return client.Undecided, nil
					case 1: // it did nothing, and died
						return client.Undecided, nil
					case 2:
						return client.Commit, errors.New("nothing was done")
					case 3:
						book.write(x.ID, client.Rollback)
						return client.Rollback, nil
					}
					if !book.write(x.ID, client.Commit) {
						return client.Rollback, errors.New("too late")
					}
					return client.Commit, nil
				})
				mu.Lock()
				switch {
				case r.ID == "" && !errors.Is(err, client.ErrUncertain): // never stored
				case r.Verdict == client.Commit:
					committed[body] = true
				case r.Verdict == client.Rollback:
					rolled[body] = true
				}
				mu.Unlock()
				half <- struct{}{}
			}
		})
	}
	for i := range senders * each {
		<-half
		if i == senders*each/4 {
			at := c.leader("t", 1)
			c.Stop(at)
			c.Run(at)
		}
	}
	wg.Wait()
	var left []client.TransactionInfo
	eventually(ctx, t, "checks decide the rest", func() bool {
		var err error
		left, err = cl.Admin().Transactions(ctx, "t", false, 0)
		return err == nil && len(left) == 0
	})
	got := bodies(ctx, t, cl, "t")
	book.mu.Lock()
	defer book.mu.Unlock()
	want := 0
	for _, v := range book.done {
		if v == client.Commit {
			want++
		}
	}
	require.Len(t, got, want, "delivered is what was done")
	require.Positive(t, want)
	require.NotEmpty(t, book.asks)
	for body, n := range got {
		require.Equal(t, 1, n, body)
		require.False(t, rolled[body], body)
	}
	for body := range committed {
		require.Equal(t, 1, got[body], body)
	}
}

// A program that died is answered for by another one of its group; operators see what
// waits, and decide; what was decided stays.
func TestAnotherProgramAnswersForOneThatDied(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, func(cfg *broker.Config) {
		soonAsked(cfg)
		cfg.TransactionChecks = 1000 // else it is parked before the other program is there, if this one stands still
	})
	first, second := c.Client(), c.Client()
	topic(ctx, t, first, "t", nil)
	book := newLedger()
	p, err := first.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	undecided := func(body string, done client.Verdict) client.TransactionReceipt {
		r, err := p.Send(ctx, &client.Message{Topic: "t", Tag: "paid", OrderKey: "A-17", Body: []byte(body), Properties: map[string]string{"k": "v"}}, func(_ context.Context, x client.Transaction) (client.Verdict, error) {
			if done != client.Undecided {
				book.write(x.ID, done)
			}
			return client.Undecided, errors.New("no answer from the database")
		})
		require.ErrorContains(t, err, "no answer")
		require.Equal(t, client.Undecided, r.Verdict)
		return r
	}
	paid := undecided("paid", client.Commit)
	x, err := first.Admin().Transaction(ctx, paid.Name)
	require.NoError(t, err)
	require.Equal(t, []string{"t", "shop", "paid", "paid", "A-17"}, []string{x.Topic, x.Group, string(x.Message.Body), x.Message.Tag, x.Message.OrderKey})
	require.NoError(t, first.Close(ctx))

	asked := make(chan client.Transaction, 100)
	q, err := second.NewTransactionProducer("shop", func(ctx context.Context, x client.Transaction) client.Verdict {
		asked <- x
		return book.check(ctx, x)
	})
	require.NoError(t, err)
	got := <-asked
	require.Equal(t, []any{paid.ID, paid.Name, "paid", map[string]string{"k": "v"}}, []any{got.ID, got.Name, string(got.Message.Body), got.Message.Properties})
	eventually(ctx, t, "it is committed", func() bool {
		x, err := second.Admin().Transaction(ctx, paid.Name)
		return err == nil && x.State == "committed" && x.DecidedBy == "check"
	})
	holds, err := second.Admin().DecideTransaction(ctx, paid.Name, client.Rollback)
	require.ErrorIs(t, err, client.ErrDecided)
	require.Equal(t, client.Commit, holds)
	require.NoError(t, q.Close(ctx))

	// Nobody is left to be asked: an operator decides, before the local transaction ends.
	third := c.Client()
	slow, err := third.NewTransactionProducer("slow", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	r, err := slow.Send(ctx, &client.Message{Topic: "t", Body: []byte("slow")}, func(ctx context.Context, x client.Transaction) (client.Verdict, error) {
		holds, err := third.Admin().DecideTransaction(ctx, x.Name, client.Rollback)
		require.NoError(t, err)
		require.Equal(t, client.Rollback, holds)
		return client.Commit, nil
	})
	require.ErrorIs(t, err, client.ErrDecided)
	require.Equal(t, client.Rollback, r.Verdict, "what holds is said")
	r, err = slow.Send(ctx, &client.Message{Topic: "t", Body: []byte("quick")}, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Commit, nil })
	require.NoError(t, err)
	require.Equal(t, client.Commit, r.Verdict)
	require.EqualValues(t, 1, r.Receipt.Offset)
	require.Equal(t, map[string]int{"paid": 1, "quick": 1}, bodies(ctx, t, third, "t"))

	_, err = third.Admin().Transaction(ctx, "0-8")
	require.ErrorIs(t, err, client.ErrNoTransaction)
	for _, name := range []string{"", "1", "1-", "-1-5", "1-5x", "a-b"} {
		_, err = third.Admin().Transaction(ctx, name)
		require.ErrorIs(t, err, client.ErrInvalid, name)
	}
	_, err = third.NewTransactionProducer("none", nil)
	require.ErrorIs(t, err, client.ErrInvalid)
}
