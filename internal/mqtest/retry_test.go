package mqtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// handled counts deliveries by body.
type handled struct {
	mu       sync.Mutex
	attempts map[string][]int
	done     map[string]int
}

func newHandled() *handled {
	return &handled{attempts: make(map[string][]int), done: make(map[string]int)}
}

func (h *handled) note(d *client.Delivery, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts[string(d.Body)] = append(h.attempts[string(d.Body)], d.Attempt)
	if ok {
		h.done[string(d.Body)]++
	}
}

func (h *handled) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.done)
}

// What a handler fails comes again, with its topic and one attempt more, after the
// delay; after the last attempt, or when the handler says so, it is among the dead
// letters, with the reason; also when the leader dies in between.
func TestWhatFailsComesAgainAndEndsAmongTheDeadLetters(t *testing.T) {
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "work", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for i := range 6 {
		_, err := p.Send(ctx, &client.Message{Topic: "work", Body: fmt.Appendf(nil, "%d", i), Keys: []string{fmt.Sprint("k", i)}})
		require.NoError(t, err)
	}
	h := newHandled()
	cons, err := cl.NewConsumer("g", client.WithBackoff(200*time.Millisecond, time.Second), client.WithMaxAttempts(3))
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("work", client.All()))
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			require.Equal(t, "work", d.Topic)
			switch body := string(d.Body); {
			case body == "1" && d.Attempt < 3:
				h.note(d, false)
				return errors.New("not yet")
			case body == "2":
				h.note(d, false)
				return errors.New("never")
			case body == "3":
				h.note(d, false)
				return client.DeadLetter(errors.New("poison"))
			case body == "4" && d.Attempt == 1:
				h.note(d, false)
				return client.RetryAfter(2*time.Second, errors.New("later"))
			}
			h.note(d, true)
			return nil
		})
	}()
	c.until("two are done and one is dead", func() bool { return h.count() >= 2 })
	lead := c.leaderOf("work")
	c.Stop(lead)
	c.Run(lead)
	c.Await(lead)
	c.until("all but the dead are done", func() bool { return h.count() == 4 })
	r, err := c.Client().NewReader("%DLQ%g")
	require.NoError(t, err)
	dead := make(map[string]*client.Delivery)
	for d, err := range r.All(ctx) {
		require.NoError(t, err)
		require.NotContains(t, dead, string(d.Body))
		if dead[string(d.Body)] = d; len(dead) == 2 {
			break
		}
	}
	require.Equal(t, 4, dead["2"].Attempt)
	require.Contains(t, dead["2"].Properties["DLQ_REASON"], "never")
	require.Contains(t, dead["3"].Properties["DLQ_REASON"], "poison")
	require.Equal(t, "work", dead["3"].Properties["DLQ_ORIGIN_TOPIC"])
	require.Equal(t, []string{"k3"}, dead["3"].Keys)
	a := c.Client().Admin()
	list, err := a.DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, list, 2)
	name := map[string]string{string(list[0].Message.Body): list[0].Name, string(list[1].Message.Body): list[1].Name}
	one, err := a.DeadLetter(ctx, "g", name["3"])
	require.NoError(t, err)
	require.Equal(t, "work", one.Topic())
	for _, want := range []int{1, 0, 0} { // handled again once, and dead again
		n, err := a.Redrive(ctx, "g", name["3"], 0)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	c.until("it is dead again", func() bool {
		list, err = a.DeadLetters(ctx, "g", 0)
		require.NoError(t, err)
		return len(list) == 2
	})
	n, err := a.Purge(ctx, "g", name["2"], 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = a.Redrive(ctx, "g", name["2"], 0)
	require.NoError(t, err)
	require.Zero(t, n, "it was dropped")
	list, err = a.DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	stop()
	require.NoError(t, <-ended)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, []int{1, 2, 3}, h.attempts["1"])
	require.Equal(t, []int{1, 2, 3}, h.attempts["2"])
	require.Equal(t, []int{1, 1}, h.attempts["3"])
	require.Equal(t, []int{1, 2}, h.attempts["4"])
	require.Equal(t, []int{1}, h.attempts["5"])
}

// Properties may leave no room for what is said of a message that failed: it comes again and is buried all the same.
func TestAMessageWithLongPropertiesEndsAmongTheDeadLetters(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "most", nil)
	topic(ctx, t, cl, "work", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	long := func(topic string, n int) *client.Message {
		return &client.Message{Topic: topic, Body: strconv.AppendInt(nil, int64(n), 10), Properties: map[string]string{"long": strings.Repeat("x", n)}}
	}
	most := client.MaxProperties
	for ; ; most-- {
		if _, err = p.Send(ctx, long("most", most)); err == nil {
			break
		}
		require.ErrorIs(t, err, client.ErrTooLarge)
	}
	most -= len(message.PropRetryTopic) + len("work") + 2 // for which there is just room
	for _, less := range []int{-17, -1, 0, 1, 60, 100, 500} {
		_, err := p.Send(ctx, long("work", most-less))
		require.NoError(t, err)
	}
	cons, err := cl.NewConsumer("g", client.WithBackoff(time.Millisecond, time.Millisecond), client.WithMaxAttempts(2))
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("work", client.All()))
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			if d.Topic != "work" {
				t.Errorf("it comes again as of topic %s", d.Topic)
			}
			return errors.New(strings.Repeat("why ", 200))
		})
	}()
	a := cl.Admin()
	c.untilIn(ample, "all are dead letters", func() bool {
		list, err := a.DeadLetters(ctx, "g", 0)
		return err == nil && len(list) == 7 // the group may be yet to come
	})
	stop()
	require.NoError(t, <-ended)
	list, err := a.DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	for _, l := range list {
		size := len(l.Message.Properties["long"])
		require.Equal(t, string(l.Message.Body), strconv.Itoa(size))
		if size > most { // it could not come again
			require.Empty(t, l.Topic())
			require.Equal(t, 2, l.Message.Attempt)
		} else {
			require.Equal(t, "work", l.Topic())
			require.Equal(t, 3, l.Message.Attempt)
		}
	}
}

// Dead letters that nobody has consumed, and retries that their group has not, outlive
// their topic's retention, once each.
func TestDeadLettersAndRetriesOutliveRetention(t *testing.T) {
	c := Start(t, 3, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "kept", map[string]string{"retention-bytes": "65536"})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for i := range 6 {
		_, err := p.Send(ctx, &client.Message{Topic: "kept", Body: fmt.Appendf(nil, "%d", i)})
		require.NoError(t, err)
	}
	consume := func(ctx context.Context, handle func(*client.Delivery) error) {
		cons, err := cl.NewConsumer("g")
		require.NoError(t, err)
		require.NoError(t, cons.Subscribe("kept", client.All()))
		require.NoError(t, cons.Run(ctx, func(_ context.Context, d *client.Delivery) error { return handle(d) }))
	}
	run, stop := context.WithCancel(ctx)
	h := newHandled()
	consume(run, func(d *client.Delivery) error {
		h.note(d, true)
		if h.count() == 6 {
			defer stop()
		}
		if d.Body[0] < '3' {
			return client.DeadLetter(errors.New("poison"))
		}
		return client.RetryAfter(time.Millisecond, errors.New("again, by another run"))
	})
	first := c.of(0, "kept").First
	lead := c.leaderOf("kept")
	c.until("the log is trimmed", func() bool {
		sendKiB(ctx, t, p, "kept", 50)
		return c.of(lead, "kept").First > first+256<<10
	})
	a := cl.Admin()
	list, err := a.DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Greater(t, list[0].Message.Offset, int64(2), "they lie at the queue's end")
	n, err := a.Redrive(ctx, "g", "", 0)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	run, stop = context.WithCancel(ctx)
	again := newHandled()
	consume(run, func(d *client.Delivery) error {
		if len(d.Body) == 1 {
			again.note(d, true)
		}
		if again.count() == 6 {
			stop()
		}
		return nil
	})
	require.Equal(t, map[string]int{"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "5": 1}, again.done)
}

// letters sends n messages of 16 KiB, which group g has among its dead letters, or among
// its retries without anybody who handles them.
func (c *Cluster) letters(ctx context.Context, cl *client.Client, topic string, n int, why error) {
	c.t.Helper()
	p, err := cl.NewProducer("letters", client.WithSendTimeout(ample))
	require.NoError(c.t, err)
	for range n {
		_, err := p.Send(ctx, &client.Message{Topic: topic, Body: make([]byte, 16<<10)})
		require.NoError(c.t, err)
	}
	cons, err := cl.NewConsumer("g")
	require.NoError(c.t, err)
	require.NoError(c.t, cons.Subscribe(topic, client.All()))
	run, stop := context.WithCancel(ctx)
	h := newHandled()
	handled := 0
	require.NoError(c.t, cons.Run(run, func(_ context.Context, d *client.Delivery) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if handled++; handled >= n {
			defer stop()
		}
		return why
	}))
	require.NoError(c.t, ctx.Err())
}

// attribute sets one of a topic's.
func attribute(ctx context.Context, t *testing.T, cl *client.Client, topic, name, value string) {
	t.Helper()
	conf, err := cl.Admin().Topic(ctx, topic)
	require.NoError(t, err)
	conf.Attributes = map[string]string{name: value}
	require.NoError(t, cl.Admin().UpdateTopic(ctx, conf))
}

// settles waits until a partition's log does not grow any more while nothing is sent, and
// returns how many bytes it keeps.
func (c *Cluster) settles(topic string) int64 {
	c.t.Helper()
	lead := c.leaderOf(topic)
	end, since := int64(0), time.Now()
	c.until("the log does not grow", func() bool {
		if x := c.of(lead, topic).Position; x > end+4<<10 {
			end, since = x, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
	x := c.of(lead, topic)
	return x.Position - x.First
}

// Dead letters that are more than a partition is to keep are kept, and not stored again and
// again for the sake of it.
func TestLettersThatAreMoreThanIsKeptAreNotStoredForEver(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "kept", nil)
	c.letters(ctx, cl, "kept", 20, client.DeadLetter(errors.New("poison")))
	attribute(ctx, t, cl, "kept", "retention-bytes", "65536")
	require.Greater(t, c.settles("kept"), int64(20*16<<10))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "kept", 100)
	attribute(ctx, t, cl, "kept", "retention", "1s")
	c.until("what is old goes all the same", func() bool {
		sendKiB(ctx, t, p, "kept", 1)
		lo, _ := bounds(ctx, t, cl, "kept")
		return lo > 60
	})
	list, err := cl.Admin().DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, list, 20)
}

// Transactions without a decision that are more than a partition is to keep are kept, and not stored again and
// again for the sake of it.
func TestTransactionsThatAreMoreThanIsKeptAreNotStoredForEver(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "kept", nil)
	tp, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided }, client.WithSendTimeout(ample))
	require.NoError(t, err)
	var names []string
	for range 20 {
		r, err := tp.Send(ctx, &client.Message{Topic: "kept", Body: make([]byte, 16<<10)}, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Undecided, nil })
		require.NoError(t, err)
		names = append(names, r.Name)
	}
	attribute(ctx, t, cl, "kept", "retention-bytes", "65536")
	require.Greater(t, c.settles("kept"), int64(20*16<<10))
	for _, name := range names {
		_, err := cl.Admin().DecideTransaction(ctx, name, client.Rollback)
		require.NoError(t, err)
	}
	c.until("they go when they are decided", func() bool {
		x := c.of(c.leaderOf("kept"), "kept")
		return x.Position-x.First < 20*16<<10
	})
}

// What was in a deleted group's retries goes with what is as old: nobody will ask for it.
func TestRetriesOfADeletedGroupGo(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "kept", nil)
	c.letters(ctx, cl, "kept", 20, client.RetryAfter(time.Millisecond, errors.New("later")))
	attribute(ctx, t, cl, "kept", "retention", "1s")
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	first := c.of(0, "kept").First
	c.until("what is old is deleted", func() bool {
		sendKiB(ctx, t, p, "kept", 10)
		return c.of(0, "kept").First > first+512<<10
	})
	x := c.of(0, "kept")
	require.Greater(t, x.Position-x.First, int64(20*16<<10), "the group may ask for its retries yet")
	require.NoError(t, cl.Admin().DeleteGroup(ctx, "g"))
	c.until("they go", func() bool {
		sendKiB(ctx, t, p, "kept", 1)
		x := c.of(0, "kept")
		return x.Position-x.First < 20*16<<10
	})
}

// A message of a committed transaction that a client puts back by itself comes again, or is among the dead letters, though
// Java's clients before 4.6.1 mark it as prepared.
func TestWhatAClientPutsBackByItselfIsNoTransaction(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c", "g", "t"))
	w.OK(remoting.GetRouteByTopic, fields{"topic": "%RETRY%g"}, nil)
	back := with(sendShort("%RETRY%g", 0), "a", "CLIENT_INNER_PRODUCER", "f", "4", "l", "2",
		"i", "TRAN_MSG\x01true\x02PGROUP\x01p\x02UNIQ_KEY\x010102\x02RETRY_TOPIC\x01t\x02DELAY\x011\x02")
	for i, body := range []string{"again", "dead"} {
		w.OK(remoting.SendMessageV2, with(back, "j", strconv.Itoa(i+1)), []byte(body))
	}
	for topic, body := range map[string]string{"%RETRY%g": "again", "%DLQ%g": "dead"} {
		m := c.sees(w, topic, 1)[0].Message()
		require.Equal(t, body, string(m.Body))
		require.Zero(t, m.SysFlag&message.FlagTransactionMask)
		require.NotContains(t, m.Properties, "TRAN_MSG")
	}
}

// A message among a group's dead letters is found by its key, whichever of the group's
// topics it is of, and whichever node is asked.
func TestDeadLettersOfEveryTopicAreFoundByKey(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	const slot = 0
	w := DialWire(t, c.listener(0, slot), remoting.Binary)
	for _, topic := range []string{"a", "b", "c"} {
		c.createTopic(t, topicOf(topic, 1))
		w.put(with(sendShort(topic, 0), "i", "KEYS\x01both of-"+topic+"\x02"), []byte(topic))
		given := Records(t, w.OK(remoting.PullMessage, pullOf(topic, 0, 0), nil).Body)
		require.Len(t, given, 1)
		w.sure(remoting.ConsumerSendMessageBack, fields{"group": "g", "offset": strconv.FormatInt(given[0].PhysicalOffset(), 10), "delayLevel": "-1", "originTopic": topic, "maxReconsumeTimes": "16",
			"rmq": "1", "delivery": "00000000000000a6"}, nil)
	}
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, slot), remoting.Binary)
		find := func(key string, max int) (bodies []string) {
			r := w.Led(remoting.QueryMessage, fields{"topic": "%DLQ%g", "key": key, "maxNum": strconv.Itoa(max), "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil)
			if r.Code == remoting.QueryNotFound {
				return nil
			}
			require.Equal(t, remoting.OK, r.Code, r.Remark)
			for _, rec := range Records(t, r.Body) {
				bodies = append(bodies, string(rec.Message().Body))
			}
			return bodies
		}
		for _, topic := range []string{"a", "b", "c"} {
			require.Equal(t, []string{topic}, find("of-"+topic, 8))
		}
		require.ElementsMatch(t, []string{"a", "b", "c"}, find("both", 8))
		require.Len(t, find("both", 2), 2)
		require.Empty(t, find("none", 8))
	}
	w.OK(remoting.DeleteTopicInBroker, fields{"topic": "a"}, nil)
	r := w.OK(remoting.QueryMessage, fields{"topic": "%DLQ%g", "key": "both", "maxNum": "8", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil)
	require.Len(t, Records(t, r.Body), 2, "those of a topic that is deleted are gone with it")
}
