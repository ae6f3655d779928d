package mqtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// order notes what members of a group are given, and that no two are at work on one
// queue at once.
type order struct {
	mu    sync.Mutex
	busy  map[int]string
	last  map[string]int // by key
	fails map[string]int // by body, how often it is to fail yet
	wrong []string
	count int
}

// handle is a member's handler.
func (o *order) handle(member string) client.Handler {
	return func(_ context.Context, d *client.Delivery) error {
		o.mu.Lock()
		if other := o.busy[d.Queue]; other != "" {
			o.wrong = append(o.wrong, fmt.Sprintf("%s and %s are at work on queue %d at once", other, member, d.Queue))
		}
		o.busy[d.Queue] = member
		o.mu.Unlock()
		time.Sleep(time.Millisecond)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.busy[d.Queue] = ""
		if body := string(d.Body); o.fails[body] > 0 {
			o.fails[body]--
			return client.RetryAfter(50*time.Millisecond, errors.New("not yet"))
		}
		n, err := strconv.Atoi(string(d.Body[len(d.OrderKey)+1:]))
		switch last := o.last[d.OrderKey]; {
		case err != nil || n > last+1:
			o.wrong = append(o.wrong, fmt.Sprintf("%s after %d", d.Body, last))
		case n == last+1:
			o.last[d.OrderKey] = n
			o.count++
		}
		return nil
	}
}

// Messages of a key are handled in their order, by one member at a time, through
// failures that block their queue, members that come and go, and a leader that stops.
func TestAQueueIsHandledInOrderByOneMemberAtATime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 3, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 2}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	const keys, each = 12, 30
	o := &order{busy: make(map[int]string), last: make(map[string]int), fails: make(map[string]int)}
	send := func(from, to int) {
		for n := from; n <= to; n++ {
			for k := range keys {
				key := fmt.Sprint("k", k)
				_, err := p.Send(ctx, &client.Message{Topic: "t", OrderKey: key, Body: fmt.Appendf(nil, "%s-%d", key, n)})
				require.NoError(t, err)
			}
		}
	}
	for k := range keys {
		o.fails[fmt.Sprintf("k%d-%d", k, 5+k)] = 2
	}
	var wg sync.WaitGroup
	member := func(name string) (stop func()) {
		s, err := c.Client().NewConsumer("g", client.WithOrder())
		require.NoError(t, err)
		require.NoError(t, s.Subscribe("t", client.All()))
		run, stop := context.WithCancel(ctx)
		wg.Go(func() {
			if err := s.Run(run, o.handle(name)); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		return stop
	}
	handled := func(n int) {
		eventually(ctx, t, fmt.Sprintf("%d are handled", n), func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.count >= n
		})
	}
	first := member("first")
	send(1, 10)
	handled(keys)
	second := member("second")
	send(11, 20)
	handled(10 * keys)
	first()
	third := member("third")
	send(21, 25)
	handled(20 * keys)
	at := c.leader("t", 0)
	c.Stop(at)
	send(26, each)
	handled(each * keys)
	c.Run(at)
	second()
	third()
	wg.Wait()
	require.Empty(t, o.wrong)
	_, err = cl.NewConsumer("g", client.WithOrder(), client.WithBroadcast(nil))
	require.ErrorIs(t, err, client.ErrInvalid)
}

// A handler that is over its time has its context ended, and what it returns counts: nothing
// behind it is handled before.
func TestAHandlerInOrderThatIsLateCountsByWhatItReturns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c := Start(t, 1, nil)
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 2)
	s, err := cl.NewConsumer("g", client.WithOrder(), client.WithConsumeTimeout(20*time.Millisecond))
	require.NoError(t, err)
	require.NoError(t, s.Subscribe("t", client.All()))
	run, stop := context.WithCancel(ctx)
	defer stop()
	var got []int64
	require.NoError(t, s.Run(run, func(ctx context.Context, d *client.Delivery) error {
		got = append(got, d.Offset)
		<-ctx.Done()
		if d.Offset == 1 {
			stop()
		}
		return nil
	}))
	require.Equal(t, []int64{0, 1}, got)
}

// From the new holder's entry on, the old one's pulls and commits are refused by every
// node, also those that it sent before and that wait, and when another node leads.
func TestTheOldHolderOfAQueueIsFenced(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	const slot = 0
	leader := c.leader("t", slot)
	w := DialWire(t, c.listener((leader+1)%3, slot), remoting.JSON)
	for range 3 {
		w.put(sendShort("t", 0), []byte("x"))
	}
	mq := remoting.MessageQueue{Topic: "t", BrokerName: "raftmq-0", QueueID: 0}
	lock := func(client string) string {
		var reply remoting.LockReply
		c.until("it is granted", func() bool { // without a leader nothing is
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.LockBatchMQ, fields{"rmq": "1"}, lockOf(client, "g", mq)).Body, &reply))
			return len(reply.Epochs) == 1
		})
		return strconv.FormatUint(reply.Epochs[0], 10)
	}
	held := func(client, epoch string, offset int64) fields {
		return with(pullOf("t", 0, offset), "owner", client, "epoch", epoch)
	}
	commit := func(client, epoch string, offset int) fields {
		return fields{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": strconv.Itoa(offset), "owner": client, "epoch": epoch, "rmq": "1"}
	}
	old := lock("old")
	require.Equal(t, old, lock("old"), "prolonged under the same epoch")
	w.OK(remoting.PullMessage, held("old", old, 0), nil)
	w.sure(remoting.UpdateConsumerOffset, commit("old", old, 1), nil)
	waits := DialWire(t, c.listener(leader, slot), remoting.Binary)
	waiting := waits.Send(remoting.PullMessage, with(held("old", old, 3), "sysFlag", "6", "suspendTimeoutMillis", "60000"), nil)
	then, _ := c.replicaIn(leader, "t", slot)
	w.sure(remoting.UnlockBatchMQ, fields{"rmq": "1"}, lockOf("old", "g", mq))
	next := lock("new")
	fenced := func() {
		for i := range c.Nodes {
			if c.Nodes[i] == nil {
				continue
			}
			x := DialWire(t, c.listener(i, slot), byte(i%2))
			require.Equal(t, remoting.IllegalOperation, x.inside(remoting.PullMessage, held("old", old, 0)).Code)
			require.Equal(t, remoting.IllegalOperation, x.inside(remoting.PullMessage, held("old", next, 0)).Code)
			r := x.Led(remoting.UpdateConsumerOffset, commit("old", old, 2), nil)
			for r.Code == remoting.OutcomeUnknown { // the leader was lost with it
				r = x.Led(remoting.UpdateConsumerOffset, commit("old", old, 2), nil)
			}
			require.Equal(t, remoting.IllegalOperation, r.Code, r.Remark)
			x.OK(remoting.PullMessage, held("new", next, 0), nil)
		}
	}
	fenced()
	w.put(sendShort("t", 0), []byte("x"))
	if r := waits.Reply(waiting); r.Code == remoting.PullNotFound { // the leader was lost: this machine is slow
		now, _ := c.replicaIn(leader, "t", slot)
		require.NotEqual(t, then.Term, now.Term, "nothing new is known, and it leads")
	} else {
		require.Equal(t, remoting.IllegalOperation, r.Code, "it waited since before")
	}
	c.Stop(leader)
	fenced()
	w.sure(remoting.UpdateConsumerOffset, commit("new", next, 2), nil)
}

// A retry queue whose topic was deleted is empty for ever, and whoever asks for its lock is given it: Java's clients of version 5 that
// are not given one share out all their queues anew twice a second, for as long as there is the group.
func TestARetryQueueOfADeletedTopicIsNobodysToLack(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("gone", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("a", "g", "gone"))
	retry := remoting.MessageQueue{BrokerName: "raftmq-0", QueueID: 0, Topic: "%RETRY%g"}
	none := remoting.MessageQueue{BrokerName: "raftmq-0", QueueID: 1, Topic: "%RETRY%g"}
	lock := func(client string) []remoting.MessageQueue {
		var got remoting.LockReply
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.LockBatchMQ, nil, lockOf(client, "g", retry, none)).Body, &got))
		return got.LockOKMQSet
	}
	c.until("it is locked", func() bool { return len(lock("a")) == 1 })
	require.Empty(t, lock("b"), "it is a's")
	w.sure(remoting.DeleteTopicInBroker, fields{"topic": "gone", "rmq": "1"}, nil)
	for _, client := range []string{"a", "b"} {
		require.Equal(t, []remoting.MessageQueue{retry}, lock(client))
	}
	w.OK(remoting.UnlockBatchMQ, nil, lockOf("a", "g", retry, none))
}

// Java's clients that use the VIP channel lock queues and commit there, and say who they are on another connection: a commit is
// of the client that asked for locks on its connection. Else it is nobody's, and refused while the queue is locked.
func TestWhoAsksForALockCommitsOnThatConnection(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	w, other := DialWire(t, c.listener(0, 0), remoting.JSON), DialWire(t, c.listener(0, 0), remoting.JSON)
	w.put(sendShort("t", 0), []byte("x"))
	lock := func(w *Wire, client string) int {
		var got remoting.LockReply
		queue := remoting.MessageQueue{BrokerName: "raftmq-0", QueueID: 0, Topic: "t"}
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.LockBatchMQ, nil, lockOf(client, "g", queue)).Body, &got))
		return len(got.LockOKMQSet)
	}
	commit := func(w *Wire) *remoting.Command {
		return w.Led(remoting.UpdateConsumerOffset, fields{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "1"}, nil)
	}
	c.until("it is locked", func() bool { return lock(w, "a") == 1 })
	require.Equal(t, remoting.IllegalOperation, commit(other).Code, "nobody's")
	require.Zero(t, lock(other, "b"))
	require.Equal(t, remoting.IllegalOperation, commit(other).Code, "b's")
	r := commit(w)
	require.Equal(t, remoting.OK, r.Code, "a's: %s", r.Remark)
}
