package features

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

var ordering = []row{
	{name: "A25", about: "one key, one queue, in order", test: keyOrder, killed: true},
	{name: "A26", about: "orderly consumption", test: orderlyConsumption, killed: true},
	{name: "A27", about: "one holder of a queue, also when leaders change", test: lockSafety, killed: true},
	{name: "A28", about: "half message", test: halfMessage, killed: true},
	{name: "A29", about: "commit", test: transactions(client.Commit), killed: true},
	{name: "A30", about: "rollback", test: transactions(client.Rollback), killed: true},
	{name: "A31", about: "check-back", test: checkBack, killed: true},
	{name: "A32", about: "decided again and again", test: decidedAgain, killed: true},
}

// sendKeys sends n numbered messages of each of some keys, a key's one after the other.
func (w *world) sendKeys(topic string, keys, n int) {
	w.Helper()
	p := w.producer()
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			for i := range n {
				key := fmt.Sprint("k", k)
				if _, err := p.Send(w.ctx, &client.Message{Topic: topic, OrderKey: key, Body: fmt.Appendf(nil, "%s-%d", key, i)}); err != nil {
					w.Errorf("%s-%d: %v", key, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// numbered splits KEY-NUMBER.
func numbered(body string) (key string, n int) {
	key, number, _ := strings.Cut(body, "-")
	n, _ = strconv.Atoi(number)
	return key, n
}

func keyOrder(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	keys, each := w.n(20, 100), w.n(20, 300)
	w.sendKeys(topic, keys, each)
	next, queue := make(map[string]int), make(map[string]int)
	for _, d := range w.read(topic) {
		key, n := numbered(string(d.Body))
		require.Equal(w, next[key], n, "of %s", key)
		if n > 0 {
			require.Equal(w, queue[key], d.Queue)
		}
		next[key], queue[key] = n+1, d.Queue
	}
	require.Len(w, next, keys)
	for key, n := range next {
		require.Equal(w, each, n, key)
	}
}

func orderlyConsumption(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 20)
	got := newSeen()
	w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		got.note(string(d.Body))
		if string(d.Body) == "7" && got.times("7") <= 2 {
			if w.full() { // after a second
				return errors.New("not yet")
			}
			return client.RetryAfter(20*time.Millisecond, errors.New("not yet"))
		}
		return nil
	}, client.WithOrder())
	w.until("all are handled", func() bool { return got.kinds() == 20 })
	last, sevens := -1, 0
	for _, b := range got.all() {
		n, _ := strconv.Atoi(b)
		require.LessOrEqual(w, n, last+1, "nothing is passed over")
		if n == 7 {
			sevens++
		}
		if n > 7 {
			require.GreaterOrEqual(w, sevens, 3, "what is behind a failure waits")
		}
		last = n
	}
}

func lockSafety(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	keys, each := 12, w.n(10, 100)
	var (
		mu   sync.Mutex
		busy = make(map[int]int)
		last = make(map[string]int)
		done int
	)
	member := func(number int) client.Handler {
		return func(ctx context.Context, d *client.Delivery) error {
			mu.Lock()
			if other := busy[d.Queue]; other != 0 {
				w.Errorf("members %d and %d are at work on queue %d at once", other, number, d.Queue)
			}
			busy[d.Queue] = number
			mu.Unlock()
			time.Sleep(time.Millisecond) // the work
			mu.Lock()
			defer mu.Unlock()
			busy[d.Queue] = 0
			key, n := numbered(string(d.Body))
			if n > last[key] {
				w.Errorf("%s after %d", d.Body, last[key])
			}
			if n == last[key] { // else it comes again
				last[key]++
				done++
			}
			return nil
		}
	}
	for i := range 3 {
		w.consume(w.row, topic, member(i+1), client.WithOrder())
	}
	w.sendKeys(topic, keys, each)
	w.until("all are handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return done == keys*each
	})
}

// transact sends one and has it decided so.
func (w *world) transact(p *client.TransactionProducer, topic, body string, v client.Verdict) {
	w.Helper()
	r, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte(body)}, func(context.Context, client.Transaction) (client.Verdict, error) { return v, nil })
	if errors.Is(err, client.ErrUncertain) || errors.Is(err, client.ErrDecided) {
		return // a check settles it, or has
	}
	require.NoError(w, err)
	require.Equal(w, v, r.Verdict)
}

// transactional returns a producer that answers checks by what it is told.
func (w *world) transactional(check func(body string) client.Verdict) *client.TransactionProducer {
	w.Helper()
	p, err := w.dial().NewTransactionProducer(w.row, func(_ context.Context, t client.Transaction) client.Verdict { return check(string(t.Message.Body)) }, client.WithSendTimeout(patience))
	require.NoError(w, err)
	return p
}

func halfMessage(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	var known atomic.Bool
	p := w.transactional(func(string) client.Verdict {
		if known.Load() {
			return client.Commit
		}
		return client.Undecided
	})
	w.transact(p, topic, "half", client.Undecided)
	require.Empty(w, w.read(topic))
	w.transact(p, topic, "decided", client.Commit)
	w.until("what is committed is seen", func() bool { return w.bodies(topic)["decided"] == 1 })
	list, err := w.cl.Admin().Transactions(w.ctx, topic, false, 10)
	require.NoError(w, err)
	require.Len(w, list, 1)
	require.Equal(w, map[string]int{"decided": 1}, w.bodies(topic))
	known.Store(true)
	w.until("the half is seen once it is decided", func() bool { return w.bodies(topic)["half"] == 1 })
}

func transactions(which client.Verdict) func(*world) {
	return func(w *world) {
		topic := w.topic(client.TopicConfig{Queues: 2})
		verdict := func(body string) client.Verdict {
			if n, _ := strconv.Atoi(body); n%2 == 0 {
				return client.Commit
			}
			return client.Rollback
		}
		p := w.transactional(verdict)
		n := w.n(60, 1000)
		committed := make(map[string]int)
		for i := range n {
			body := strconv.Itoa(i)
			w.transact(p, topic, body, verdict(body))
			if verdict(body) == client.Commit {
				committed[body] = 1
			}
		}
		w.until("all are decided", func() bool {
			list, err := w.cl.Admin().Transactions(w.ctx, topic, false, n)
			return err == nil && len(list) == 0
		})
		got := w.bodies(topic)
		if which == client.Commit {
			for body := range committed {
				require.Equal(w, 1, got[body], "%s is committed", body)
			}
			return
		}
		for body := range maps.Keys(got) {
			require.Equal(w, 1, committed[body], "%s is rolled back", body)
		}
	}
}

func checkBack(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	first := w.transactional(func(string) client.Verdict { return client.Undecided })
	for i := range 10 {
		w.transact(first, topic, strconv.Itoa(i), client.Undecided)
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	require.NoError(w, first.Close(ctx))
	// Another of its group answers in its place.
	w.transactional(func(body string) client.Verdict {
		if n, _ := strconv.Atoi(body); n < 5 {
			return client.Commit
		}
		return client.Rollback
	})
	w.until("all are decided", func() bool {
		list, err := w.cl.Admin().Transactions(w.ctx, topic, false, 100)
		return err == nil && len(list) == 0
	})
	require.Equal(w, map[string]int{"0": 1, "1": 1, "2": 1, "3": 1, "4": 1}, w.bodies(topic))
}

func decidedAgain(w *world) {
	decidedByOperators(w)
	if !w.full() { // else what it is connected to dies
		decidedByProducers(w)
	}
}

// decidedByOperators has each transaction decided again and again, one way and the other. The first counts.
func decidedByOperators(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	p := w.transactional(func(string) client.Verdict { return client.Undecided })
	n := w.n(4, 400)
	for i := range n {
		w.transact(p, topic, strconv.Itoa(i), client.Undecided)
	}
	a := w.cl.Admin()
	var list []client.TransactionInfo
	w.until("they are listed, but for those of which it is not known whether they were stored", func() bool {
		var err error
		list, err = a.Transactions(w.ctx, topic, false, 2*n)
		return err == nil && (len(list) == n || w.full() && len(list) > n/2)
	})
	want := make(map[string]int)
	for _, x := range list {
		w.until("its message is shown", func() bool {
			one, err := a.Transaction(w.ctx, x.Name)
			if err != nil {
				return false
			}
			x = one
			return true
		})
		body := string(x.Message.Body)
		first, other := client.Rollback, client.Commit
		if number, _ := strconv.Atoi(body); number%2 == 0 {
			first, other, want[body] = client.Commit, client.Rollback, 1
		}
		for range 5 {
			for _, v := range []client.Verdict{first, other} {
				w.until("a decision is answered", func() bool {
					was, err := a.DecideTransaction(w.ctx, x.Name, v)
					if v == first && err == nil {
						require.Equal(w, first, was)
						return true
					}
					if v == other {
						require.Error(w, err, "%s is decided", body)
						return errors.Is(err, client.ErrDecided)
					}
					return false // a node died: it is asked again
				})
			}
		}
	}
	require.Equal(w, want, w.bodies(topic))
}

// decidedByProducers is the same by what stock producers send.
func decidedByProducers(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	r := w.raw(w.listener(0, w.slot(topic)))
	half := func(id string) fields {
		ext := sendOf(topic, 0, "TRAN_MSG\x01true\x02PGROUP\x01"+w.row+"\x02UNIQ_KEY\x01"+id+"\x02")
		ext["producerGroup"], ext["sysFlag"] = w.row, "4"
		reply := r.OK(remoting.SendMessage, ext, []byte(id))
		_, physical, err := message.ParseOffsetID(reply.Ext["msgId"])
		require.NoError(w, err)
		return fields{"producerGroup": w.row, "tranStateTableOffset": reply.Ext["queueOffset"], "commitLogOffset": strconv.FormatInt(physical, 10), "msgId": id, "transactionId": id, "fromTransactionCheck": "false"}
	}
	decide := func(end fields, flag string) remoting.Code {
		ext := maps.Clone(end)
		ext["commitOrRollback"] = flag
		return r.Led(remoting.EndTransaction, ext, nil).Code
	}
	const commit, rollback = "8", "12"
	yes, no := half("0A01"), half("0A02")
	for range 5 {
		require.Equal(w, remoting.OK, decide(yes, commit))
		require.Equal(w, remoting.IllegalOperation, decide(yes, rollback))
		require.Equal(w, remoting.OK, decide(no, rollback))
		require.Equal(w, remoting.IllegalOperation, decide(no, commit))
	}
	require.Equal(w, map[string]int{"0A01": 1}, w.bodies(topic))
}
