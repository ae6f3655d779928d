package mqtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	c.until("the preferred node leads", func() bool { return c.leader("t", slot) == slot })
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
	require.True(t, granted("a", first))
	w := DialWire(t, c.listener(via, slot), remoting.JSON)
	w.Led(remoting.SendMessageV2, sendShort("t", 0), []byte("before"))
	w.Led(remoting.LockBatchMQ, nil, lockOf("a", "g", first)) // the paths are open
	const waits = 2500 * time.Millisecond                     // of a node for a leader, and a second more for the answer
	end := c.end(slot, "t", 0)
	for round := 0; ; round++ {
		require.Less(t, round, 5, "no round in which the refusals arrived")
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
		require.True(t, granted("c", second), "b has not asked for it in time")
		require.Equal(t, end, c.end(slot, "t", 0), "nothing was sent in time")
		at.OK(remoting.UnlockBatchMQ, nil, lockOf("c", "g", second))
		if codes[0] == remoting.ServiceNotAvailable && codes[1] == codes[0] && codes[2] == codes[0] {
			return // they did arrive, and were refused
		}
		t.Logf("round %d: %v", round, codes) // the machine is slow: nobody heard what became of them
	}
}
