package mqtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// arrivals reads a topic until n messages came, and returns for each body when it was
// stored.
func arrivals(ctx context.Context, t *testing.T, cl *client.Client, topic string, n int) map[string]time.Time {
	t.Helper()
	r, err := cl.NewReader(topic)
	require.NoError(t, err)
	defer r.Close()
	got := make(map[string]time.Time)
	for d, err := range r.All(ctx) {
		require.NoError(t, err)
		require.NotContains(t, got, string(d.Body), "once")
		if got[string(d.Body)] = d.StoredAt; len(got) == n {
			break
		}
	}
	return got
}

// leaderOf is the node that leads a topic of one partition.
func (c *Cluster) leaderOf(topic string) int {
	c.t.Helper()
	for i, b := range c.Nodes {
		if b != nil {
			return c.leader(topic, c.of(i, topic).Slot)
		}
	}
	panic("no node runs")
}

// A message comes at its time, by level, delay or date, in no queue before, and once;
// through the death of the leader that took it and a restart of all nodes.
func TestMessagesComeAtTheirTime(t *testing.T) {
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "timed", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	type span struct{ from, to time.Time }
	due := make(map[string]span) // it is due some time in there, by when it was sent
	send := func(body string, m *client.Message, after time.Duration) client.Receipt {
		m.Topic, m.Body = "timed", []byte(body)
		begun := time.Now()
		r, err := p.Send(ctx, m)
		require.NoError(t, err)
		due[body] = span{begun.Add(after), time.Now().Add(after)}
		if !m.DeliverAt.IsZero() {
			due[body] = span{m.DeliverAt, m.DeliverAt}
		}
		return r
	}
	past := send("past", &client.Message{DeliverAt: time.Now().Add(-time.Hour)}, 0)
	require.EqualValues(t, 0, past.Offset, "what is past comes at once")
	first := send("level", &client.Message{DelayLevel: 1}, time.Second)
	require.EqualValues(t, -1, first.Offset)
	require.NotEmpty(t, first.Recall)
	send("delay", &client.Message{Delay: 300 * time.Millisecond}, 300*time.Millisecond)
	send("date", &client.Message{DeliverAt: time.Now().Add(2500 * time.Millisecond)}, 0)
	taken := send("taken", &client.Message{Delay: 10 * time.Second}, 10*time.Second)
	far := send("far", &client.Message{DeliverAt: time.Now().AddDate(30, 0, 0)}, 0)
	over := due["taken"].to
	delete(due, "taken")
	delete(due, "far")
	require.NoError(t, cl.Recall(ctx, taken.Recall))
	require.NoError(t, cl.Recall(ctx, taken.Recall), "asked again")
	require.ErrorIs(t, cl.Recall(ctx, "x"), client.ErrInvalid)

	got := arrivals(ctx, t, cl, "timed", 2)
	require.Contains(t, got, "past")
	lead := c.leaderOf("timed")
	c.Stop(lead)
	c.Run(lead)
	c.Await(lead)
	got = arrivals(ctx, t, cl, "timed", 4)
	for i := range c.Nodes {
		c.Stop(i)
	}
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	cl = c.Client()
	got = arrivals(ctx, t, cl, "timed", 4)
	const late = 20 * time.Millisecond // delays count from the cluster's time, which is a little late
	for body, x := range due {
		at := x.from.Add(-late)
		require.False(t, got[body].Before(at), "%s came %v early", body, at.Sub(got[body]))
		for other, y := range due {
			if x.to.Add(late).Before(y.from) {
				require.False(t, got[other].Before(got[body]), "%s came before %s", other, body)
			}
		}
	}
	c.until("the time of what was taken back is over", func() bool { return time.Now().After(over.Add(500 * time.Millisecond)) })
	require.NoError(t, cl.Recall(ctx, far.Recall), "years ahead, after restarts")
	require.NoError(t, cl.Recall(ctx, taken.Recall), "asked again after its time")
	require.ErrorIs(t, cl.Recall(ctx, first.Recall), client.ErrTooLate)
	lo, hi := bounds(ctx, t, cl, "timed")
	require.EqualValues(t, [2]int64{0, 4}, [2]int64{lo, hi})
}

// A message whose time has come waits no more for who asks for it by name, also when the
// log where it waited is gone.
func TestWhatHasComeDoesNotWait(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "timed", map[string]string{"retention-bytes": "65536"})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	r, err := p.Send(ctx, &client.Message{Topic: "timed", Body: []byte("x"), Delay: 5 * time.Second})
	require.NoError(t, err)
	x, err := cl.Admin().Timer(ctx, r.Recall)
	require.NoError(t, err)
	require.EqualValues(t, "x", x.Message.Body)
	arrivals(ctx, t, cl, "timed", 1)
	_, err = cl.Admin().Timer(ctx, r.Recall)
	require.ErrorIs(t, err, client.ErrInvalid)
	first := c.of(0, "timed").First
	for range 3 {
		sendKiB(ctx, t, p, "timed", 100)
	}
	c.until("the log is trimmed", func() bool { return c.of(0, "timed").First > first+64<<10 })
	_, err = cl.Admin().Timer(ctx, r.Recall)
	require.ErrorIs(t, err, client.ErrInvalid)
}

// Who sends messages that are to come later again, since the answer was lost, gets the
// receipts of the first time: names by which they can be taken back, though the delay
// would now end later, and also when their time has come meanwhile.
func TestADelayedMessageThatIsSentAgainHasItsFirstReceipt(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	const slot = 0
	w := DialWire(t, c.listener(0, slot), remoting.Binary)
	props := func(id, name string, value int64) string {
		b := message.AppendProperty(nil, message.PropUniqueKey, id)
		return string(message.AppendProperty(b, name, strconv.FormatInt(value, 10)))
	}
	send := func(seq int, props ...string) *remoting.Command {
		req := with(sendShort("t", 0), "pid", "0123456789abcdef0123456789abcdef", "pep", "0", "seq", strconv.Itoa(seq), "i", props[0])
		if len(props) == 1 {
			return w.Led(remoting.SendMessageV2, req, []byte("x"))
		}
		var body []byte
		for _, p := range props {
			body = message.AppendBatchMessage(body, message.BatchMessage{Body: []byte("x"), Properties: p})
		}
		return w.Led(remoting.SendBatchMessage, with(req, "i", "", "m", "true"), body)
	}
	same := func(first, again *remoting.Command) {
		t.Helper()
		require.Equal(t, remoting.OK, first.Code, first.Remark)
		require.Equal(t, remoting.OK, again.Code, again.Remark)
		require.Equal(t, "1", again.Ext["dup"])
		for _, name := range []string{"msgId", "recallHandle", "offsets", "queueOffset"} {
			require.Equal(t, first.Ext[name], again.Ext[name], name)
		}
	}
	for seq, name := range []string{message.PropTimerMillis, message.PropDelayLevel} {
		p := props(name, name, 9) // 9 ms, or 5 minutes
		if name == message.PropTimerMillis {
			p = props(name, name, 300_000)
		}
		first := send(seq, p)
		now := time.Now()
		c.until("a delay would end later", func() bool { return time.Since(now) > 20*time.Millisecond })
		again := send(seq, p)
		same(first, again)
		w.OK(remoting.RecallMessage, fields{"topic": "t", "recallHandle": again.Ext["recallHandle"]}, nil)
	}

	at := time.Now().Add(3 * time.Second).UnixMilli()
	one := props("one", message.PropTimerDeliver, at)
	several := []string{props("two", message.PropTimerDeliver, at), props("three", message.PropTimerDeliver, at)}
	first, firsts := send(2, one), send(3, several...)
	end := func() int64 {
		return num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil), "offset")
	}
	c.until("their time has come", func() bool { return end() == 3 })
	again := send(2, one)
	same(first, again)
	same(firsts, send(3, several...))
	r := w.Led(remoting.RecallMessage, fields{"topic": "t", "recallHandle": again.Ext["recallHandle"]}, nil)
	require.Equal(t, remoting.SystemError, r.Code)
	require.Contains(t, r.Remark, "is due or has come")
	require.EqualValues(t, 3, end(), "each came once")
}

// Many messages are taken back at once: none waits for another's entry to be written, so
// they are told in time.
func TestManyAreTakenBackAtOnce(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	const slot, many = 0, 2000
	w := DialWire(t, c.listener(c.leader("t", slot), slot), remoting.Binary)
	for round := 1; ; round++ {
		asked := make([]int32, many)
		for i := range asked {
			asked[i] = w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "i", "TIMER_DELAY_SEC\x01600\x02", "rmq", "1"), []byte("x"))
		}
		var handles []string
		for _, opaque := range asked {
			if r := w.Reply(opaque); r.Code == remoting.OK { // else the leader was lost: this machine is slow
				handles = append(handles, r.Ext["recallHandle"])
			}
		}
		require.NotEmpty(t, handles)
		asked = asked[:len(handles)]
		for i, handle := range handles {
			asked[i] = w.Send(remoting.RecallMessage, fields{"topic": "t", "recallHandle": handle, "rmq": "1"}, nil)
		}
		codes := make(map[remoting.Code]int)
		for _, opaque := range asked {
			codes[w.Reply(opaque).Code]++
		}
		if codes[remoting.OK] > len(handles)*2/3 {
			return
		}
		require.Less(t, round, 5, "of %d: %v", len(handles), codes)
	}
}

// What waits outlives its topic's retention: the log goes, and it comes at its time, also
// on a node that lost all it had meanwhile and leads in the end.
func TestWhatWaitsOutlivesRetention(t *testing.T) {
	c := Start(t, 3, smallSegments)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	var (
		kept string
		due  time.Time
		one  client.Receipt
		gone client.Receipt
		end  int64
		lead int
	)
	for wait := 8 * time.Second; ; wait *= 3 { // until all of this is done before their time
		kept = fmt.Sprint("kept-", wait)
		cl := c.Client()
		topic(ctx, t, cl, kept, map[string]string{"retention-bytes": "65536"})
		p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
		require.NoError(t, err)
		due = time.Now().Add(wait)
		for i := range 20 {
			one, err = p.Send(ctx, &client.Message{Topic: kept, Body: fmt.Appendf(nil, "t%d", i), DeliverAt: due})
			require.NoError(t, err)
		}
		gone, err = p.Send(ctx, &client.Message{Topic: kept, Body: []byte("taken back"), DeliverAt: due})
		require.NoError(t, err)
		if err := cl.Recall(ctx, gone.Recall); !time.Now().Before(due) {
			continue
		} else {
			require.NoError(t, err)
		}
		first := c.of(c.leads(kept), kept).First
		out := c.follower(kept)
		c.Stop(out)
		for range 3 {
			end = sendKiB(ctx, t, p, kept, 100)
		}
		lead = c.leaderOf(kept)
		c.until("the log below what waits is gone", func() bool { return c.of(lead, kept).First > first+64<<10 })
		c.Run(out) // it gets a floor above where they lay
		c.Await(out)
		c.until("it has caught up", func() bool { return c.of(out, kept).Applied >= c.of(lead, kept).Applied })
		if time.Now().Before(due) {
			break
		}
	}
	c.Stop(lead)
	cl := c.Client()
	c.untilIn(time.Until(due)+patience, "they have come", func() bool {
		_, hi := bounds(ctx, t, cl, kept)
		return hi == end+1+20
	})
	require.False(t, time.Now().Before(due))
	r, err := cl.NewReader(kept, client.FromPosition(client.AtOffset(end+1)))
	require.NoError(t, err)
	got := make(map[string]bool)
	for d, err := range r.UntilEnd(ctx) {
		require.NoError(t, err)
		got[string(d.Body)] = true
	}
	require.Len(t, got, 20)
	require.NotContains(t, got, "taken back")
	life, err := cl.Admin().Explain(ctx, kept, one.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"waited", "stored"}, whats(life), "the message says since when")
	require.Equal(t, due.UnixMilli(), life.Steps[0].Due.UnixMilli())
	require.WithinRange(t, life.Steps[0].At, due.Add(-whole), due)
	require.Zero(t, life.Steps[0].Index)
	_, err = cl.Admin().Explain(ctx, kept, gone.ID)
	require.ErrorIs(t, err, client.ErrMessageNotFound, "the log has none of it")
	if err := cl.Recall(ctx, gone.Recall); err != nil { // the log that tells is gone, the index may still
		require.ErrorIs(t, err, client.ErrUncertain)
	}
	name, err := base64.URLEncoding.DecodeString(gone.Recall)
	require.NoError(t, err)
	unknown := append(name[:bytes.LastIndexByte(name, ' ')], " 65"...)
	require.ErrorIs(t, cl.Recall(ctx, base64.URLEncoding.EncodeToString(unknown)), client.ErrUncertain, "nothing tells")
}

// One node's clock, the leader's too, neither makes messages come early, however far it
// jumps ahead, nor keeps them back, however far behind.
func TestAClockThatJumpsMovesNoTimer(t *testing.T) {
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "clocks", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	_, err = p.Send(ctx, &client.Message{Topic: "clocks", Body: []byte("in an hour"), Delay: time.Hour})
	require.NoError(t, err)
	n := 0
	for _, jump := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		for i := range c.Nodes {
			c.Ahead[i].Store(0)
		}
		c.Ahead[c.leaderOf("clocks")].Store(int64(jump))
		due := time.Now().Add(1500 * time.Millisecond)
		_, err := p.Send(ctx, &client.Message{Topic: "clocks", Body: fmt.Append(nil, jump), DeliverAt: due})
		require.NoError(t, err)
		n++
		got := arrivals(ctx, t, cl, "clocks", n)
		require.False(t, time.Now().Before(due.Truncate(time.Millisecond)), "with a clock that is %v ahead", jump)
		require.NotContains(t, got, "in an hour")
		at := got[fmt.Sprint(jump)]
		require.WithinRange(t, at, due.Truncate(time.Millisecond), due.Add(patience))
	}
}

// A clock that was ahead, and with it the time of a partition's log, makes nothing early that is sent with a delay
// once the clock is right again.
func TestALogThatIsAheadMakesNothingEarly(t *testing.T) {
	c := Start(t, 1, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	cl := c.Client()
	topic(ctx, t, cl, "ahead", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	const ahead, delay = 4 * time.Second, time.Second
	c.Ahead[0].Store(int64(ahead))
	n := 0
	c.until("the log is ahead", func() bool {
		n++
		_, err := p.Send(ctx, &client.Message{Topic: "ahead", Body: fmt.Append(nil, "now-", n)})
		require.NoError(t, err)
		return arrivals(ctx, t, cl, "ahead", n)[fmt.Sprint("now-", n)].After(time.Now().Add(ahead / 2))
	})
	c.Ahead[0].Store(0)
	due := make(map[string]time.Time)
	for i := range 20 { // over two seconds: the broker looks at its clock twice in each
		body := fmt.Sprint("later-", i)
		due[body] = time.Now().Add(delay)
		_, err := p.Send(ctx, &client.Message{Topic: "ahead", Body: []byte(body), Delay: delay})
		require.NoError(t, err)
		time.Sleep(ahead / 2 / 20)
	}
	r, err := cl.NewReader("ahead")
	require.NoError(t, err)
	defer r.Close()
	for d, err := range r.All(ctx) {
		require.NoError(t, err)
		at, ok := due[string(d.Body)]
		if !ok {
			continue
		}
		require.False(t, d.StoredAt.Before(at.Truncate(time.Millisecond)), "%s has the time of %v before its own", d.Body, at.Sub(d.StoredAt))
		require.False(t, time.Now().Before(at.Truncate(time.Millisecond)), "%s came %v early", d.Body, time.Until(at))
		if delete(due, string(d.Body)); len(due) == 0 {
			return
		}
	}
}
