package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// run is a consumer at work until stop.
type run struct {
	*client.Consumer
	stop func() error
}

func consume(t testing.TB, c *client.Client, topic string, h client.Handler, opts ...client.ConsumerOption) *run {
	t.Helper()
	return consumeOnly(t, c, topic, client.All(), h, opts...)
}

func consumeOnly(t testing.TB, c *client.Client, topic string, filter client.Filter, h client.Handler, opts ...client.ConsumerOption) *run {
	t.Helper()
	s, err := c.NewConsumer("g", opts...)
	require.NoError(t, err)
	require.NoError(t, s.Subscribe(topic, filter))
	ctx, cancel := context.WithCancel(bg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, h) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return &run{s, stop}
}

func sendAll(t testing.TB, p *client.Producer, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, p.SendAsync(bg, msg(topic, strconv.Itoa(i)), func(_ client.Receipt, err error) { require.NoError(t, err) }))
	}
	require.NoError(t, p.Flush(bg))
}

// patience is how long what must come may take on a loaded machine.
const patience = time.Minute

func eventually(t testing.TB, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 2*time.Millisecond)
}

// tally counts deliveries by body.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (y *tally) handle(_ context.Context, d *client.Delivery) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.seen == nil {
		y.seen = make(map[string]int)
	}
	y.seen[string(d.Body)]++
	return nil
}

func (y *tally) len() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.seen)
}

func TestConsumerGetsEveryMessageAndCommitsOnClose(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 100)
	var y tally
	r := consume(t, c, "t", y.handle)
	sendAll(t, producer(t, c), "t", 100, 200)
	eventually(t, func() bool { return y.len() == 200 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 200, f.committed("g", "t"))
	for b, n := range y.seen {
		require.Equal(t, 1, n, b)
	}
	var z tally
	r = consume(t, c, "t", z.handle)
	sendAll(t, producer(t, c), "t", 200, 210)
	eventually(t, func() bool { return z.len() == 10 })
	require.NoError(t, r.stop())
	require.NotContains(t, z.seen, "0")
}

func TestMembersShareTheQueues(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	var y tally
	a := consume(t, f.dial(), "t", y.handle)
	eventually(t, func() bool { return a.Stats().Queues == 6 })
	b := consume(t, f.dial(), "t", y.handle)
	eventually(t, func() bool { return a.Stats().Queues == 3 && b.Stats().Queues == 3 })
	sendAll(t, producer(t, f.dial()), "t", 0, 60)
	eventually(t, func() bool { return y.len() == 60 })
	require.NoError(t, b.stop())
	eventually(t, func() bool { return a.Stats().Queues == 6 })
}

func TestBroadcastGivesEveryMemberEverything(t *testing.T) {
	f := newFake(t, 1, 2)
	f.topic("t", 2)
	sendAll(t, producer(t, f.dial()), "t", 0, 20)
	store := &offsets{m: map[string]int64{}}
	var y, z tally
	a := consume(t, f.dial(), "t", y.handle, client.WithBroadcast(store))
	consume(t, f.dial(), "t", z.handle, client.WithBroadcast(nil))
	eventually(t, func() bool { return y.len() == 20 && z.len() == 20 })
	require.NoError(t, a.stop())
	require.EqualValues(t, 20, store.sum())
	require.Zero(t, f.committed("g", "t"))
}

type offsets struct {
	mu sync.Mutex
	m  map[string]int64
}

func (o *offsets) Load(_ context.Context, topic string, queue int) (int64, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.m[fmt.Sprint(topic, queue)]
	return v, ok, nil
}

func (o *offsets) Store(_ context.Context, topic string, queue int, offset int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.m[fmt.Sprint(topic, queue)] = offset
	return nil
}

func (o *offsets) sum() (n int64) {
	for _, v := range o.m {
		n += v
	}
	return n
}

// An error and a panic are failed attempts: the message comes again, others go
// on, and nothing above it counts as done until it is.
func TestFailedMessageComesAgain(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 5)
	var y tally
	var attempts []int
	var heal atomic.Bool
	r := consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
		if string(d.Body) == "2" {
			attempts = append(attempts, d.Attempt)
			switch {
			case d.Attempt == 1:
				panic("boom")
			case d.Attempt == 2:
				return client.RetryAfter(time.Millisecond, errors.New("later"))
			case !heal.Load():
				return errors.New("no")
			}
		}
		return y.handle(ctx, d)
	}, client.WithBackoff(time.Millisecond, 5*time.Millisecond))
	eventually(t, func() bool { return y.len() == 4 })
	eventually(t, func() bool { return f.committed("g", "t") == 2 })
	heal.Store(true)
	eventually(t, func() bool { return y.len() == 5 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 5, f.committed("g", "t"))
	require.Equal(t, []int{1, 2, 3}, attempts[:3])
}

// Run waits for the handler at work, not for what waits behind it, and commits
// just what was handled.
func TestRunDrainsOnClose(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 5)
	begun, finish := make(chan struct{}), make(chan struct{})
	r := consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
		close(begun)
		<-finish
		return ctx.Err()
	}, client.WithConcurrency(1))
	<-begun
	ended := make(chan error)
	go func() { ended <- r.stop() }()
	eventually(t, func() bool { return r.Stats().Buffered == 0 })
	close(finish)
	require.NoError(t, <-ended)
	require.EqualValues(t, 1, f.committed("g", "t"))
}

func TestDrainTimeoutEndsHandlersContexts(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 1)
	begun := make(chan struct{})
	r := consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}, client.WithDrainTimeout(10*time.Millisecond))
	<-begun
	require.NoError(t, r.stop())
	require.EqualValues(t, 0, f.committed("g", "t"))
}

// A put-back that is not answered outlasts no run: nothing is known of it, so the message
// counts as not handled.
func TestAPutBackEndsWithTheDrainTime(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	asked := make(chan struct{}, 8)
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code != remoting.ConsumerSendMessageBack {
			return healthy
		}
		asked <- struct{}{}
		return silent
	})
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 2)
	r := consume(t, c, "t", func(context.Context, *client.Delivery) error { return errors.New("no") }, client.WithDrainTimeout(10*time.Millisecond), client.WithConcurrency(2))
	<-asked
	<-asked
	require.NoError(t, r.stop())
	require.Zero(t, r.Stats().InFlight)
	require.EqualValues(t, 0, f.committed("g", "t"))
}

func TestConsumerGoesOnWhenANodeDies(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	var y tally
	r := consume(t, f.dial(), "t", y.handle)
	eventually(t, func() bool { return r.Stats().Queues == 6 })
	f.nodes[0].kill()
	sendAll(t, producer(t, f.dial()), "t", 0, 60)
	eventually(t, func() bool { return y.len() == 60 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 60, f.committed("g", "t"))
}

func TestPrefetchBoundsWhatIsHeld(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 200)
	finish := make(chan struct{})
	var n atomic.Int64
	r := consume(t, c, "t", func(context.Context, *client.Delivery) error {
		<-finish
		n.Add(1)
		return nil
	}, client.WithPrefetch(40, 1<<20), client.WithConcurrency(2))
	eventually(t, func() bool { return r.Stats().Buffered == 38 && r.Stats().InFlight == 2 })
	close(finish)
	eventually(t, func() bool { return n.Load() == 200 })
}

func TestTagsFilter(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	p := producer(t, c)
	for _, tag := range []string{"a", "b", "c", ""} {
		_, err := p.Send(bg, &client.Message{Topic: "t", Tag: tag, Body: []byte("body " + tag)})
		require.NoError(t, err)
	}
	var y tally
	r := consumeOnly(t, c, "t", client.Tags("a", "c"), y.handle)
	eventually(t, func() bool { return y.len() == 2 })
	require.NoError(t, r.stop())
	require.Equal(t, map[string]int{"body a": 1, "body c": 1}, y.seen)
	require.EqualValues(t, 4, f.committed("g", "t"))
}

func TestStartAtLatestSkipsThePast(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 5)
	var y tally
	r := consume(t, c, "t", y.handle, client.WithStartAt(client.Latest()))
	eventually(t, func() bool { return f.committed("g", "t") == 5 })
	sendAll(t, producer(t, c), "t", 5, 6)
	eventually(t, func() bool { return y.len() == 1 })
	require.NoError(t, r.stop())
	require.Equal(t, map[string]int{"5": 1}, y.seen)
}

func TestResetMovesARunningConsumer(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 5)
	var n atomic.Int64
	consume(t, c, "t", func(context.Context, *client.Delivery) error { n.Add(1); return nil })
	eventually(t, func() bool { return f.committed("g", "t") == 5 })
	plan, err := c.Admin().ResetOffsets(bg, "g", "t", client.AtOffset(2), true)
	require.NoError(t, err)
	require.Len(t, plan, 1)
	require.EqualValues(t, 2, plan[0].Committed)
	require.EqualValues(t, 5, n.Load())
	_, err = c.Admin().ResetOffsets(bg, "g", "t", client.AtOffset(2), false)
	require.NoError(t, err)
	eventually(t, func() bool { return n.Load() == 8 })
}

// Once a consumer pulls from where an operator put its group, nodes take commits that are
// higher. So it does not before its commits of the old place have come to their ends: they
// would undo the reset.
func TestACommitOnItsWayUndoesNoReset(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 5)
	arrive := sync.OnceFunc(func() { close(f.later) })
	defer arrive()
	var flies, pulled atomic.Bool
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		switch {
		case req.Code == remoting.UpdateConsumerOffset && req.Ext["commitOffset"] == "5" && flies.CompareAndSwap(false, true):
			return late
		case req.Code == remoting.PullMessage && req.Ext["queueOffset"] == "2":
			pulled.Store(true)
		}
		return healthy
	})
	var n atomic.Int64
	consume(t, c, "t", func(context.Context, *client.Delivery) error { n.Add(1); return nil })
	eventually(t, flies.Load)
	_, err := c.Admin().ResetOffsets(bg, "g", "t", client.AtOffset(2), false)
	require.NoError(t, err)
	time.Sleep(200 * time.Millisecond)
	require.False(t, pulled.Load())
	arrive()
	eventually(t, func() bool { return n.Load() == 8 })
}

func TestPauseHoldsPulls(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	var y tally
	s, err := c.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	s.Pause()
	ctx, cancel := context.WithCancel(bg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, y.handle) }()
	sendAll(t, producer(t, c), "t", 0, 3)
	eventually(t, func() bool { return s.Stats().Queues == 1 })
	require.Zero(t, y.len())
	s.Resume()
	eventually(t, func() bool { return y.len() == 3 })
	cancel()
	require.NoError(t, <-ended)
}

func TestRunRefusesNonsense(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.dial()
	s, err := c.NewConsumer("g")
	require.NoError(t, err)
	none := func(context.Context, *client.Delivery) error { return nil }
	require.ErrorIs(t, s.Run(bg, none), client.ErrInvalid)
	require.NoError(t, s.Subscribe("missing", client.All()))
	require.ErrorIs(t, s.Run(bg, none), client.ErrTopicNotFound)
}

// A client is one member of a group, and would be given each message twice by two consumers
// of it: the second does not run, until the first has left.
func TestAClientRunsOneConsumerOfAGroup(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 2)
	c := f.dial()
	var y tally
	first := consume(t, c, "t", y.handle)
	eventually(t, func() bool { return first.Stats().Queues == 2 })
	second, err := c.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, second.Subscribe("t", client.All()))
	ctx, cancel := context.WithTimeout(bg, patience)
	defer cancel()
	require.ErrorIs(t, second.Run(ctx, y.handle), client.ErrInvalid)
	sendAll(t, producer(t, c), "t", 0, 20)
	eventually(t, func() bool { return y.len() == 20 })
	require.NoError(t, first.stop())
	for body, n := range y.seen {
		require.Equal(t, 1, n, body)
	}
	again := consume(t, c, "t", y.handle)
	sendAll(t, producer(t, c), "t", 20, 30)
	eventually(t, func() bool { return y.len() == 30 })
	require.NoError(t, again.stop())
}

// However soon after another a filter is set, its version is higher: nodes go by the highest.
func TestALaterFilterHasAHigherVersion(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	var pulled atomic.Int64
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if n, err := strconv.ParseInt(req.Ext["subVersion"], 10, 64); err == nil && req.Ext["topic"] == "t" {
			pulled.Store(n)
		}
		return healthy
	})
	s, err := f.dial().NewConsumer("g")
	require.NoError(t, err)
	const times = 100_000
	begun := time.Now().UnixMilli()
	for range times {
		require.NoError(t, s.Subscribe("t", client.All()))
	}
	ctx, cancel := context.WithCancel(bg)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(context.Context, *client.Delivery) error { return nil }) }()
	eventually(t, func() bool { return pulled.Load() > 0 })
	cancel()
	require.NoError(t, <-ended)
	require.GreaterOrEqual(t, pulled.Load(), begun+times-1)
}

func TestBatchHandlerGetsOneQueuesMessages(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 2)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 100)
	s, err := c.NewConsumer("g", client.WithConcurrency(1))
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	ctx, cancel := context.WithCancel(bg)
	n := 0
	require.NoError(t, s.RunBatch(ctx, 10, func(_ context.Context, ds []*client.Delivery) []error {
		require.LessOrEqual(t, len(ds), 10)
		for _, d := range ds {
			require.Equal(t, ds[0].Queue, d.Queue)
		}
		if n += len(ds); n == 100 {
			cancel()
		}
		return nil
	}))
	require.EqualValues(t, 100, f.committed("g", "t"))
}

func TestCompressionIsUndoneForConsumers(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	body := bytes.Repeat([]byte("raftmq "), 2000)
	for _, codec := range []client.Codec{client.Zlib, client.LZ4, client.Zstd} {
		_, err := producer(t, c, client.WithCompression(codec, 100)).Send(bg, &client.Message{Topic: "t", Body: body})
		require.NoError(t, err)
	}
	for _, s := range f.sends() {
		require.Less(t, len(s.Body), 1000)
		var h remoting.SendHeader
		require.NoError(t, h.Decode(s.Ext))
		require.EqualValues(t, 1, h.SysFlag&1)
	}
	r, err := c.NewReader("t")
	require.NoError(t, err)
	n := 0
	for d, err := range r.UntilEnd(bg) {
		require.NoError(t, err)
		require.NoError(t, d.BodyErr)
		require.Equal(t, body, d.Body)
		n++
	}
	require.Equal(t, 3, n)
}

func TestReaderReadsSeeksAndStops(t *testing.T) {
	f := newFake(t, 1, 2)
	f.topic("t", 2)
	c := f.dial()
	p := producer(t, c)
	for i := range 40 {
		_, err := p.SendTo(bg, i%4, &client.Message{Topic: "t", Body: []byte(strconv.Itoa(i))})
		require.NoError(t, err)
	}
	r, err := c.NewReader("t")
	require.NoError(t, err)
	seen := map[string]bool{}
	next := map[int]int64{}
	for d, err := range r.UntilEnd(bg) {
		require.NoError(t, err)
		seen[string(d.Body)] = true
		require.Equal(t, next[d.Queue], d.Offset, "a delivery names its queue")
		next[d.Queue]++
	}
	require.Len(t, seen, 40)
	o, err := r.Offsets(bg)
	require.NoError(t, err)
	require.Len(t, o, 4)
	for n, q := range o {
		require.Equal(t, q.Max, q.Next)
		require.Equal(t, next[n], q.Max)
	}
	require.NoError(t, r.Seek(bg, 0, client.AtOffset(3)))
	n := 0
	for d, err := range r.UntilEnd(bg) {
		require.NoError(t, err)
		require.Equal(t, 0, d.Queue)
		require.EqualValues(t, 3+n, d.Offset)
		n++
	}
	require.EqualValues(t, o[0].Max-3, n)
	sendAll(t, producer(t, c), "t", 40, 41)
	for d, err := range r.All(bg) {
		require.NoError(t, err)
		require.Equal(t, "40", string(d.Body))
		break
	}
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	for _, err := range r.All(ctx) {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, r.Close())
	for _, err := range r.All(bg) {
		require.ErrorIs(t, err, client.ErrClosed)
	}
}

// The whole topic is read, also queues that it was given after the reader, or the client, met
// it; what a reader that starts at the end finds in them came since.
func TestReaderFindsQueuesThatWereAdded(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 4)
	latest, err := c.NewReader("t", client.FromPosition(client.Latest()))
	require.NoError(t, err)
	for range latest.UntilEnd(bg) {
		t.Fatal("nothing came since")
	}
	old, err := c.NewReader("t")
	require.NoError(t, err)
	for d, err := range old.All(bg) {
		require.NoError(t, err)
		if d.Offset == 3 {
			break
		}
	}
	f.topic("t", 2)
	sendAll(t, producer(t, f.dial(), client.WithSelector(func(*client.Message, int) int { return 1 })), "t", 4, 6)
	read := func(r *client.Reader) (bodies []string) {
		for d, err := range r.UntilEnd(bg) {
			require.NoError(t, err)
			bodies = append(bodies, string(d.Body))
		}
		return bodies
	}
	fresh, err := c.NewReader("t", client.Queues(1))
	require.NoError(t, err)
	require.Equal(t, []string{"4", "5"}, read(fresh))
	require.Equal(t, []string{"4", "5"}, read(latest))
	ctx, cancel := context.WithTimeout(bg, patience)
	defer cancel()
	for d, err := range old.All(ctx) {
		require.NoError(t, err)
		if string(d.Body) == "5" {
			break
		}
	}
	ranges, err := old.Offsets(bg)
	require.NoError(t, err)
	require.Equal(t, map[int]client.OffsetRange{0: {0, 4, 4}, 1: {0, 2, 2}}, ranges)
}

func TestReaderStartsByPosition(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 10)
	count := func(p client.Position) (n int) {
		r, err := c.NewReader("t", client.FromPosition(p))
		require.NoError(t, err)
		for _, err := range r.UntilEnd(bg) {
			require.NoError(t, err)
			n++
		}
		return n
	}
	require.Equal(t, 10, count(client.Earliest()))
	require.Equal(t, 0, count(client.Latest()))
	require.Equal(t, 3, count(client.AtOffset(7)))
	require.Equal(t, 0, count(client.AtOffset(99)))
	require.Equal(t, 10, count(client.AtTime(time.Now().Add(-time.Minute))))
	require.Equal(t, 0, count(client.AtTime(time.Now().Add(time.Minute))))
}

// A node that has just started has heard of no broker; who asked it first asks again.
func TestAClientAsksAgainForBrokersThatNobodyKnew(t *testing.T) {
	f := newFake(t, 1, 1)
	f.young = 1
	c := f.dial()
	require.NoError(t, c.Admin().CreateTopic(bg, client.TopicConfig{Name: "t"}))
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Zero(t, f.young)
}

func TestAdminRoundTrip(t *testing.T) {
	f := newFake(t, 2, 3)
	c := f.dial()
	a := c.Admin()
	require.NoError(t, a.CreateTopic(bg, client.TopicConfig{Name: "t", Partitions: 2, Queues: 4}))
	require.ErrorIs(t, a.CreateTopic(bg, client.TopicConfig{Name: "t"}), client.ErrExists)
	sendAll(t, producer(t, c), "t", 0, 16)
	for tc, err := range a.Topics(bg) {
		require.NoError(t, err)
		require.Equal(t, client.TopicConfig{Name: "t", Partitions: 2, Queues: 4, ReadQueues: 4, WriteQueues: 4, Perm: 6, Attributes: tc.Attributes}, tc)
	}
	st, err := a.TopicStats(bg, "t")
	require.NoError(t, err)
	require.Len(t, st, 8)
	sum := int64(0)
	for _, q := range st {
		sum += q.Max
	}
	require.EqualValues(t, 16, sum)
	require.NoError(t, a.CreateGroup(bg, client.GroupConfig{Name: "g", RetryMaxTimes: 3}))
	for g, err := range a.Groups(bg) {
		require.NoError(t, err)
		require.Equal(t, client.GroupConfig{Name: "g", RetryMaxTimes: 3}, g)
	}
	var y tally
	r := consume(t, c, "t", y.handle)
	eventually(t, func() bool { return f.committed("g", "t") == 16 })
	m, err := a.Members(bg, "g")
	require.NoError(t, err)
	require.Len(t, m, 1)
	require.NoError(t, r.stop())
	sendAll(t, producer(t, c), "t", 16, 24)
	var lag int64
	for row, err := range a.Lag(bg, "g") {
		require.NoError(t, err)
		lag += row.Lag
	}
	require.EqualValues(t, 8, lag)
	brokers, err := a.Cluster(bg)
	require.NoError(t, err)
	require.Len(t, brokers, 3)
	require.Len(t, brokers[0].Addrs, 2)
	require.NoError(t, a.UpdateTopic(bg, client.TopicConfig{Name: "t", Queues: 4, Perm: client.PermRead}))
	_, err = producer(t, f.dial()).Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrForbidden)
	require.NoError(t, a.DeleteGroup(bg, "g"))
	require.NoError(t, a.DeleteTopic(bg, "t"))
	_, err = a.Topic(bg, "t")
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	require.NoError(t, a.DeleteTopic(bg, "t"), "it is not there, as asked")
}

func TestDialNamesWhatDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
	defer cancel()
	_, err := client.Dial(ctx, client.WithEndpoints("127.0.0.1:1"))
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 10)
	var y tally
	s, err := c.NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(bg, y.handle) }()
	r, err := c.NewReader("t")
	require.NoError(t, err)
	for range r.All(bg) {
		break
	}
	eventually(t, func() bool { return y.len() == 10 })
	require.NoError(t, c.Close(bg))
	require.ErrorIs(t, <-ended, client.ErrClosed)
	eventually(t, func() bool {
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		return !strings.Contains(stacks, "raftmq/client.(") && !strings.Contains(stacks, "remoting.(*Conn)")
	})
}

// A topic that is deleted under a consumer has no queues, and those of the others are shared
// out as before.
func TestADeletedTopicLeavesTheOthersShared(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("a", 4)
	f.topic("b", 4)
	var y tally
	var members []*client.Consumer
	var stops []context.CancelFunc
	ended := make(chan error, 2)
	for range 2 {
		s, err := f.dial().NewConsumer("g")
		require.NoError(t, err)
		require.NoError(t, s.Subscribe("a", client.All()))
		require.NoError(t, s.Subscribe("b", client.All()))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- s.Run(ctx, y.handle) }()
		members, stops = append(members, s), append(stops, cancel)
	}
	eventually(t, func() bool { return members[0].Stats().Queues == 4 && members[1].Stats().Queues == 4 })
	f.mu.Lock()
	delete(f.topics, "b")
	f.mu.Unlock()
	stops[1]()
	require.NoError(t, <-ended)
	eventually(t, func() bool { return members[0].Stats().Queues == 4 })
	sendAll(t, producer(t, f.dial()), "a", 0, 40)
	eventually(t, func() bool { return y.len() == 40 })
	stops[0]()
	require.NoError(t, <-ended)
}

// What a handler gave up because its queue was taken away is the next member's, and is not
// put back beside that.
func TestMessagesOfALostQueueAreNotPutBack(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 2)
	sendAll(t, producer(t, f.dial(), client.WithSelector(client.RoundRobin())), "t", 0, 2)
	var back atomic.Int64
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.ConsumerSendMessageBack {
			back.Add(1)
		}
		return healthy
	})
	var begun atomic.Int64
	gaveUp := make(chan struct{})
	r := consume(t, f.dial(), "t", func(ctx context.Context, d *client.Delivery) error {
		begun.Add(1)
		<-ctx.Done()
		gaveUp <- struct{}{}
		return ctx.Err()
	})
	eventually(t, func() bool { return begun.Load() == 2 })
	var y tally
	consume(t, f.dial(), "t", y.handle)
	<-gaveUp
	eventually(t, func() bool { return y.len() == 1 && r.Stats().InFlight == 1 })
	require.Zero(t, back.Load())
	go func() { <-gaveUp }()
}

// The time of a handler that is over ends its context, also while the message cannot be put
// back.
func TestALateHandlersContextEndsAtOnce(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	asked := make(chan struct{}, 16)
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code != remoting.ConsumerSendMessageBack {
			return healthy
		}
		asked <- struct{}{}
		return silent
	})
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 1)
	took := make(chan time.Duration, 1)
	consume(t, c, "t", func(ctx context.Context, d *client.Delivery) error {
		<-asked
		begun := time.Now()
		<-ctx.Done()
		took <- time.Since(begun)
		return nil
	}, client.WithConsumeTimeout(10*time.Millisecond), client.WithDrainTimeout(10*time.Millisecond))
	select {
	case d := <-took:
		require.Less(t, d, 20*time.Second, "a put-back is tried for longer")
	case <-time.After(patience):
		t.Fatal("its context does not end")
	}
}

// A stock client's header says how often a message was handed out, whatever that means: a
// number below zero ends no program.
func TestAttemptsBeginAtOne(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	m := message.Message{Topic: "t", ReconsumeTimes: -5, BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"), Body: []byte("x")}
	rec, err := m.AppendRecord(nil)
	require.NoError(t, err)
	f.mu.Lock()
	f.queues[fakeQueue{"t", f.slots[0], 0}] = &fakeLog{records: [][]byte{rec}}
	f.mu.Unlock()
	attempts := make(chan int, 2)
	consume(t, f.dial(), "t", func(_ context.Context, d *client.Delivery) error {
		attempts <- d.Attempt
		if d.Attempt < 2 {
			return errors.New("no")
		}
		return nil
	})
	require.Equal(t, 1, <-attempts)
	require.Equal(t, 2, <-attempts)
}

// A broker's addresses are others by now, and a client that asks for nothing but that finds
// them.
func TestAClientFindsBrokersThatHaveMoved(t *testing.T) {
	f := newFake(t, 1, 1)
	a := f.dial().Admin()
	require.NoError(t, a.CreateGroup(t.Context(), client.GroupConfig{Name: "g"}))
	n := f.nodes[0]
	n.servers[0].Close()
	port := n.listen(0)
	f.mu.Lock()
	n.ports[0] = port
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.CreateGroup(ctx, client.GroupConfig{Name: "h"}))
}

// The answer to a request that takes out dead letters is lost: how many are out is not known,
// and no others are taken out for them.
func TestNoMoreDeadLettersThanWereAskedFor(t *testing.T) {
	f := newFake(t, 3, 1)
	f.letters = 30
	lost := false
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code != remoting.DeadLetters || lost {
			return healthy
		}
		lost = true
		return cutAfter
	})
	a := f.dial().Admin()
	_, err := a.Redrive(t.Context(), "g", "", 10)
	require.ErrorIs(t, err, client.ErrUncertain)
	f.mu.Lock()
	left := f.letters
	f.mu.Unlock()
	require.Equal(t, 20, left)
	n, err := a.Purge(t.Context(), "g", "", 5)
	require.NoError(t, err)
	require.Equal(t, 5, n)
}

// Who pauses all is given nothing, retries neither.
func TestPauseHoldsRetriesToo(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	retries := message.RetryTopic("g")
	f.topic(retries, 1)
	m := message.Message{Topic: retries, ReconsumeTimes: 1, BornHost: netip.MustParseAddrPort("127.0.0.1:1"), StoreHost: netip.MustParseAddrPort("127.0.0.1:2"),
		Body: []byte("x"), Properties: string(message.AppendProperty(nil, message.PropRetryTopic, "t"))}
	rec, err := m.AppendRecord(nil)
	require.NoError(t, err)
	f.mu.Lock()
	f.queues[fakeQueue{retries, f.slots[0], 0}] = &fakeLog{records: [][]byte{rec}}
	f.mu.Unlock()
	s, err := f.dial().NewConsumer("g")
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	s.Pause()
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	var y tally
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, y.handle) }()
	eventually(t, func() bool { return s.Stats().Queues == 2 })
	time.Sleep(100 * time.Millisecond)
	require.Zero(t, y.len())
	s.Resume("t")
	eventually(t, func() bool { return y.len() == 1 })
	cancel()
	require.NoError(t, <-ended)
}

// A topic was deleted and made again under its name, and has less than the consumer had come
// to: its messages are others, and are all handled.
func TestATopicThatCameBackIsConsumedFromItsBegin(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 10)
	var y tally
	r := consume(t, c, "t", y.handle)
	eventually(t, func() bool { return f.committed("g", "t") == 10 })
	f.mu.Lock()
	q := fakeQueue{"t", "raftmq-0", 0}
	records := f.queues[q].records
	f.deleteLocked("t")
	f.topics["t"] = &fakeTopic{1, 1, 6, 1}
	f.queues[q] = &fakeLog{records[:3]}
	f.mu.Unlock()
	eventually(t, func() bool { return y.times("0") == 2 && y.times("1") == 2 && y.times("2") == 2 })
	eventually(t, func() bool { return f.committed("g", "t") == 3 })
	require.NoError(t, r.stop())
	require.Equal(t, 1, y.times("3"))
}

// A consumer whose topic is gone keeps no place in it: one that comes later under its name, and has
// more, is consumed from its begin.
func TestNoPlaceInADeletedTopicIsKept(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 10)
	var y tally
	r := consume(t, c, "t", y.handle)
	eventually(t, func() bool { return f.committed("g", "t") == 10 })
	q := fakeQueue{"t", "raftmq-0", 0}
	f.mu.Lock()
	records := f.queues[q].records
	f.deleteLocked("t")
	f.mu.Unlock()
	eventually(t, func() bool { return r.Stats().Queues == 0 })
	f.mu.Lock()
	f.topics["t"] = &fakeTopic{1, 1, 6, 1}
	f.queues[q] = &fakeLog{records}
	f.mu.Unlock()
	sendAll(t, producer(t, c), "t", 10, 12)
	eventually(t, func() bool { return y.times("0") == 2 && y.times("9") == 2 && y.times("11") == 1 })
	require.NoError(t, r.stop())
}

func (y *tally) times(body string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.seen[body]
}

// A member that could not ask for a queue's lock for so long that another may have it handles
// nothing more, until it has asked.
func TestNothingIsHandledUnderALockThatMayHavePassedOn(t *testing.T) {
	const held = 2 * time.Second
	t.Cleanup(client.SetLockHeld(held))
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	var cut atomic.Bool
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.LockBatchMQ && cut.Load() {
			return unavailable
		}
		return healthy
	})
	var y tally
	consume(t, c, "t", y.handle, client.WithOrder())
	p := producer(t, c)
	sendAll(t, p, "t", 0, 1)
	eventually(t, func() bool { return y.len() == 1 })
	cut.Store(true)
	time.Sleep(held)
	sendAll(t, p, "t", 1, 3)
	time.Sleep(500 * time.Millisecond)
	require.Equal(t, 1, y.len())
	cut.Store(false)
	eventually(t, func() bool { return y.len() == 3 })
}

// A queue whose handler has not ended is not given to another member: its lock is not given
// back, and expires.
func TestALockIsNotGivenBackWhileAHandlerIsAtWork(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 1)
	begun, finish := make(chan struct{}), make(chan struct{})
	defer close(finish)
	r := consume(t, c, "t", func(context.Context, *client.Delivery) error {
		close(begun)
		<-finish
		return nil
	}, client.WithOrder(), client.WithDrainTimeout(10*time.Millisecond))
	<-begun
	require.Error(t, r.stop(), "a handler still runs")
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.locks, 1)
}

// A node that cannot read a message does not say that it is not there.
func TestAMessageThatCannotBeReadIsNotCalledAbsent(t *testing.T) {
	f := newFake(t, 1, 1)
	says := "store: damaged: segment 3"
	f.answer = func(req *remoting.Command) *remoting.Command {
		if req.Code == remoting.ViewMessageByID {
			return req.Reply(remoting.SystemError, says)
		}
		return nil
	}
	a := f.dial().Admin()
	step := client.LifeStep{Broker: "raftmq-0", OffsetID: message.OffsetID(netip.MustParseAddrPort("127.0.0.1:2"), 64)}
	_, err := a.At(bg, step)
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.NotErrorIs(t, err, client.ErrMessageNotFound)
	f.mu.Lock()
	says = "no message at physical offset 64"
	f.mu.Unlock()
	_, err = a.At(bg, step)
	require.ErrorIs(t, err, client.ErrMessageNotFound)
}

// A topic was made again, and its queue is locked under the same number as before: by that a
// member does not take it for the old one.
func TestALockOfTheSameNumberIsNotTheSameQueue(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	sendAll(t, producer(t, c), "t", 0, 10)
	var y tally
	r := consume(t, c, "t", y.handle, client.WithOrder())
	eventually(t, func() bool { return f.committed("g", "t") == 10 })
	f.mu.Lock()
	q := fakeQueue{"t", "raftmq-0", 0}
	records := f.queues[q].records
	f.deleteLocked("t")
	f.topics["t"] = &fakeTopic{1, 1, 6, 1}
	f.queues[q] = &fakeLog{records}
	f.mu.Unlock()
	sendAll(t, producer(t, c), "t", 10, 12)
	eventually(t, func() bool { return y.times("11") == 1 })
	require.Equal(t, 2, y.times("0"))
	require.Equal(t, 2, y.times("9"))
	require.NoError(t, r.stop())
}

// What a node refuses to commit for good, since the queue is gone, is not asked for every second.
func TestACommitThatIsRefusedIsNotRepeated(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	commits := 0
	f.answer = func(req *remoting.Command) *remoting.Command {
		if req.Code != remoting.UpdateConsumerOffset {
			return nil
		}
		commits++
		return req.Reply(remoting.InvalidParameter, "the topic of this retry queue was deleted")
	}
	asked := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return commits
	}
	consume(t, f.dial(), "t", func(context.Context, *client.Delivery) error { return nil })
	eventually(t, func() bool { return asked() > 0 })
	time.Sleep(2500 * time.Millisecond)
	require.Equal(t, 1, asked())
}

// A handler may do with a delivery what it likes: what comes again, and how far the group is, is
// not what it made of it.
func TestADeliveryBelongsToItsHandler(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	_, err := producer(t, c).Send(bg, &client.Message{Topic: "t", Body: []byte("x"), Properties: map[string]string{"a": "b"}})
	require.NoError(t, err)
	var got []client.Delivery
	r := consume(t, c, "t", func(_ context.Context, d *client.Delivery) error {
		own := *d
		own.Properties = maps.Clone(d.Properties)
		got = append(got, own)
		d.Topic, d.Offset, d.Attempt, d.Properties["a"] = "elsewhere", 17, 40, "c"
		if len(got) < 3 {
			return client.RetryAfter(time.Millisecond, errors.New("again"))
		}
		return nil
	}, client.WithLocalRetry())
	eventually(t, func() bool { return f.committed("g", "t") == 1 })
	require.NoError(t, r.stop())
	require.Len(t, got, 3)
	for i, d := range got {
		require.Equal(t, "t", d.Topic)
		require.Zero(t, d.Offset)
		require.Equal(t, i+1, d.Attempt)
		require.Equal(t, "b", d.Properties["a"])
	}
}
