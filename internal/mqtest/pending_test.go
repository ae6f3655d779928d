package mqtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// In a topic of 72 hours what is due in thirty days comes whole, and what is put back for twenty, a transaction that
// nobody decides and a dead letter are there when all that was stored with them is gone; also when another leads.
func TestWhatIsPendingOutlivesATopicOfThreeDays(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := Start(t, 3, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	began := time.Now()
	for _, body := range []string{"poison", "in twenty days"} {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte(body)})
		require.NoError(t, err)
	}
	handled := newHandled()
	consume := func(cl *client.Client, group string, h client.Handler) (stop func()) {
		t.Helper()
		cons, err := cl.NewConsumer(group)
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe("t", client.All()))
		run, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- cons.Run(run, h) }()
		return func() {
			cancel()
			require.NoError(t, <-ended)
		}
	}
	stop := consume(cl, "g", func(_ context.Context, d *client.Delivery) error {
		handled.note(d, true)
		if string(d.Body) == "poison" {
			return client.DeadLetter(errors.New("poison"))
		}
		return client.RetryAfter(20*day, errors.New("in twenty days"))
	})
	c.until("both are put back", func() bool { return handled.count() == 2 })
	stop()
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("in thirty days, ", i))
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: append([]byte(want[i]+" "), make([]byte, 4<<10)...), DeliverAt: began.Add(30 * day)})
		require.NoError(t, err)
	}
	tp, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided }, client.WithSendTimeout(ample))
	require.NoError(t, err)
	_, err = tp.Send(ctx, &client.Message{Topic: "t", Body: []byte("half")}, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Undecided, nil })
	require.NoError(t, err)
	halves, err := cl.Admin().Transactions(ctx, "t", false, 0)
	require.NoError(t, err)
	require.Len(t, halves, 1)
	end := sendKiB(ctx, t, p, "t", 200)
	lead := c.leaderOf("t")
	first := c.of(lead, "t").First

	ahead := func(d time.Duration) {
		for i := range c.Ahead {
			c.Ahead[i].Add(int64(d))
		}
	}
	ahead(4 * day)
	end = max(end, sendKiB(ctx, t, p, "t", 100))
	c.untilIn(ample, "what is older than three days is gone", func() bool {
		lo, _ := bounds(ctx, t, cl, "t")
		return lo >= 150 && c.of(c.leaderOf("t"), "t").First > first+128<<10
	})
	c.Stop(c.leaderOf("t"))
	cl = c.Client()
	a := cl.Admin()
	c.untilIn(ample, "another leads", func() bool {
		one, err := a.Transaction(ctx, halves[0].Name)
		return err == nil && one.Message != nil && string(one.Message.Body) == "half"
	})
	letters, err := a.DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, "poison", string(letters[0].Message.Body))
	timers, err := a.Timers(ctx, "t", 0)
	require.NoError(t, err)
	require.Len(t, timers, 20+1, "and what is put back")
	for i := range c.Nodes {
		if c.Nodes[i] == nil {
			c.Run(i)
			c.Await(i)
		}
	}

	ahead(16*day + time.Hour)
	again := newHandled()
	stop = consume(cl, "g", func(_ context.Context, d *client.Delivery) error {
		again.note(d, true)
		return nil
	})
	c.untilIn(ample, "what was put back comes", func() bool {
		again.mu.Lock()
		defer again.mu.Unlock()
		return again.done["in twenty days"] > 0
	})
	stop()
	require.Zero(t, again.done["poison"])

	_, before := bounds(ctx, t, cl, "t")
	require.Equal(t, end+1, before, "nothing is early")
	ahead(10 * day)
	c.untilIn(ample, "what was due in thirty days has come", func() bool {
		_, hi := bounds(ctx, t, cl, "t")
		return hi == before+20
	})
	r, err := cl.NewReader("t", client.FromPosition(client.AtOffset(before)))
	require.NoError(t, err)
	defer r.Close()
	var got []string
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		require.Equal(t, make([]byte, 4<<10), d.Body[len(d.Body)-4<<10:])
		got = append(got, string(d.Body[:len(d.Body)-4<<10-1]))
	}
	require.ElementsMatch(t, want, got)
	v, err := a.DecideTransaction(ctx, halves[0].Name, client.Commit)
	require.NoError(t, err)
	require.Equal(t, client.Commit, v)
	c.until("what was decided a month later is delivered", func() bool {
		_, hi := bounds(ctx, t, cl, "t")
		return hi == before+21
	})
}
