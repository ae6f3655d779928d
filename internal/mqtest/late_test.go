package mqtest

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// A link that holds what a node forwards until nobody waits for it any more: the leader
// does none of it, and says so. What was sent meanwhile by others stands alone.
func TestWhatIsForwardedTooLateIsNotDone(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, with(topicOf("t", 2), "partitions", "1"))
	var slot int
	for s := range 3 {
		if _, ok := c.replicaIn(0, "t", s); ok {
			slot = s
		}
	}
	c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == slot })
	leader, via := slot, (slot+1)%3
	first := remoting.MessageQueue{BrokerName: "raftmq-" + string(rune('0'+slot)), Topic: "t"}
	second := first
	second.QueueID = 1
	at := DialWire(t, c.listener(leader, slot), remoting.JSON)
	granted := func(client string, q remoting.MessageQueue) bool {
		var got remoting.LockReply
		require.NoError(t, remoting.DecodeBody(at.Led(remoting.LockBatchMQ, nil, lockOf(client, "g", q)).Body, &got))
		return len(got.LockOKMQSet) == 1
	}
	c.until("it is granted", func() bool { return granted("a", first) }) // without a leader nothing is
	w := DialWire(t, c.listener(via, slot), remoting.JSON)
	w.put(sendShort("t", 0), []byte("before"))
	w.Led(remoting.LockBatchMQ, nil, lockOf("a", "g", first)) // the paths are open
	const waits = 2500 * time.Millisecond                     // of a node for a leader, and a second more for the answer
	end := c.end(slot, "t", 0)
	for round, over := 0, time.Now().Add(whole); ; round++ {
		require.True(t, time.Now().Before(over), "no round in which the refusals arrived")
		c.untilIn(ample, "the preferred node leads", func() bool { return c.leader("t", slot) == slot })
		c.Net.Hang(c.names[via], c.names[leader])
		asked := time.Now()
		send := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("late"))
		named := w.Send(remoting.SendMessageV2, with(sendShort("t", 0), "pid", "0123456789abcdef0123456789abcdef", "pep", "0", "seq", "0"), []byte("late"))
		unlock := w.Send(remoting.UnlockBatchMQ, fields{"rmq": "1"}, lockOf("a", "g", first))
		lock := w.Send(remoting.LockBatchMQ, fields{"rmq": "1"}, lockOf("b", "g", second))
		time.Sleep(time.Until(asked.Add(waits + 300*time.Millisecond)))
		c.Net.HealAll()
		codes := []remoting.Code{w.Reply(send).Code, w.Reply(named).Code, w.Reply(unlock).Code}
		var got remoting.LockReply
		require.NoError(t, remoting.DecodeBody(w.Reply(lock).Body, &got))
		require.Empty(t, got.LockOKMQSet)
		require.NotContains(t, codes, remoting.OK)
		w.Led(remoting.LockBatchMQ, nil, lockOf("a", "g", first)) // behind them on the same connection
		require.False(t, granted("x", first), "a has not given it back in time")
		c.until("c has it, since b has not asked for it in time", func() bool { return granted("c", second) }) // without a leader nobody has it
		require.Equal(t, end, c.end(slot, "t", 0), "nothing was sent in time")
		at.sure(remoting.UnlockBatchMQ, fields{"rmq": "1"}, lockOf("c", "g", second))
		if codes[0] == remoting.ServiceNotAvailable && codes[1] == codes[0] && codes[2] == codes[0] {
			return // they did arrive, and were refused
		}
		t.Logf("round %d: %v", round, codes) // the machine is slow: nobody heard what became of them
	}
}

// held is a connection that keeps what is written for as long as it is told.
type held struct {
	net.Conn
	gate *sync.RWMutex
}

func (h held) Write(b []byte) (int, error) {
	h.gate.RLock()
	defer h.gate.RUnlock()
	return h.Conn.Write(b)
}

// What a client of ours asks, and a node comes to when that waits for it no more, is not done:
// the link held it, or the node did. Stock clients do not say how long they wait.
func TestWhatAClientWaitsForNoMoreIsNotDone(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	var gate sync.RWMutex
	cl, err := client.Dial(ctx, client.WithEndpoints(c.Endpoints()...), client.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return held{nc, &gate}, err
	}))
	require.NoError(t, err)
	defer cl.Close(context.WithoutCancel(ctx))
	topic(ctx, t, cl, "t", nil)
	for i := range 3 { // the nodes that are asked tell their clocks
		name := "u" + strconv.Itoa(i)
		require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Partitions: 1}))
		require.NoError(t, cl.Admin().DeleteTopic(ctx, name))
	}
	soon, end := context.WithTimeout(ctx, 2*time.Second) // enough to come to the connection that is held
	defer end()
	gate.Lock()
	err = cl.Admin().DeleteTopic(soon, "t")
	gate.Unlock()
	require.Error(t, err)
	for i := range 3 { // it arrives, and a node comes to it
		require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "v" + strconv.Itoa(i), Partitions: 1}))
	}
	_, err = cl.Admin().Topic(ctx, "t")
	require.NoError(t, err, "it is not deleted")

	slot := 0
	for s := range 3 {
		if _, ok := c.replicaIn(0, "t", s); ok {
			slot = s
		}
	}
	w := DialWire(t, c.listener((slot+1)%3, slot), remoting.JSON) // does not lead it
	r := w.sure(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1"), []byte("x"))
	now, err := strconv.ParseInt(r.Ext[remoting.ExtNow], 10, 64)
	require.NoError(t, err)
	there := c.end(slot, "t", 0)
	for _, i := range []int{slot, (slot + 1) % 3} {
		w := DialWire(t, c.listener(i, slot), remoting.JSON)
		r = w.ask(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1", remoting.ExtBy, "1"), []byte("x"))
		require.Equal(t, remoting.ServiceNotAvailable, r.Code, r.Remark)
		require.Contains(t, r.Remark, "certainly not done")
		r = w.ask(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1", remoting.ExtBy, "soon"), []byte("x"))
		require.Equal(t, remoting.InvalidParameter, r.Code)
	}
	require.Equal(t, there, c.end(slot, "t", 0))
	w.sure(remoting.SendMessageV2, with(sendShort("t", 0), "rmq", "1", remoting.ExtBy, strconv.FormatInt(now+int64(time.Hour), 10)), []byte("x"))
	require.NotContains(t, w.OK(remoting.SendMessageV2, sendShort("t", 0), []byte("x")).Ext, remoting.ExtNow, "a stock client is told nothing of it")
}
