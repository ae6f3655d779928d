package mqtest

import (
	"context"
	"errors"
	"strconv"
	"strings"
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
				return client.RetryAfter(time.Second/2, errors.New("not yet"))
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
		require.Equal(t, []string{"stored", "waited", "retry", "dead letter"}, whats(life))
		require.Contains(t, life.Steps[3].Reason, "no such article")
		require.Equal(t, []string{"g", "g", "g"}, []string{life.Steps[1].Group, life.Steps[2].Group, life.Steps[3].Group})
		require.True(t, life.Steps[2].Groups[0].Handled)

		life, err = a.Explain(ctx, "t", later.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"waiting"}, whats(life))
		require.WithinDuration(t, time.Now().Add(time.Hour), life.Steps[0].Due, 2*time.Minute)
		require.Empty(t, life.Steps[0].Group, "it is no retry")
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

// What is in no queue, or waited before it was, is told too, as long as the replicas know:
// that a transaction was rolled back, by whom and when, also after it was parked; that a
// message was taken back; and from when until when one waited, whatever had it wait.
func TestWhatBecameOfAMessageThatIsGoneOrWaited(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, soonAsked)
	cl := c.Client()
	a := cl.Admin()
	require.NoError(t, a.CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	begun := time.Now()
	tp, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	half := func(name string, v client.Verdict) client.TransactionReceipt {
		r, err := tp.Send(ctx, &client.Message{Topic: "t", Keys: []string{name}, Tag: "paid", OrderKey: "A-17", Body: []byte(name)},
			func(context.Context, client.Transaction) (client.Verdict, error) { return v, nil })
		require.NoError(t, err)
		return r
	}
	dropped, parked, given := half("dropped", client.Rollback), half("parked", client.Undecided), half("given", client.Undecided)
	c.until("both are parked", func() bool {
		l, err := a.Transactions(ctx, "t", true, 10)
		return err == nil && len(l) == 2
	})
	v, err := a.DecideTransaction(ctx, given.Name, client.Rollback)
	require.NoError(t, err)
	require.Equal(t, client.Rollback, v)

	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	send := func(m client.Message) client.Receipt {
		m.Topic, m.OrderKey = "t", "A-17"
		r, err := p.Send(ctx, &m)
		require.NoError(t, err)
		require.NotEmpty(t, r.Recall, "it waits")
		return r
	}
	const delay = time.Second
	later := send(client.Message{Keys: []string{"later"}, Body: []byte("later"), Delay: delay})
	taken := send(client.Message{Keys: []string{"taken"}, Body: []byte("taken"), Delay: time.Hour})
	soon := send(client.Message{Body: []byte("taken before its time, which is over"), Delay: 5 * delay})
	require.NoError(t, cl.Recall(ctx, taken.Recall))
	require.NoError(t, cl.Recall(ctx, soon.Recall))
	at, err := strconv.Atoi(strings.TrimPrefix(later.Broker, "raftmq-"))
	require.NoError(t, err)
	w := DialWire(t, c.listener(0, at), 0)
	sent := w.OK(remoting.SendMessage, prepared("t", "stock"), []byte("half"))
	_, physical, err := message.ParseOffsetID(sent.Ext["msgId"])
	require.NoError(t, err)
	w.OK(remoting.EndTransaction, rollback(fields{"producerGroup": "stock", "tranStateTableOffset": sent.Ext["queueOffset"], "commitLogOffset": strconv.FormatInt(physical, 10)}), nil)
	stock := w.OK(remoting.SendMessage, with(sendLong("t", 0), "properties", "KEYS\x01stock\x02UNIQ_KEY\x01LEVEL1\x02DELAY\x011\x02"), []byte("of a level"))

	// A retry that waited, too.
	cons, err := cl.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("t", client.All()))
	run, stop := context.WithCancel(ctx)
	defer stop()
	again := make(chan string, 16)
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			if string(d.Body) == "later" && d.Attempt == 1 {
				return client.RetryAfter(delay/2, errors.New("not yet"))
			}
			again <- string(d.Body)
			return nil
		})
	}()
	for come := map[string]bool{}; !come["later"] || !come["of a level"]; {
		select {
		case body := <-again:
			come[body] = true
		case <-ctx.Done():
			t.Fatal("they never come", come)
		}
	}
	stop()
	require.NoError(t, <-ended)
	c.until("the time of one that was taken back is over", func() bool { return time.Since(begun) > 6*delay })
	over := time.Now()

	// since is when the cluster's time was, give or take what clocks may differ by.
	since := func(at time.Time) {
		t.Helper()
		require.WithinRange(t, at, begun.Add(-time.Second), over.Add(time.Second))
	}
	rolledBack := func(l client.Life, r client.TransactionReceipt, key, by string) {
		t.Helper()
		require.Equal(t, []string{"prepared", "decided"}, whats(l))
		half, made := l.Steps[0], l.Steps[1]
		require.Equal(t, []any{r.ID, "t", "shop", []string{key}, "paid", int64(-1), len(key)}, []any{half.ID, half.Topic, half.Group, half.Keys, half.Tag, half.Offset, half.Bytes})
		require.Equal(t, []any{r.ID, "rolled back", by, half.Position, int64(-1)}, []any{made.ID, made.State, made.By, made.Position, made.Offset})
		require.NotZero(t, half.Index)
		require.NotZero(t, half.Term)
		since(half.At)
		since(made.At)
		require.False(t, made.At.Before(half.At))
	}
	takenBack := func(l client.Life, r client.Receipt, after time.Duration) {
		t.Helper()
		require.Equal(t, []string{"waited", "taken back"}, whats(l))
		wait, back := l.Steps[0], l.Steps[1]
		require.Equal(t, []any{r.ID, "t", "", int64(-1)}, []any{wait.ID, wait.Topic, wait.Group, wait.Offset})
		require.Equal(t, []any{r.ID, "t", "", int64(-1)}, []any{back.ID, back.Topic, back.Group, back.Offset})
		require.WithinDuration(t, wait.At.Add(after), wait.Due, 4*delay/5)
		require.Equal(t, wait.Due, back.Due)
		require.Greater(t, back.Index, wait.Index)
		since(wait.At)
		since(back.At)
	}
	check := func(cl *client.Client) {
		t.Helper()
		a := cl.Admin()
		explain := func(topic, id string) client.Life {
			t.Helper()
			l, err := a.Explain(ctx, topic, id)
			require.NoError(t, err, id)
			return l
		}
		rolledBack(explain("t", dropped.ID), dropped, "dropped", "producer")
		rolledBack(explain("t", "dropped"), dropped, "dropped", "producer")
		rolledBack(explain("", dropped.ID), dropped, "dropped", "producer")
		rolledBack(explain("t", given.ID), given, "given", "operator")
		l := explain("t", parked.ID)
		require.Equal(t, []string{"prepared"}, whats(l))
		require.Equal(t, "parked", l.Steps[0].State)

		takenBack(explain("t", taken.ID), taken, time.Hour)
		takenBack(explain("t", "taken"), taken, time.Hour)
		takenBack(explain("", taken.ID), taken, time.Hour)
		takenBack(explain("t", soon.ID), soon, 5*delay)

		l = explain("t", later.ID)
		require.Equal(t, []string{"waited", "stored", "waited", "retry"}, whats(l))
		wait, stored, second, retry := l.Steps[0], l.Steps[1], l.Steps[2], l.Steps[3]
		since(wait.At)
		require.WithinDuration(t, wait.At.Add(delay), wait.Due, 4*delay/5)
		require.False(t, stored.At.Before(wait.Due))
		require.Equal(t, []any{later.ID, "t", int64(-1)}, []any{wait.ID, wait.Topic, wait.Offset})
		require.Less(t, wait.Index, stored.Index)
		require.Less(t, wait.Position, stored.Position)
		require.Equal(t, []string{"g", "g"}, []string{second.Group, retry.Group})
		require.False(t, second.At.Before(stored.At), "it was put back")
		require.False(t, retry.At.Before(second.Due))
		l = explain("t", "stock")
		require.Equal(t, []string{"waited", "stored"}, whats(l))
		require.Equal(t, "LEVEL1", l.Steps[0].ID)
		require.WithinDuration(t, l.Steps[0].At.Add(time.Second), l.Steps[0].Due, 4*delay/5)
		// By the offset ids that their senders were given.
		require.Equal(t, l.Steps, explain("", stock.Ext["msgId"]).Steps)
		l = explain("", sent.Ext["msgId"])
		require.Equal(t, []string{"prepared", "decided"}, whats(l))
		require.Equal(t, []any{"0102", "stock", "rolled back"}, []any{l.Steps[0].ID, l.Steps[0].Group, l.Steps[1].State})
	}
	for i := range c.Nodes {
		one, err := client.Dial(ctx, client.WithEndpoints(c.Nodes[i].Addresses().NameServer))
		require.NoError(t, err)
		check(one)
		require.NoError(t, one.Close(ctx))
	}
	c.Stop(c.leader("t", at))
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
