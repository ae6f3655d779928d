package mqtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// whats are the steps of a message's life.
func whats(l client.Life) (all []string) {
	for _, s := range l.Steps {
		all = append(all, s.What)
	}
	return all
}

// A message's life is told by whichever node is asked, the same after one has stopped:
// where it is, what it waits for, how it was decided, that it was put back and given up,
// and who handled it.
func TestWhatBecameOfAMessage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.AutoCreateTopics = false })
	cl := c.Client()
	a := cl.Admin()
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "other", Queues: 1}))
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	stored, err := p.SendTo(ctx, 1, &client.Message{Topic: "t", Keys: []string{"k1"}, Tag: "red", Body: []byte("stored")})
	require.NoError(t, err)
	bad, err := p.SendTo(ctx, 1, &client.Message{Topic: "t", Keys: []string{"k2"}, Body: []byte("bad")})
	require.NoError(t, err)
	later, err := p.SendTo(ctx, 2, &client.Message{Topic: "t", Body: []byte("later"), Delay: time.Hour})
	require.NoError(t, err)
	undecided := make(map[string]client.TransactionReceipt)
	tp, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	for name, v := range map[string]client.Verdict{"open": client.Undecided, "paid": client.Commit} {
		r, err := tp.Send(ctx, &client.Message{Topic: "t", Body: []byte(name)}, func(context.Context, client.Transaction) (client.Verdict, error) { return v, nil })
		require.NoError(t, err)
		undecided[name] = r
	}
	cons, err := cl.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("t", client.All()))
	run, stop := context.WithCancel(ctx)
	given := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			switch {
			case string(d.Body) == "bad" && d.Attempt == 1:
				return client.RetryAfter(time.Millisecond, errors.New("not yet"))
			case string(d.Body) == "bad":
				defer close(given)
				return client.DeadLetter(errors.New("no such article"))
			}
			return nil
		})
	}()
	select {
	case <-given:
	case <-ctx.Done():
		t.Fatal("the message never comes again")
	}
	stop()
	require.NoError(t, <-ended)

	check := func(cl *client.Client) {
		t.Helper()
		a := cl.Admin()
		life, err := a.Explain(ctx, "t", stored.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"stored"}, whats(life))
		s := life.Steps[0]
		require.Equal(t, []any{stored.ID, stored.Broker, stored.QueueID, stored.Offset, "red", []string{"k1"}, 6}, []any{s.ID, s.Broker, s.QueueID, s.Offset, s.Tag, s.Keys, s.Bytes})
		require.NotZero(t, s.Index)
		require.NotZero(t, s.Term)
		require.Len(t, s.Groups, 1)
		require.True(t, s.Groups[0].Handled)
		require.Len(t, life.Looked, 3)
		// By its key, by its offset id alone, and by its unique id in no topic in particular.
		for _, x := range [][2]string{{"t", "k1"}, {"", s.OffsetID}, {"", stored.ID}} {
			same, err := a.Explain(ctx, x[0], x[1])
			require.NoError(t, err, x)
			require.Equal(t, life.Steps, same.Steps)
		}
		d, err := a.At(ctx, s)
		require.NoError(t, err)
		require.Equal(t, "stored", string(d.Body))

		life, err = a.Explain(ctx, "t", bad.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"stored", "retry", "dead letter"}, whats(life))
		require.Contains(t, life.Steps[2].Reason, "no such article")
		require.Equal(t, []string{"g", "g"}, []string{life.Steps[1].Group, life.Steps[2].Group})
		require.True(t, life.Steps[1].Groups[0].Handled)

		life, err = a.Explain(ctx, "t", later.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"waiting"}, whats(life))
		require.WithinDuration(t, time.Now().Add(time.Hour), life.Steps[0].Due, 2*time.Minute)
		require.NotZero(t, life.Steps[0].Index)
		life, err = a.Explain(ctx, "t", undecided["open"].ID)
		require.NoError(t, err)
		require.Equal(t, []string{"prepared"}, whats(life))
		require.Equal(t, []string{"pending", "shop"}, []string{life.Steps[0].State, life.Steps[0].Group})
		life, err = a.Explain(ctx, "t", undecided["paid"].ID)
		require.NoError(t, err)
		require.Equal(t, []string{"decided", "stored"}, whats(life))
		require.Equal(t, []string{"committed", "producer"}, []string{life.Steps[0].State, life.Steps[0].By})

		found, err := a.FindMessages(ctx, "t", "k2", time.Now().Add(-time.Hour), time.Time{}, 0)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, bad.ID, found[0].ID)
		found, err = a.FindMessages(ctx, "t", "k2", time.Now().Add(time.Hour), time.Time{}, 0)
		require.NoError(t, err)
		require.Empty(t, found)
		for _, x := range [][2]string{{"t", "none"}, {"", "none"}, {"", "0000000000000000000000000000000F"}} {
			_, err = a.Explain(ctx, x[0], x[1])
			require.ErrorIs(t, err, client.ErrMessageNotFound, x)
		}
		_, err = a.Explain(ctx, "nothing", "k1")
		require.ErrorIs(t, err, client.ErrTopicNotFound)
	}
	for i := range c.Nodes {
		one, err := client.Dial(ctx, client.WithEndpoints(c.Nodes[i].Addresses().NameServer))
		require.NoError(t, err)
		check(one)
		require.NoError(t, one.Close(ctx))
	}
	c.Stop(c.leader("t", 1))
	check(c.Client())
}

// What stock clients traced is found again, by id and by key, whichever node is asked.
func TestTracesAreFound(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	_, err := cl.Admin().Trace(ctx, "", "ID1")
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	w := DialWire(t, c.listener(1, 1), 0)
	w.OK(remoting.GetRouteByTopic, fields{"topic": message.TraceTopic}, nil) // a client that traces asks, and so has it made
	body := "Pub\x011700000000000\x01DefaultRegion\x01p\x01t\x01ID1\x01red\x01k1\x0110.0.0.1:10911\x015\x013\x010\x01OFF\x01true\x0110.0.0.2\x02" +
		"Pub\x011700000000000\x01DefaultRegion\x01p\x01t\x01ID2\x01\x01\x01h\x015\x013\x010\x01OFF\x01false\x01\x02"
	w.OK(remoting.SendMessage, with(sendLong(message.TraceTopic, 0), "properties", "KEYS\x01 ID1 k1 ID2\x02", "defaultTopic", ""), []byte(body))
	w.OK(remoting.SendMessage, with(sendLong(message.TraceTopic, 0), "properties", "KEYS\x01ID1\x02"),
		[]byte("SubBefore\x011700000000010\x01\x01g\x01R1\x01ID1\x010\x01null\x0110.0.0.3\x02SubAfter\x01R1\x01ID1\x017\x01true\x01null\x010\x02"))

	traces, err := cl.Admin().Trace(ctx, "", "ID1")
	require.NoError(t, err)
	require.Len(t, traces, 3)
	require.Equal(t, []string{"Pub", "SubBefore", "SubAfter"}, []string{traces[0].Kind, traces[1].Kind, traces[2].Kind})
	require.Equal(t, []any{"p", "t", "red", "k1", 3 * time.Millisecond, true, "10.0.0.2"}, []any{traces[0].Group, traces[0].Topic, traces[0].Tag, traces[0].Keys, traces[0].Took, traces[0].Done, traces[0].ClientHost})
	require.Equal(t, []any{"g", 7 * time.Millisecond, int64(1700000000017)}, []any{traces[2].Group, traces[2].Took, traces[2].At.UnixMilli()})
	traces, err = cl.Admin().Trace(ctx, "", "k1")
	require.NoError(t, err)
	require.Len(t, traces, 1)
}
