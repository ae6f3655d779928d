package mqtest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// soonAsked has producers asked at once, and parks what was asked about twice.
func soonAsked(cfg *broker.Config) {
	cfg.TransactionTimeout, cfg.TransactionCheckInterval, cfg.TransactionChecks = 50*time.Millisecond, 100*time.Millisecond, 2
}

// prepared is a half as the stock Go client sends it.
func prepared(topic, group string) fields {
	return with(sendLong(topic, 0), "producerGroup", group, "sysFlag", "4", "properties", "KEYS\x01k1\x02TRAN_MSG\x01true\x02PGROUP\x01"+group+"\x02UNIQ_KEY\x010102\x02TAGS\x01tag\x02")
}

// half sends one, and returns the decision about it that its reply allows.
func (w *Wire) half(topic, group string, body string) (end fields) {
	w.t.Helper()
	r := w.OK(remoting.SendMessage, prepared(topic, group), []byte(body))
	require.Equal(w.t, "0102", r.Ext["transactionId"])
	_, physical, err := message.ParseOffsetID(r.Ext["msgId"])
	require.NoError(w.t, err)
	return fields{"producerGroup": group, "tranStateTableOffset": r.Ext["queueOffset"], "commitLogOffset": strconv.FormatInt(physical, 10), "msgId": "0102", "transactionId": "0102", "fromTransactionCheck": "false"}
}

func commit(end fields) fields   { return with(end, "commitOrRollback", "8") }
func rollback(end fields) fields { return with(end, "commitOrRollback", "12") }

// pulled are the messages of a queue.
func (w *Wire) pulled(topic string) []message.Record {
	w.t.Helper()
	r := w.Led(remoting.PullMessage, pullOf(topic, 0, 0), nil)
	if r.Code == remoting.PullNotFound {
		return nil
	}
	require.Equal(w.t, remoting.OK, r.Code, r.Remark)
	return Records(w.t, r.Body)
}

// sees waits until there are n messages, since a follower may be behind.
func (c *Cluster) sees(w *Wire, topic string, n int) (got []message.Record) {
	c.t.Helper()
	c.until("messages of "+topic, func() bool { got = w.pulled(topic); return len(got) >= n })
	require.Len(c.t, got, n)
	return got
}

// producing says that a client of a group that only produces is at the other end.
func (w *Wire) producing(client, group string) {
	w.t.Helper()
	w.OK(remoting.Heartbeat, nil, remoting.EncodeBody(remoting.HeartbeatData{ClientID: client, ProducerDataSet: []remoting.ProducerData{{GroupName: group}}}))
}

// A half is seen by nobody until it is committed, by any node, on any slot's port,
// however often; then it is in its queue once, as RocketMQ stores it. One that is rolled
// back never is. What holds is what was decided first, and it is said; after a restart
// of everything too.
func TestATransactionIsDecidedOnce(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	const slot = 1
	w := DialWire(t, c.listener(0, slot), remoting.JSON)
	yes, no, later := w.half("t", "p", "yes"), w.half("t", "p", "no"), w.half("t", "p", "later")
	require.Empty(t, w.pulled("t"))
	require.Equal(t, remoting.NoPermission, w.Led(remoting.EndTransaction, commit(with(yes, "producerGroup", "q")), nil).Code)
	require.Equal(t, remoting.NoTransaction, w.Led(remoting.EndTransaction, commit(with(yes, "tranStateTableOffset", no["tranStateTableOffset"])), nil).Code)
	w.OK(remoting.EndTransaction, with(yes, "commitOrRollback", "0"), nil)
	require.Empty(t, w.pulled("t"))

	for i := range c.Nodes {
		x := DialWire(t, c.listener(i, (slot+i)%3), byte(i%2))
		x.Oneway(remoting.EndTransaction, commit(yes), nil)
		r := x.OK(remoting.EndTransaction, commit(yes), nil)
		require.Equal(t, "0", r.Ext["queueOffset"])
		require.Equal(t, "producer", r.Ext["by"])
		r = x.Led(remoting.EndTransaction, rollback(yes), nil)
		require.Equal(t, remoting.IllegalOperation, r.Code, r.Remark)
		require.Equal(t, "8", r.Ext["commitOrRollback"], "what holds")
		x.Oneway(remoting.EndTransaction, rollback(no), nil)
		x.OK(remoting.EndTransaction, rollback(no), nil)
		r = x.Led(remoting.EndTransaction, commit(no), nil)
		require.Equal(t, remoting.IllegalOperation, r.Code, r.Remark)
	}
	got := c.sees(w, "t", 1)
	m := got[0].Message()
	require.Equal(t, "yes", string(m.Body))
	require.Equal(t, "KEYS\x01k1\x02TRAN_MSG\x01true\x02PGROUP\x01p\x02UNIQ_KEY\x010102\x02TAGS\x01tag\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02", m.Properties)
	require.EqualValues(t, message.FlagCommitted, m.SysFlag&message.FlagTransactionMask)
	require.Equal(t, yes["commitLogOffset"], strconv.FormatInt(m.PreparedTransactionOffset, 10))
	require.EqualValues(t, 1700000000000, m.BornTimestamp)
	require.Len(t, Records(t, w.OK(remoting.ViewMessageByID, fields{"offset": strconv.FormatInt(m.PhysicalOffset, 10)}, nil).Body), 1)
	require.NotEqual(t, remoting.OK, w.Led(remoting.ViewMessageByID, fields{"offset": later["commitLogOffset"]}, nil).Code, "halves are not shown")
	r := w.OK(remoting.QueryMessage, fields{"topic": "t", "key": "k1", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, nil)
	require.Len(t, Records(t, r.Body), 1)

	for i := range c.Nodes {
		c.Stop(i)
	}
	c.joins = nil
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
	}
	w = DialWire(t, c.listener(2, slot), remoting.JSON)
	w.OK(remoting.EndTransaction, commit(yes), nil)
	require.Equal(t, remoting.IllegalOperation, w.Led(remoting.EndTransaction, rollback(yes), nil).Code)
	w.OK(remoting.EndTransaction, commit(later), nil)
	c.sees(w, "t", 2)
}

// A transaction without a decision is asked about: a producer of its group, on
// whatever node and port that is, also when the leader died; with the message as it was
// sent, and offsets that the answer names it by. One that does not know is asked again,
// and then it is parked: seen, not delivered, and decided by an operator alone.
func TestProducersAreAskedWhatBecameOfATransaction(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) {
		soonAsked(cfg)
		cfg.TransactionCheckInterval = 3 * time.Second // in which an answer is to come: else it is parked
	})
	c.createTopic(t, topicOf("t", 1))
	const slot = 2
	leader := c.leader("t", slot)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	sender := DialWire(t, c.listener(others[0], slot), remoting.JSON)
	first, second := sender.half("t", "p", "first"), sender.half("t", "p", "second")
	list := func(w *Wire, more ...string) (l remoting.TransactionList) {
		r := w.OK(remoting.ListTransactions, with(fields{"topic": "t"}, more...), nil)
		require.NoError(t, remoting.DecodeBody(r.Body, &l))
		return l
	}
	l := list(sender)
	require.Equal(t, []int{2, 2, 0, 0}, []int{l.Pending, len(l.Transactions), l.Parked, l.Transactions[0].Checks}, "nobody is there to be asked, and nothing is counted")

	c.Stop(leader)
	// On another slot's port of another node than the one that leads by then.
	asked := DialWire(t, c.listener(others[1], 0), remoting.JSON)
	asked.producing("asked", "p")
	answer := func(w *Wire, push *remoting.Command, decision string) {
		var h remoting.CheckTransactionHeader
		require.NoError(t, h.Decode(push.Ext))
		require.True(t, push.IsOneway())
		rec, err := message.ParseRecord(push.Body)
		require.NoError(t, err)
		require.NoError(t, rec.Verify())
		require.Equal(t, h.CommitLogOffset, rec.PhysicalOffset())
		require.EqualValues(t, h.StateTableOffset, rec.QueueOffset())
		group, _ := rec.Property(message.PropProducerGroup)
		require.Equal(t, []string{"t", "p", "0102", "0102"}, []string{rec.Topic(), group, h.MsgID, h.TransactionID})
		w.Oneway(remoting.EndTransaction, fields{"producerGroup": "p", "tranStateTableOffset": push.Ext["tranStateTableOffset"], "commitLogOffset": push.Ext["commitLogOffset"],
			"commitOrRollback": decision, "fromTransactionCheck": "true", "msgId": h.MsgID}, nil)

	}
	seen := make(map[string]int)
	for done := false; !done; {
		push := asked.waitPush(remoting.CheckTransactionState)
		text, _ := message.Record(push.Body).Property("TRANSACTION_CHECK_TIMES")
		times, err := strconv.Atoi(text)
		require.NoError(t, err)
		seen[push.Ext["commitLogOffset"]]++
		require.GreaterOrEqual(t, times, seen[push.Ext["commitLogOffset"]], "which check it is: one that is lost counts")
		if done = push.Ext["commitLogOffset"] == first["commitLogOffset"]; done {
			answer(asked, push, "8")
		} else {
			answer(asked, push, "0")
		}
	}
	sender = DialWire(t, c.listener(others[0], slot), remoting.JSON)
	require.Equal(t, "first", string(c.sees(sender, "t", 1)[0].Body()))
	r := sender.OK(remoting.EndTransaction, commit(first), nil)
	require.Equal(t, "check", r.Ext["by"])

	c.until("the other is parked", func() bool { return list(sender).Parked == 1 })
	l = list(sender, "parked", "true")
	require.Len(t, l.Transactions, 1)
	x := l.Transactions[0]
	require.Equal(t, second["commitLogOffset"], strconv.FormatInt(x.Offset, 10))
	require.Equal(t, []any{"parked", "p", 2, slot}, []any{x.State, x.Group, x.Checks, x.Slot})
	c.sees(sender, "t", 1)
	one := fields{"slot": strconv.Itoa(slot), "offset": second["commitLogOffset"]}
	r = asked.OK(remoting.ListTransactions, one, nil)
	require.NoError(t, remoting.DecodeBody(r.Body, &l))
	rec, err := message.ParseRecord(l.Transactions[0].Record)
	require.NoError(t, err)
	require.Equal(t, "second", string(rec.Body()))
	r = asked.OK(remoting.EndTransaction, fields{"operator": "true", "tranStateTableOffset": strconv.FormatInt(x.StateOffset, 10), "commitLogOffset": strconv.FormatInt(x.Offset, 10), "commitOrRollback": "8"}, nil)
	require.Equal(t, "operator", r.Ext["by"])
	c.sees(sender, "t", 2)
	r = asked.OK(remoting.ListTransactions, one, nil)
	require.NoError(t, remoting.DecodeBody(r.Body, &l))
	require.Equal(t, []any{"committed", "operator"}, []any{l.Transactions[0].State, l.Transactions[0].DecidedBy})
	l = list(sender)
	require.Zero(t, l.Pending)

	c.Run(leader)
	c.Await(leader)
	w := DialWire(t, c.listener(leader, slot), remoting.Binary)
	c.sees(w, "t", 2)
	require.Equal(t, remoting.IllegalOperation, w.Led(remoting.EndTransaction, rollback(second), nil).Code)
}

// A transaction may wait longer than its topic keeps messages: it is stored again
// before its segment goes, keeps its names, and is delivered whole.
func TestATransactionOutlivesRetention(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, func(cfg *broker.Config) { smallSegments(cfg); cfg.RetentionBytes = 100 << 10 })
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	slot := c.of(0, "t").Slot
	w := DialWire(t, c.listener(0, slot), remoting.JSON)
	end := w.half("t", "p", "kept")
	gone := w.half("t", "p", "gone")
	w.OK(remoting.EndTransaction, commit(gone), nil)
	for round := range 3 {
		first := c.of(0, "t").First
		for i := 0; i < 2000 && c.of(0, "t").First < first+(64<<10); i++ {
			w.put(sendShort("t", 0), make([]byte, 1<<10))
		}
		require.Greater(t, c.of(0, "t").First, first, "round %d", round)
	}
	r := w.OK(remoting.EndTransaction, commit(end), nil)
	at, err := strconv.Atoi(r.Ext["queueOffset"])
	require.NoError(t, err)
	pulled := w.OK(remoting.PullMessage, pullOf("t", 0, int64(at)), nil)
	got := Records(t, pulled.Body)
	require.Len(t, got, 1)
	require.Equal(t, "kept", string(got[0].Body()))
	require.Equal(t, end["commitLogOffset"], strconv.FormatInt(got[0].Message().PreparedTransactionOffset, 10))
	w.OK(remoting.EndTransaction, commit(end), nil)
}
