package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

var bg = context.Background()

// inARound repeats what says what was wrong, and "" in the end, five times at most: where a process that
// stands still for a second is too late by itself. What is wrong is so in each round.
func inARound(t testing.TB, f func() string) {
	t.Helper()
	for round := 1; ; round++ {
		wrong := f()
		if wrong == "" {
			return
		}
		require.Less(t, round, 5, wrong)
		t.Logf("round %d: %s", round, wrong)
	}
}

func tooLong(took, most time.Duration) string {
	if took < most {
		return ""
	}
	return fmt.Sprintf("took %v, at most %v", took, most)
}

func producer(t testing.TB, c *client.Client, opts ...client.ProducerOption) *client.Producer {
	t.Helper()
	p, err := c.NewProducer("p", opts...)
	require.NoError(t, err)
	return p
}

func msg(topic, body string) *client.Message {
	return &client.Message{Topic: topic, Body: []byte(body)}
}

func TestSendGivesAReceipt(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	p := producer(t, f.dial(), client.WithTopics("t"))
	seen := map[int]bool{}
	for i := range 12 {
		r, err := p.Send(bg, msg("t", strconv.Itoa(i)))
		require.NoError(t, err)
		require.Len(t, r.ID, 32)
		seen[r.Queue] = true
	}
	require.Len(t, seen, 6, "round robin uses every queue")
	require.Len(t, f.bodies("t"), 12)
}

// Each fault leaves it open, or says, whether the message was stored. Whatever
// the client does about it, the message is there once.
func TestSendSurvivesFaultsAndStoresOnce(t *testing.T) {
	for name, faults := range map[string][]fault{
		"cut before":      {cutBefore},
		"cut after":       {cutAfter},
		"cut after twice": {cutAfter, cutAfter},
		"no leader":       {unavailable, unavailable, unavailable, unavailable},
		"busy":            {busy},
		"unknown":         {unknown},
		"forgotten":       {forgot},
		"gap":             {gap},
		"stale":           {stale},
		"gap after cut":   {cutBefore, gap},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 3, 1)
			f.topic("t", 1)
			p := producer(t, f.dial())
			for i := range 3 {
				_, err := p.Send(bg, msg("t", strconv.Itoa(i)))
				require.NoError(t, err)
			}
			f.failFirst(faults...)
			r, err := p.Send(bg, msg("t", "3"))
			require.NoError(t, err)
			require.EqualValues(t, 3, r.Offset)
			r, err = p.Send(bg, msg("t", "4"))
			require.NoError(t, err)
			require.EqualValues(t, 4, r.Offset)
			require.Equal(t, []string{"0", "1", "2", "3", "4"}, f.bodies("t"))
		})
	}
}

// A resend keeps queue and sequence, whichever node it goes to.
func TestResendKeepsItsIdentity(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	p := producer(t, f.dial())
	f.failFirst(cutAfter)
	r, err := p.Send(bg, msg("t", "x"))
	require.NoError(t, err)
	require.True(t, r.Duplicate)
	sends := f.sends()
	require.Len(t, sends, 2)
	for _, k := range []string{"pid", "pep", "seq", "b", "e", "n"} {
		require.Equal(t, sends[0].Ext[k], sends[1].Ext[k], k)
	}
}

// An unknown identity after a try that may have stored the message: nobody can
// tell.
func TestForgottenAfterALostTryIsUncertain(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	f.failFirst(cutBefore, forgot)
	_, err := p.Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrUncertain)
	_, err = p.Send(bg, msg("t", "y"))
	require.NoError(t, err)
	require.Equal(t, []string{"y"}, f.bodies("t"))
	require.Equal(t, "1", f.sends()[0].Ext["pep"], "a new epoch, so that a straggler is refused")
}

func TestUncertainOnlyWhenItMayBeStored(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial(), client.WithSendTimeout(300*time.Millisecond))
	always := func(x fault) {
		f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
			if isSend(req) {
				return x
			}
			return healthy
		})
	}
	for x, maybe := range map[fault]bool{unavailable: false, busy: false, illegal: false, unknown: true, cutBefore: true, cutAfter: true, silent: true} {
		always(x)
		_, err := p.Send(bg, msg("t", "x"))
		require.Error(t, err)
		require.Equal(t, maybe, errors.Is(err, client.ErrUncertain), "fault %d: %v", x, err)
	}
	always(illegal)
	_, err := p.Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrTooLarge)
	be, ok := errors.AsType[*client.BrokerError](err)
	require.True(t, ok)
	require.EqualValues(t, remoting.MessageIllegal, be.Code)
	f.nodes[0].kill()
	p.Send(bg, msg("t", "x")) // may have met the dying connection
	_, err = p.Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.NotErrorIs(t, err, client.ErrUncertain, "refused connections are a certain no")
}

func TestNoRetryOfTheUncertainWhenAskedSo(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 1)
	p := producer(t, f.dial(), client.WithRetries(client.RetryPolicy{}))
	f.failFirst(cutAfter)
	_, err := p.Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrUncertain)
	require.Len(t, f.sends(), 1)
}

// One slot has no leader: free messages go to others at once, keyed ones wait
// for theirs.
func TestOnlyCertainlyUnstoredMessagesChangeQueue(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 1)
	p := producer(t, f.dial())
	var sick atomic.Bool
	sick.Store(true)
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if sick.Load() && isSend(req) && req.Ext["n"] == "raftmq-1" {
			return unavailable
		}
		return healthy
	})
	for i := range 9 {
		r, err := p.Send(bg, msg("t", strconv.Itoa(i)))
		require.NoError(t, err)
		require.NotEqual(t, "raftmq-1", r.Broker)
	}
	ended := make(chan client.Receipt, 1)
	require.NoError(t, p.SendAsync(bg, &client.Message{Topic: "t", Body: []byte("keyed"), OrderKey: key(t, 1, 3)}, func(r client.Receipt, err error) {
		require.NoError(t, err)
		ended <- r
	}))
	_, err := p.Send(bg, msg("t", "free"))
	require.NoError(t, err)
	require.Empty(t, ended)
	sick.Store(false)
	require.Equal(t, "raftmq-1", (<-ended).Broker)
}

// key is an order key that belongs to queue n of so many.
func key(t *testing.T, n, queues int) string {
	for i := range 1000 {
		if k := fmt.Sprint("k", i); client.ByOrderKey(&client.Message{OrderKey: k}, queues) == n {
			return k
		}
	}
	t.Fatal("no key")
	return ""
}

func TestOneKeyKeepsItsOrderThroughFaults(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	p := producer(t, f.dial())
	n := 0
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if !isSend(req) {
			return healthy
		}
		n++
		return []fault{healthy, cutAfter, healthy, unavailable, cutBefore}[n%5]
	})
	var mu sync.Mutex
	var offsets []int64
	for i := range 200 {
		require.NoError(t, p.SendAsync(bg, &client.Message{Topic: "t", OrderKey: "k", Body: []byte(fmt.Sprintf("%03d", i))}, func(r client.Receipt, err error) {
			require.NoError(t, err)
			mu.Lock()
			offsets = append(offsets, r.Offset)
			mu.Unlock()
		}))
		if i%20 == 0 {
			require.NoError(t, p.Flush(bg))
		}
	}
	require.NoError(t, p.Close(bg))
	require.Len(t, offsets, 200)
	for i, o := range offsets {
		require.EqualValues(t, i, o)
	}
}

// While one request is in flight, what is sent meanwhile shares the next.
func TestWaitingSendsShareARequest(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	_, err := p.Send(bg, msg("t", "first"))
	require.NoError(t, err)
	begun, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			once.Do(func() {
				close(begun)
				f.mu.Unlock()
				<-hold
				f.mu.Lock()
			})
		}
		return healthy
	})
	var wg sync.WaitGroup
	wg.Go(func() { p.Send(bg, msg("t", "second")) })
	<-begun
	for i := range 100 {
		wg.Add(1)
		require.NoError(t, p.SendAsync(bg, msg("t", strconv.Itoa(i)), func(_ client.Receipt, err error) { wg.Done() }))
	}
	close(hold)
	wg.Wait()
	require.Len(t, f.sends(), 3)
	require.Len(t, f.bodies("t"), 102)
}

// What may go anywhere joins the request that waits, and not a queue of its own; but one request does not take all.
func TestFreeSendsJoinTheRequestThatWaits(t *testing.T) {
	f := newFake(t, 1, 3)
	f.topic("t", 2)
	p := producer(t, f.dial(), client.WithTopics("t"))
	hold := make(chan struct{})
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			f.mu.Unlock()
			<-hold
			f.mu.Lock()
		}
		return healthy
	})
	var wg sync.WaitGroup
	var mu sync.Mutex
	queues := map[int]int{}
	send := func(n int, body []byte) {
		for range n {
			wg.Add(1)
			require.NoError(t, p.SendAsync(bg, &client.Message{Topic: "t", Body: body}, func(r client.Receipt, err error) {
				mu.Lock()
				queues[r.Queue]++
				mu.Unlock()
				wg.Done()
			}))
		}
	}
	send(1200, []byte("small"))
	close(hold)
	wg.Wait()
	require.LessOrEqual(t, len(f.sends()), 14, "two for each queue, and a few")
	require.Len(t, f.bodies("t"), 1200)
	for q, n := range queues {
		require.LessOrEqual(t, n, 512, "queue %d", q)
	}

	clear(queues)
	send(100, make([]byte, 20<<10))
	wg.Wait()
	require.Len(t, queues, 6, "large ones are spread")
}

func TestBatchIsStoredTogether(t *testing.T) {
	f := newFake(t, 1, 3)
	f.topic("t", 2)
	p := producer(t, f.dial())
	rs, err := p.SendBatch(bg, []*client.Message{msg("t", "a"), msg("t", "b"), msg("t", "c")})
	require.NoError(t, err)
	for i, r := range rs {
		require.Equal(t, rs[0].Queue, r.Queue)
		require.EqualValues(t, i, r.Offset)
	}
	require.Len(t, f.sends(), 1)
	rs, err = p.SendBatch(bg, []*client.Message{msg("t", "d"), msg("nowhere", "e")})
	var be *client.BatchError
	require.ErrorAs(t, err, &be)
	require.NoError(t, be.Errs[0])
	require.ErrorIs(t, be.Errs[1], client.ErrTopicNotFound)
	require.NotEmpty(t, rs[0].ID)
}

func TestMissingTopicIsCreatedByItsFirstMessageWhereAllowed(t *testing.T) {
	f := newFake(t, 1, 3)
	p := producer(t, f.dial())
	_, err := p.Send(bg, msg("new", "x"))
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	f.topic("TBW102", 2)
	_, err = p.Send(bg, msg("new", "x"))
	require.NoError(t, err)
	require.Equal(t, []string{"x"}, f.bodies("new"))
}

func TestSendRefusesWhatCannotBeStored(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	for _, m := range []*client.Message{
		{Topic: "bad name", Body: []byte("x")},
		{Topic: "t", Body: []byte("x"), Tag: "a|b"},
		{Topic: "t", Body: []byte("x"), Keys: []string{"a b"}},
		{Topic: "t", Body: []byte("x"), Properties: map[string]string{"UNIQ_KEY": "x"}},
		{Topic: "t", Body: []byte("x"), Properties: map[string]string{"a\x01": "x"}},
	} {
		_, err := p.Send(bg, m)
		require.ErrorIs(t, err, client.ErrInvalid)
	}
	_, err := p.Send(bg, &client.Message{Topic: "t", Body: make([]byte, client.MaxBody+1)})
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.Empty(t, f.sends())
}

func TestSendWaitsForRoomInTheBuffer(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial(), client.WithBuffer(1, 1<<20))
	f.failFirst(silent)
	sent := make(chan error, 1)
	require.NoError(t, p.SendAsync(bg, msg("t", "x"), func(_ client.Receipt, err error) { sent <- err }))
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	_, err := p.Send(ctx, msg("t", "y"))
	require.ErrorIs(t, err, client.ErrBufferFull)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, <-sent, "the silent node is asked again with the same identity")
	require.Equal(t, []string{"x"}, f.bodies("t"))
}

func TestCancelledSendSaysWhetherItHadLeft(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	begun := make(chan struct{})
	var once sync.Once
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			once.Do(func() { close(begun) })
			return silent
		}
		return healthy
	})
	ctx, cancel := context.WithCancel(bg)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := p.Send(ctx, msg("t", "left"))
		require.ErrorIs(t, err, client.ErrUncertain)
		require.ErrorIs(t, err, context.Canceled)
	})
	<-begun
	wg.Go(func() {
		_, err := p.Send(ctx, msg("t", "waits"))
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, client.ErrUncertain)
	})
	require.Eventually(t, func() bool { return p.Waiting() == 2 }, patience, time.Millisecond)
	cancel()
	wg.Wait()
	f.setFault(nil)
	require.NoError(t, p.Close(bg))
	require.Equal(t, []string{"left"}, f.bodies("t"))
}

func TestCloseIsBoundedAndTruthful(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			return silent
		}
		return healthy
	})
	errs := make(chan error, 1)
	require.NoError(t, p.SendAsync(bg, msg("t", "x"), func(_ client.Receipt, err error) { errs <- err }))
	require.Eventually(t, func() bool { return len(f.sends()) == 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(ctx), context.DeadlineExceeded)
	require.ErrorIs(t, <-errs, client.ErrUncertain)
	_, err := p.Send(bg, msg("t", "y"))
	require.ErrorIs(t, err, client.ErrClosed)
}

func TestSendGoesOnWhenANodeDies(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 2)
	p := producer(t, f.dial())
	for i := range 60 {
		if i == 20 {
			f.nodes[0].kill()
		}
		begun := time.Now()
		_, err := p.Send(bg, msg("t", fmt.Sprintf("%02d", i)))
		require.NoError(t, err)
		require.Less(t, time.Since(begun), 9*time.Second, "the time of a send is not over")
	}
	b := f.bodies("t")
	require.Len(t, b, 60)
	require.Len(t, slices.Compact(b), 60)
}

func TestSendGoesToTheLeaderThatAReplyNames(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 1)
	f.leader = map[string]int{"raftmq-0": 2}
	p := producer(t, f.dial())
	for range 3 {
		_, err := p.Send(bg, msg("t", "x"))
		require.NoError(t, err)
	}
	var went []string
	for _, s := range f.sends() {
		went = append(went, s.Ext["test-node"])
	}
	require.Equal(t, []string{"0", "2", "2"}, went)
}

// A node that hangs costs one wait, not one each time it might be back.
func TestSilentNodeIsLeft(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	f.setFault(func(n *fakeNode, req *remoting.Command) fault {
		if n.id == 0 {
			return silent
		}
		return healthy
	})
	for range 50 {
		_, err := p.Send(bg, msg("t", "x"))
		require.NoError(t, err)
	}
	n := 0
	for _, s := range f.sends() {
		if s.Ext["test-node"] == "0" {
			n++
		}
	}
	require.Equal(t, 1, n)
	require.Len(t, f.bodies("t"), 50)
}

// The endpoint's node is gone: the brokers answer for it.
func TestRoutesAreFoundWithoutTheEndpoint(t *testing.T) {
	f := newFake(t, 3, 3)
	f.topic("t", 1)
	f.topic("u", 1)
	c, err := client.Dial(bg, client.WithEndpoints(f.nodes[0].ns))
	require.NoError(t, err)
	defer c.Close(bg)
	p := producer(t, c)
	_, err = p.Send(bg, msg("t", "x"))
	require.NoError(t, err)
	f.nodes[0].kill()
	_, err = p.Send(bg, msg("u", "x"))
	require.NoError(t, err)
}

func TestLatencyTables(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		table      client.LatencyTable
		took, rest time.Duration
	}{
		{client.RocketMQTable(), 0, 0}, {client.RocketMQTable(), 549 * ms, 0}, {client.RocketMQTable(), 550 * ms, 2000 * ms},
		{client.RocketMQTable(), 1800 * ms, 5000 * ms}, {client.RocketMQTable(), 3000 * ms, 6000 * ms},
		{client.RocketMQTable(), 10000 * ms, 10000 * ms}, {client.RocketMQTable(), 20000 * ms, 30000 * ms},
		{client.ClassicTable(), 549 * ms, 0}, {client.ClassicTable(), 550 * ms, 30000 * ms}, {client.ClassicTable(), 1000 * ms, 60000 * ms},
		{client.ClassicTable(), 2000 * ms, 120000 * ms}, {client.ClassicTable(), 10000 * ms, 180000 * ms}, {client.ClassicTable(), 15000 * ms, 600000 * ms},
	} {
		require.Equal(t, c.rest, c.table.Avoid(c.took), "%v", c.took)
	}
}

func TestSlowBrokerIsLeftAlone(t *testing.T) {
	const least = 300 * time.Millisecond
	inARound(t, func() string {
		f := newFake(t, 1, 2)
		f.topic("t", 1)
		slow := client.LatencyTable{{Latency: 0, Avoid: 0}, {Latency: least, Avoid: time.Hour}}
		p := producer(t, f.dial(), client.WithLatencyTolerance(slow))
		f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
			if isSend(req) && req.Ext["n"] == "raftmq-0" {
				f.mu.Unlock()
				<-time.After(least + 10*time.Millisecond)
				f.mu.Lock()
			}
			return healthy
		})
		slowSends := 0
		for range 20 {
			r, err := p.Send(bg, msg("t", "x"))
			require.NoError(t, err)
			if r.Broker == "raftmq-0" {
				slowSends++
			}
		}
		if slowSends != 1 { // the other is left alone too if it was slow once
			return fmt.Sprintf("%d sends to the slow broker", slowSends)
		}
		return ""
	})
}

func BenchmarkSend(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			f := newFake(b, 1, 1)
			f.topic("t", 2)
			p := producer(b, f.dial())
			body := make([]byte, 1024)
			b.SetBytes(1024)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := p.Send(bg, &client.Message{Topic: "t", Body: body}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Rules that say otherwise are heard of after a try that may have stored the message: it
// stays where it may be, and is not sent once more to another queue.
func TestWhatMayBeStoredIsNotPlacedAnew(t *testing.T) {
	f := newFake(t, 3, 1)
	f.topic("t", 2)
	p := producer(t, f.dial())
	f.failFirst(cutAfter, elsewhere)
	_, err := p.Send(bg, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrUncertain)
	require.Equal(t, []string{"x"}, f.bodies("t"))
}

func TestAClosedProducerSendsNothingOneWay(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	require.NoError(t, p.Close(bg))
	require.ErrorIs(t, p.SendOneway(bg, msg("t", "x")), client.ErrClosed)
}

// Whoever closes a producer of transactions, or its client, waits for the local transactions
// under way and the verdicts on them.
func TestCloseWaitsForVerdicts(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	cl := f.dial()
	tx, err := cl.NewTransactionProducer("g", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	begun, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r, err := tx.Send(bg, msg("t", "x"), func(context.Context, client.Transaction) (client.Verdict, error) {
			close(begun)
			<-finish
			return client.Commit, nil
		})
		require.NoError(t, err)
		require.Equal(t, client.Commit, r.Verdict)
	})
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- cl.Close(bg) }()
	select {
	case <-closed:
		t.Error("a local transaction is under way")
	case <-time.After(100 * time.Millisecond):
	}
	close(finish)
	wg.Wait()
	require.NoError(t, <-closed)
}

// Messages of one key keep their order also when new rules send them elsewhere.
func TestOneKeyKeepsItsOrderWhenRulesChange(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial(), client.WithLinger(50*time.Millisecond))
	f.failFirst(elsewhere)
	const n = 50
	offsets := make([]int64, n)
	for i := range n {
		require.NoError(t, p.SendAsync(bg, &client.Message{Topic: "t", Body: []byte("x"), OrderKey: "k"}, func(r client.Receipt, err error) {
			require.NoError(t, err)
			offsets[i] = r.Offset
		}))
	}
	require.NoError(t, p.Flush(bg))
	require.True(t, slices.IsSorted(offsets), "%v", offsets)
}

// A message's time is its own, whatever was sent after it and goes in the same request.
func TestALaterMessageProlongsNoSend(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			return unavailable
		}
		return healthy
	})
	const timeout = time.Second
	p := producer(t, f.dial(), client.WithSendTimeout(timeout))
	inARound(t, func() string {
		took := make([]time.Duration, 3)
		var wg sync.WaitGroup
		for i, after := range []time.Duration{0, 50 * time.Millisecond, 800 * time.Millisecond} {
			time.Sleep(after)
			begun := time.Now()
			wg.Add(1)
			require.NoError(t, p.SendAsync(bg, msg("t", "x"), func(_ client.Receipt, err error) {
				defer wg.Done()
				require.ErrorIs(t, err, client.ErrUnavailable)
				took[i] = time.Since(begun)
			}))
		}
		wg.Wait()
		return tooLong(slices.Max(took), timeout+timeout/4)
	})
}

// A request that ends with its client says whether it is stored, too.
func TestARequestOfAClosedClientSaysWhetherItIsStored(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	c := f.dial()
	p := producer(t, c, client.WithRetries(client.RetryPolicy{}))
	var asked atomic.Bool
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) {
			asked.Store(true)
			return unknown
		}
		return healthy
	})
	ended := make(chan error, 1)
	go func() {
		_, err := p.Request(bg, msg("t", "x"))
		ended <- err
	}()
	eventually(t, func() bool { return asked.Load() && p.Waiting() == 0 })
	require.NoError(t, c.Close(bg))
	err := <-ended
	require.ErrorIs(t, err, client.ErrNoReply)
	require.ErrorIs(t, err, client.ErrClosed)
	require.ErrorIs(t, err, client.ErrUncertain)
}

// Who was told that a send is uncertain has its message back: what is still tried is as it was
// sent.
func TestWhatIsStillTriedIsAsItWasSent(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 1)
	p := producer(t, f.dial())
	var away atomic.Bool
	away.Store(true)
	asked := make(chan struct{})
	var once sync.Once
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if isSend(req) && away.Load() {
			once.Do(func() { close(asked) })
			return unavailable
		}
		return healthy
	})
	ctx, cancel := context.WithCancel(bg)
	m := msg("t", "as sent")
	ended := make(chan error, 1)
	go func() {
		_, err := p.Send(ctx, m)
		ended <- err
	}()
	<-asked
	cancel()
	require.ErrorIs(t, <-ended, client.ErrUncertain)
	copy(m.Body, "changed")
	away.Store(false)
	require.NoError(t, p.Close(bg))
	require.Equal(t, []string{"as sent"}, f.bodies("t"))
}

// A client that is closed while something is under way that is not to be done twice says that
// it may be done.
func TestWhatAClosedClientHadUnderWayMayBeDone(t *testing.T) {
	f := newFake(t, 1, 1)
	f.letters = 1
	c := f.dial()
	asked := make(chan struct{})
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if req.Code == remoting.DeadLetters {
			close(asked)
			return silent
		}
		return healthy
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Admin().Redrive(bg, "g", "", 0)
		ended <- err
	}()
	<-asked
	require.NoError(t, c.Close(bg))
	err := <-ended
	require.ErrorIs(t, err, client.ErrClosed)
	require.ErrorIs(t, err, client.ErrUncertain)
}

// A topic that is made again with fewer partitions has its queues under other numbers.
func TestReceiptsNumberQueuesAsTheTopicHasThem(t *testing.T) {
	f := newFake(t, 1, 3)
	c := f.dial()
	p := producer(t, c)
	for _, slots := range []int{3, 1} {
		require.NoError(t, c.Admin().CreateTopic(bg, client.TopicConfig{Name: "t", Queues: 2, Partitions: slots}))
		for n := range 2 * slots {
			r, err := p.SendTo(bg, n, msg("t", "x"))
			require.NoError(t, err)
			require.Equal(t, n, r.Queue, "of %d partitions", slots)
		}
		require.NoError(t, c.Admin().DeleteTopic(bg, "t"))
	}
}

// A message is not overtaken by a later one with its key that goes by newer rules already.
func TestOneKeyIsNotOvertakenWhenRulesChange(t *testing.T) {
	f := newFake(t, 1, 1)
	f.topic("t", 2)
	f.rules = map[string]string{"t": "key : 0"}
	c := f.dial()
	p := producer(t, c)
	begun, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
		if !isSend(req) || req.Ext["e"] != "0" {
			return healthy
		}
		once.Do(func() {
			close(begun)
			f.mu.Unlock()
			<-hold
			f.mu.Lock()
		})
		return elsewhere
	})
	var mu sync.Mutex
	var offsets [6]int64
	stored := 0
	send := func(i int) {
		m := &client.Message{Topic: "t", Body: []byte("x"), Keys: []string{"k"}, OrderKey: "k"}
		require.NoError(t, p.SendAsync(bg, m, func(r client.Receipt, err error) {
			require.NoError(t, err)
			mu.Lock()
			offsets[i] = r.Offset
			stored++
			mu.Unlock()
		}))
	}
	send(0)
	<-begun
	send(1)
	send(2)
	f.mu.Lock()
	f.rules["t"] = "key : 1"
	f.mu.Unlock()
	eventually(t, func() bool { // the client has heard of them
		queue, _, err := c.Admin().TryRules(bg, &client.Message{Topic: "t", Keys: []string{"k"}})
		return err == nil && queue == 1
	})
	for i := 3; i < len(offsets); i++ {
		send(i)
	}
	time.Sleep(200 * time.Millisecond) // in which the last would be stored
	close(hold)
	require.NoError(t, p.Flush(bg))
	require.Equal(t, len(offsets), stored)
	require.True(t, slices.IsSorted(offsets[:]), "%v", offsets)
}

// A producer that has not heard yet that a topic was made again with fewer queues sends to those
// that are there.
func TestASendToAQueueThatIsGoneGoesToAnother(t *testing.T) {
	f := newFake(t, 1, 3)
	f.topic("t", 2)
	c := f.dial()
	p := producer(t, c, client.WithTopics("t"))
	f.mu.Lock()
	f.topics["t"] = &fakeTopic{1, 1, 6, 1}
	f.mu.Unlock()
	for i := range 6 {
		r, err := p.Send(bg, msg("t", strconv.Itoa(i)))
		require.NoError(t, err)
		require.Zero(t, r.Queue)
	}
	require.Len(t, f.bodies("t"), 6)
	_, err := p.SendTo(bg, 1, msg("t", "x"))
	require.ErrorIs(t, err, client.ErrInvalid)
}
