package mqtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// A message is put back, and the answer is lost on the way. Whoever asks again for the same
// delivery finds it done, also when another leads, and after a restart; stock clients, which
// do not name it, as long as the message is still to come.
func TestAMessageIsPutBackOnceThoughTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	const slot, rounds = 0, 5
	leader, via := slot, slot+1
	c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == leader }) // no leader is handing over, then
	direct := DialWire(t, c.listener(leader, slot), remoting.Binary)
	for range 2 * rounds {
		direct.sure(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("x"))
	}
	var given []message.Record
	c.until("all are there", func() bool {
		given = Records(t, direct.OK(remoting.PullMessage, pullOf("t", 0, 0), nil).Body)
		return len(given) >= 2*rounds
	})
	back := func(of int, more ...string) fields {
		return with(fields{"group": "g", "offset": strconv.FormatInt(given[of].PhysicalOffset(), 10), "delayLevel": "5", "originTopic": "t", "maxReconsumeTimes": "16"}, more...)
	}
	retries := func(w *Wire) int64 {
		return num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "%RETRY%g", "queueId": "0"}, nil), "offset")
	}
	w := DialWire(t, c.listener(via, slot), remoting.Binary)
	w.sure(remoting.ConsumerSendMessageBack, back(0, "rmq", "1", "delayMs", "0", "delivery", "00000000000000a6"), nil) // the paths are open, and the group is known
	require.EqualValues(t, 1, retries(w))

	var ours, other fields
	var before int64
	for round := 0; ; round++ {
		require.Less(t, round, rounds, "no round in which the leader put it back and its answer was lost")
		c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == leader })
		before = retries(w)
		ours, other = back(2*round, "rmq", "1", "delayMs", "0", "delivery", fmt.Sprintf("%016x", 0xa7+round)), back(2*round+1)
		c.Net.Hang(c.names[leader], c.names[via]) // what the leader says does not arrive
		stock := w.Send(remoting.ConsumerSendMessageBack, other, nil)
		asked := w.Send(remoting.ConsumerSendMessageBack, ours, nil)
		var r *remoting.Command
		c.until("the leader has put it back, or it is told", func() bool {
			r = w.within(time.Millisecond, asked)
			return r != nil || retries(direct) == before+1 // the other waits
		})
		done := retries(direct) == before+1
		c.cutOff(via)
		if r == nil {
			r = w.Reply(asked)
		}
		refused := w.early[stock] != nil && w.early[stock].Code == remoting.ServiceNotAvailable
		if done {
			require.Equal(t, remoting.OutcomeUnknown, r.Code, r.Remark)
		}
		if done && !refused {
			w.unanswered(stock)
		}
		c.Net.HealAll()
		c.Await(via)
		if done && !refused {
			break
		} // else the node had missed the leader before it was asked: this machine is slow
		require.Contains(t, []remoting.Code{remoting.ServiceNotAvailable, remoting.OutcomeUnknown}, r.Code, r.Remark)
	}

	again := func(w *Wire) {
		t.Helper()
		r := w.sure(remoting.ConsumerSendMessageBack, ours, nil)
		require.Equal(t, "1", r.Ext["dup"])
		r = w.sure(remoting.ConsumerSendMessageBack, with(other, "rmq", "1"), nil)
		require.Equal(t, "1", r.Ext["dup"], "it comes in a minute")
		require.Equal(t, before+1, retries(w))
	}
	again(w)
	leader = c.leader("t", slot)
	c.Stop(leader)
	again(DialWire(t, c.listener((leader+1)%3, slot), remoting.JSON))
	c.Run(leader)
	for i := range c.Nodes {
		if i != leader {
			c.Stop(i)
			c.Run(i)
		}
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	again(DialWire(t, c.listener(via, slot), remoting.JSON))
}

// losing is a connection that ends, after what asks for a put-back for the first time has
// gone out, with whatever comes in next.
type losing struct {
	net.Conn
	first func(request []byte) bool
	ends  atomic.Bool
}

func (l *losing) Write(b []byte) (int, error) {
	if l.first(b) {
		l.ends.Store(true)
	}
	return l.Conn.Write(b)
}

func (l *losing) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err == nil && l.ends.Load() {
		l.Close()
		return 0, io.EOF
	}
	return n, err
}

// The bundled client asks again for each delivery whose put-back was not answered: each
// message comes once more, not twice.
func TestAConsumerPutsADeliveryBackOnce(t *testing.T) {
	t.Parallel()
	const messages = 12
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	topic(ctx, t, c.Client(), "work", nil)
	p, err := c.Client().NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for i := range messages {
		_, err := p.Send(ctx, &client.Message{Topic: "work", Body: fmt.Appendf(nil, "%d", i)})
		require.NoError(t, err)
	}
	var mu sync.Mutex
	asked := make(map[string]int) // by delivery
	first := func(request []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		found := false
		for rest := request; ; {
			_, after, ok := bytes.Cut(rest, []byte("delivery"))
			if !ok || len(after) < 22 {
				return found
			}
			name := string(after[4:20]) // behind its length
			asked[name]++
			found = found || asked[name] == 1
			rest = after
		}
	}
	cl, err := client.Dial(ctx, client.WithEndpoints(c.Endpoints()...), client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &losing{Conn: nc, first: first}, err
	}))
	require.NoError(t, err)
	defer cl.Close(context.WithoutCancel(ctx))
	cons, err := cl.NewConsumer("g", client.WithConcurrency(1))
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("work", client.All()))
	h := newHandled()
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			h.note(d, d.Attempt > 1)
			if d.Attempt > 1 {
				return nil
			}
			return client.RetryAfter(time.Millisecond, errors.New("once more"))
		})
	}()
	c.until("all have come again", func() bool { return h.count() == messages })
	stop()
	require.NoError(t, <-ended)
	mu.Lock()
	require.GreaterOrEqual(t, len(asked), messages)
	for name, n := range asked {
		require.Greater(t, n, 1, "the first answer about %s was lost", name)
	}
	mu.Unlock()
	r, err := c.Client().NewReader("%RETRY%g")
	require.NoError(t, err)
	stored := make(map[string]int)
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		stored[string(d.Body)]++
	}
	require.Len(t, stored, messages)
	for body, n := range stored {
		require.Equal(t, 1, n, "message %s is stored once among the retries", body)
	}
}

// More messages are put back in a short time than a partition can remember who asked for:
// those that it could not are refused, certainly not done, so that of the others each that is
// asked for again is found done.
func TestNobodyIsForgottenForThoseWhoPutBackMore(t *testing.T) {
	t.Parallel()
	const messages = 3600
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	topic(ctx, t, c.Client(), "work", nil)
	p, err := c.Client().NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for range messages {
		require.NoError(t, p.SendAsync(ctx, &client.Message{Topic: "work", Body: []byte("x")}, func(_ client.Receipt, err error) { require.NoError(t, err) }))
	}
	require.NoError(t, p.Flush(ctx))
	slot := 0
	for s := range 3 {
		if _, ok := c.replicaIn(0, "work", s); ok {
			slot = s
		}
	}
	w := DialWire(t, c.listener(c.leader("work", slot), slot), remoting.Binary)
	var given []string
	for len(given) < messages {
		for _, r := range Records(t, w.OK(remoting.PullMessage, pullOf("work", 0, int64(len(given))), nil).Body) {
			given = append(given, strconv.FormatInt(r.PhysicalOffset(), 10))
		}
	}
	group := strings.Repeat("g", message.MaxGroup)
	back := func(of int) fields {
		return fields{"group": group, "offset": given[of], "delayLevel": "3", "originTopic": "work", "maxReconsumeTimes": "16", "rmq": "1", "delayMs": "0", "delivery": fmt.Sprintf("%016x", of+1)}
	}
	w.sure(remoting.ConsumerSendMessageBack, back(0), nil) // the group is known
	asked := make([]int32, messages)
	for i := range asked {
		asked[i] = w.Send(remoting.ConsumerSendMessageBack, back(i), nil)
	}
	var done []int
	refused := 0
	for i, opaque := range asked {
		r := w.Reply(opaque)
		for r.Code == remoting.ServiceNotAvailable || r.Code == remoting.OutcomeUnknown { // the leader was lost: as a client does
			r = w.Led(remoting.ConsumerSendMessageBack, back(i), nil)
		}
		switch r.Code {
		case remoting.OK:
			done = append(done, i)
		case remoting.SystemBusy:
			require.Contains(t, r.Remark, "[PUT-BACKS FULL]")
			require.Contains(t, r.Remark, "certainly not done")
			refused++
		default:
			require.Fail(t, "code", "%d: %s", r.Code, r.Remark)
		}
	}
	require.Greater(t, len(done), 2000) // some three thousand, but for those whose answers came too late
	require.Positive(t, refused)
	for _, i := range done {
		asked[i] = w.Send(remoting.ConsumerSendMessageBack, back(i), nil)
	}
	for _, i := range done {
		r := w.Reply(asked[i])
		if r.Code != remoting.OK {
			r = w.sure(remoting.ConsumerSendMessageBack, back(i), nil)
		}
		require.Equal(t, "1", r.Ext["dup"], "%d", i)
	}
	require.EqualValues(t, len(done), num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "%RETRY%" + group, "queueId": "0"}, nil), "offset"))
}
