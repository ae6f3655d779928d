package features

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
	"raftmq/remoting"
)

var consuming = []row{
	{name: "A33", about: "push consumer", test: pushConsumer, killed: true},
	{name: "A34", about: "pull consumer", test: pullConsumer},
	{name: "A35", about: "long polling", test: longPolling},
	{name: "A36", about: "offsets are saved", test: savedOffsets, killed: true},
	{name: "A37", about: "a group shares a topic", test: sharing},
	{name: "A38", about: "clustering: the union is the whole", test: clusteringModel, killed: true},
	{name: "A39", about: "broadcasting", test: broadcasting},
	{name: "A40", about: "queues are shared anew", test: rebalance},
	{name: "A41", about: "concurrent consumption", test: concurrentConsumption},
	{name: "A42", about: "retry of what failed", test: retry, killed: true},
	{name: "A43", about: "dead letters", test: deadLetters, killed: true},
	{name: "A44", about: "one id through all of it", test: oneID, killed: true},
	{name: "A45", about: "backtracking by time and offset", test: backtracking, killed: true},
	{name: "A46", about: "consumers that come and go", test: temporaryConsumers},
	{name: "A47", about: "query by id and key", test: query, own: true},
	{name: "A48", about: "tag filter", test: tagFilter},
	{name: "A49", about: "SQL filter", test: sqlFilter},
	{name: "A50", about: "a backlog is in nobody's way", test: backlog},
}

func pushConsumer(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	got := newSeen()
	w.consume(w.row, topic, got.handle)
	n := w.n(300, 10000)
	w.send(topic, n)
	w.until("all came", func() bool { return got.kinds() == n })
}

func pullConsumer(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 40)
	r := w.raw(w.listener(0, w.slot(topic)))
	var reply *remoting.Command
	w.until("a pull's worth is there", func() bool { // the node may follow, and be behind
		reply = r.Led(remoting.PullMessage, pullOf(topic, 0, 0), nil)
		return reply.Code == remoting.OK && reply.Ext["nextBeginOffset"] == "32" && reply.Ext["maxOffset"] == "40"
	})
	require.Len(w, mqtest.Records(w, reply.Body), 32)
	require.Equal(w, "0", reply.Ext["minOffset"])
	require.Equal(w, remoting.PullOffsetMoved, r.Led(remoting.PullMessage, pullOf(topic, 0, 99), nil).Code)

	rd, err := w.cl.NewReader(topic, client.FromPosition(client.AtOffset(35)))
	require.NoError(w, err)
	defer rd.Close()
	n := 35
	for d, err := range rd.UntilEnd(w.ctx) {
		require.NoError(w, err)
		require.EqualValues(w, n, d.Offset)
		n++
	}
	require.Equal(w, 40, n)
}

func longPolling(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	r := w.raw(w.listener(0, w.slot(topic)))
	hold := time.Duration(w.n(200, 15000)) * time.Millisecond
	held := pullOf(topic, 0, 0)
	held["sysFlag"], held["suspendTimeoutMillis"] = "6", strconv.FormatInt(hold.Milliseconds(), 10)
	begun := time.Now()
	reply := r.Led(remoting.PullMessage, held, nil)
	require.Equal(w, remoting.PullNotFound, reply.Code)
	require.Equal(w, "0", reply.Ext["nextBeginOffset"])
	require.GreaterOrEqual(w, time.Since(begun), hold-hold/10)
	held["suspendTimeoutMillis"] = strconv.FormatInt(patience.Milliseconds(), 10)
	opaque := r.Send(remoting.PullMessage, held, nil)
	w.send(topic, 1)
	reply = r.Reply(opaque)
	require.Equal(w, remoting.OK, reply.Code)
	require.Len(w, mqtest.Records(w, reply.Body), 1)
}

func savedOffsets(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 1})
	n := w.n(100, 3000)
	w.send(topic, n)
	got := newSeen()
	_, stop := w.consume(w.row, topic, got.handle)
	w.until("all are handled", func() bool { return got.kinds() == n })
	w.until("all are committed, without anybody's asking", w.noLag)
	stop()
	again := newSeen()
	w.consume(w.row, topic, again.handle)
	w.send(topic, 1)
	w.until("the next comes", func() bool { return again.times("0") > 0 })
	if !w.full() { // a node that is killed while the consumer leaves may cost it the last commit
		require.Equal(w, []string{"0"}, again.all(), "what was handled does not come again")
	}
	w.until("no lag is left", w.noLag)
}

// noLag reports whether the row's group is at the end everywhere.
func (w *world) noLag() bool {
	for row, err := range w.cl.Admin().Lag(w.ctx, w.row) {
		if err != nil || row.Lag != 0 {
			return false
		}
	}
	return true
}

// members run some consumers of the row's group.
func (w *world) members(n int, topic string, h client.Handler, opts ...client.ConsumerOption) (all []*client.Consumer) {
	for range n {
		s, _ := w.consume(w.row, topic, h, opts...)
		all = append(all, s)
	}
	return all
}

// shares waits until each member has between low and high queues, of a topic that has n;
// broadcast members have no retry topic's.
func (w *world) shares(all []*client.Consumer, n, low, high int) {
	w.Helper()
	w.until("queues are shared evenly", func() bool {
		sum := 0
		for _, s := range all {
			q := s.Stats().Queues
			if q < low || q > high+1 { // the retry topic has three
				return false
			}
			sum += q
		}
		return sum == n+3
	})
}

func sharing(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 4})
	got := newSeen()
	all := w.members(4, topic, got.handle)
	w.shares(all, 12, 3, 3)
	n := w.n(120, 12000)
	w.send(topic, n)
	w.until("all came", func() bool { return got.kinds() == n })
	require.Len(w, got.all(), n, "each once")
}

func clusteringModel(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	n := w.n(200, 5000)
	w.send(topic, n)
	got := newSeen()
	w.members(3, topic, got.handle)
	w.until("the union is the whole", func() bool { return got.kinds() == n })
}

func broadcasting(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 1})
	w.send(topic, 30)
	got := newSeen()
	for i := range 3 {
		w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
			got.note(fmt.Sprintf("%d/%s", i, d.Body))
			return nil
		}, client.WithBroadcast(nil))
	}
	w.until("each has all", func() bool { return got.kinds() == 90 })
	require.Len(w, got.all(), 90)
	_, err := w.cl.Admin().Topic(w.ctx, "%RETRY%"+w.row)
	require.ErrorIs(w, err, client.ErrTopicNotFound)
}

func rebalance(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 3, Queues: 4})
	got := newSeen()
	all := w.members(4, topic, got.handle)
	w.shares(all, 12, 3, 3)
	fifth, stop := w.consume(w.row, topic, got.handle)
	w.shares(append(all, fifth), 12, 2, 3)
	stop()
	w.shares(all, 12, 3, 3)
	w.send(topic, 60)
	w.until("all came", func() bool { return got.kinds() == 60 })
	// More queues are shared at once too.
	require.NoError(w, w.cl.Admin().UpdateTopic(w.ctx, client.TopicConfig{Name: topic, Queues: 8}))
	begun := time.Now()
	w.shares(all, 24, 6, 6)
	if !w.full() {
		require.Less(w, time.Since(begun), 20*time.Second, "and not when clients ask again for routes")
	}
}

func concurrentConsumption(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	w.send(topic, 40)
	var (
		at   atomic.Int32
		full = make(chan struct{})
	)
	got := newSeen()
	w.consume(w.row, topic, func(ctx context.Context, d *client.Delivery) error {
		if at.Add(1) == 20 {
			close(full)
		}
		select {
		case <-full: // twenty are at work at once
		case <-ctx.Done():
			return ctx.Err()
		}
		return got.handle(ctx, d)
	})
	w.until("all are handled", func() bool { return got.kinds() == 40 })
}

func retry(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	var (
		mu       sync.Mutex
		attempts []int
		times    []time.Time
	)
	const tries = 3
	opts := []client.ConsumerOption{client.WithBackoff(50*time.Millisecond, time.Second)}
	waits := []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}
	if w.full() { // the broker's own delays
		opts, waits = nil, []time.Duration{10 * time.Second, 30 * time.Second}
	}
	w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		attempts, times = append(attempts, d.Attempt), append(times, time.Now())
		if d.Attempt < tries {
			return errors.New("not yet")
		}
		return nil
	}, opts...)
	w.send(topic, 1)
	w.until("it succeeds", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(attempts, tries)
	})
	mu.Lock()
	defer mu.Unlock()
	require.True(w, slices.IsSorted(attempts), "attempts are counted up: %v", attempts)
	for i, n := range attempts[1:] {
		if n > attempts[i] { // else a node died and it came again
			require.GreaterOrEqual(w, times[i+1].Sub(times[i]), waits[n-2]-waits[n-2]/10, "attempt %d is not early", n)
		}
	}
}

func deadLetters(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	got := newSeen()
	w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		got.note(fmt.Sprintf("%s/%d", d.Body, d.Attempt))
		return client.RetryAfter(10*time.Millisecond, errors.New("never"))
	}, client.WithMaxAttempts(3))
	w.send(topic, 5)
	var dead []client.DeadLetterInfo
	w.until("all are dead letters", func() bool {
		var err error
		dead, err = w.cl.Admin().DeadLetters(w.ctx, w.row, 100)
		return err == nil && len(dead) >= 5
	})
	bodies := make(map[string]bool)
	for _, d := range dead {
		bodies[string(d.Message.Body)] = true
		require.Equal(w, topic, d.Topic())
		require.Contains(w, d.Reason(), "never")
	}
	require.Len(w, bodies, 5)
	for i := range 5 {
		for attempt := range 3 {
			require.Positive(w, got.times(fmt.Sprintf("%d/%d", i, attempt+1)))
		}
		require.Zero(w, got.times(fmt.Sprintf("%d/4", i)))
	}
}

func oneID(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	id := w.send(topic, 1)[0].ID
	got := newSeen()
	_, stop := w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		got.note(d.ID)
		return client.RetryAfter(10*time.Millisecond, errors.New("never"))
	}, client.WithMaxAttempts(3))
	var dead []client.DeadLetterInfo
	w.until("it is a dead letter", func() bool {
		var err error
		dead, err = w.cl.Admin().DeadLetters(w.ctx, w.row, 10)
		return err == nil && len(dead) > 0
	})
	stop()
	require.Equal(w, 1, got.kinds())
	require.GreaterOrEqual(w, got.times(id), 3)
	require.Equal(w, id, dead[0].Message.ID)
	// A transaction's too.
	topic = w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	p := w.transactional(func(string) client.Verdict { return client.Commit })
	ids := make(chan string, 10)
	r, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: []byte("x")}, func(_ context.Context, t client.Transaction) (client.Verdict, error) {
		ids <- t.ID
		return client.Commit, nil
	})
	if err == nil {
		require.Equal(w, r.ID, r.Receipt.ID)
	}
	w.until("it is delivered", func() bool { return len(w.read(topic)) == 1 })
	require.Equal(w, <-ids, w.read(topic)[0].ID)
}

func backtracking(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 20)
	time.Sleep(5 * time.Millisecond) // a later millisecond
	w.send(topic, 20)
	ds := w.read(topic)
	since := ds[20].StoredAt
	require.True(w, ds[19].StoredAt.Before(since))
	var (
		mu   sync.Mutex
		came []int64
	)
	all := func(first int64) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			for off := first; off < 40; off++ {
				if !slices.Contains(came, off) {
					return false
				}
			}
			return true
		}
	}
	w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		came = append(came, d.Offset)
		return nil
	}, client.WithConcurrency(1))
	w.until("all came", all(0))
	type move struct {
		to    client.Position
		first int64
	}
	for _, x := range slices.Repeat([]move{{client.AtTime(since), 20}, {client.AtOffset(33), 33}}, w.n(1, 10)) {
		w.until("all is committed", w.noLag) // else some may come again by themselves
		mu.Lock()
		came = nil
		mu.Unlock()
		w.until("the group is moved", func() bool {
			_, err := w.cl.Admin().ResetOffsets(w.ctx, w.row, topic, x.to, false)
			if !w.full() {
				require.NoError(w, err)
			}
			return err == nil // else a node died
		})
		w.until("they come again", all(x.first))
		mu.Lock()
		require.Equal(w, x.first, came[0], "the consumer runs on, from there")
		mu.Unlock()
	}
}

func temporaryConsumers(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	w.send(topic, 1)
	var clients []*client.Client
	for range 10 {
		clients = append(clients, w.dial())
	}
	for range w.n(10, 100) {
		var wg sync.WaitGroup
		for _, cl := range clients {
			wg.Go(func() {
				s, err := cl.NewConsumer(w.row)
				if err != nil {
					w.Error(err)
					return
				}
				if err := s.Subscribe(topic, client.All()); err != nil {
					w.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
				defer cancel()
				s.Run(ctx, func(context.Context, *client.Delivery) error { return nil })
			})
		}
		wg.Wait()
	}
	w.until("nobody is a member", func() bool {
		ms, err := w.cl.Admin().Members(w.ctx, w.row)
		return err == nil && len(ms) == 0
	})
}

func query(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	slot := w.slot(topic)
	p := w.producer()
	var ids []string
	for i := range 10 {
		r, err := p.Send(w.ctx, &client.Message{Topic: topic, Keys: []string{"order", fmt.Sprint("own", i)}, Body: []byte(strconv.Itoa(i))})
		require.NoError(w, err)
		ids = append(ids, r.ID)
	}
	for i := range w.data { // nothing of it is only in memory
		w.stop(w, i)
		w.run(w, i)
	}
	for i := range w.data {
		r := w.raw(w.listener(i, slot))
		find := func(key string, unique bool) []string {
			ext := fields{"topic": topic, "key": key, "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
			if unique {
				ext["_UNIQUE_KEY_QUERY"] = "true"
			}
			reply := r.Led(remoting.QueryMessage, ext, nil)
			if reply.Code == remoting.QueryNotFound {
				return nil
			}
			require.Equal(w, remoting.OK, reply.Code, reply.Remark)
			var bodies []string
			for _, rec := range mqtest.Records(w, reply.Body) {
				bodies = append(bodies, string(rec.Body()))
				require.Equal(w, []byte(rec), r.OK(remoting.ViewMessageByID, fields{"offset": strconv.FormatInt(rec.PhysicalOffset(), 10)}, nil).Body)
			}
			return bodies
		}
		require.Len(w, find("order", false), 10)
		require.Equal(w, []string{"3"}, find("own3", false))
		require.Equal(w, []string{"7"}, find(ids[7], true))
		require.Empty(w, find("none", false))
	}
}

func tagFilter(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	p := w.producer()
	for i := range 60 {
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Tag: []string{"a", "b", "c"}[i%3], Body: []byte([]string{"a", "b", "c"}[i%3] + strconv.Itoa(i))})
		require.NoError(w, err)
	}
	// "Aa" and "BB" have one hash.
	for _, tag := range []string{"Aa", "BB"} {
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Tag: tag, Body: []byte(tag)})
		require.NoError(w, err)
	}
	got := newSeen()
	w.consumeFiltered(w.row, topic, client.Tags("a", "b", "Aa"), got.handle)
	w.until("both tags came", func() bool { return got.kinds() == 41 })
	for _, b := range got.all() {
		require.NotEqual(w, "BB", b)
		require.False(w, strings.HasPrefix(b, "c"), b)
	}
	// What is filtered out is not on the wire.
	r := w.raw(w.listener(0, w.slot(topic)))
	ext := pullOf(topic, 0, 0)
	ext["subscription"], ext["maxMsgNums"] = "c", "32"
	w.until("all are on the node that answers", func() bool { return len(mqtest.Records(w, r.Led(remoting.PullMessage, ext, nil).Body)) == 20 })
	for _, rec := range mqtest.Records(w, r.OK(remoting.PullMessage, ext, nil).Body) {
		require.Equal(w, byte('c'), rec.Body()[0])
	}
	ext["subscription"] = "Aa"
	rs := mqtest.Records(w, r.OK(remoting.PullMessage, ext, nil).Body)
	require.Len(w, rs, 1, "tags are compared, not only their hashes")
	require.Equal(w, "Aa", string(rs[0].Body()))
}

func sqlFilter(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	p := w.producer()
	for i := range 60 {
		m := &client.Message{Topic: topic, Body: []byte(strconv.Itoa(i)), Properties: map[string]string{"n": strconv.Itoa(i)}}
		if i%2 == 0 {
			m.Properties["region"] = "it's"
		}
		_, err := p.Send(w.ctx, m)
		require.NoError(w, err)
	}
	got := newSeen()
	w.consumeFiltered(w.row, topic, client.SQL("n BETWEEN 10 AND 29 AND region = 'it''s' OR n IN ('59')"), got.handle)
	w.until("what matches came", func() bool { return got.kinds() == 11 })
	require.Len(w, got.all(), 11)
	for i := 10; i < 30; i += 2 {
		require.Equal(w, 1, got.times(strconv.Itoa(i)))
	}
	// What is unknown is not true, and its opposite neither.
	for condition, n := range map[string]int{"region <> 'x'": 30, "NOT (region = 'x')": 30, "region IS NULL": 30, "n > 49.5": 10, "n CONTAINS '5'": 15} {
		require.Len(w, w.read(topic, client.FromFilter(client.SQL(condition))), n, condition)
	}
	s, err := w.cl.NewConsumer(w.row + "-bad")
	require.NoError(w, err)
	err = s.Subscribe(topic, client.SQL("n > "))
	require.ErrorIs(w, err, client.ErrInvalid)
	require.ErrorContains(w, err, "column")
	// On the wire too.
	ext := pullOf(topic, 0, 0)
	ext["subscription"], ext["expressionType"] = "n = 33", "SQL92"
	r := w.raw(w.listener(0, w.slot(topic)))
	rs := mqtest.Records(w, r.OK(remoting.PullMessage, ext, nil).Body)
	require.Len(w, rs, 1, "what is filtered out is not on the wire")
	ext["subscription"] = "n = "
	reply := r.Led(remoting.PullMessage, ext, nil)
	require.Equal(w, remoting.SubscriptionParseFailed, reply.Code)
	require.Contains(w, reply.Remark, "column")
}

func backlog(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	n := w.n(500, 50000)
	p := w.producer()
	body := make([]byte, 1024)
	for range n {
		require.NoError(w, p.SendAsync(w.ctx, &client.Message{Topic: topic, Body: body}, func(_ client.Receipt, err error) {
			if err != nil {
				w.Error(err)
			}
		}))
	}
	require.NoError(w, p.Flush(w.ctx))
	var handled atomic.Int64
	w.consume(w.row, topic, func(context.Context, *client.Delivery) error { handled.Add(1); return nil })
	for range 50 { // while that is read
		_, err := p.Send(w.ctx, &client.Message{Topic: topic, Body: body})
		require.NoError(w, err)
	}
	w.until("all of it is read", func() bool { return handled.Load() >= int64(n+50) })
}
