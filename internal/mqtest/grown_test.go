package mqtest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A queue that comes to a topic while a group consumes it is the group's from its first message:
// a client that is told of no offset begins at the end, as it is made, and passes over what was sent
// before it heard of the queue.
func TestAQueueThatIsNewToAGroupIsItsFromTheBegin(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	commit := func(group string, queue string) {
		t.Helper()
		w.sure(remoting.UpdateConsumerOffset, fields{"rmq": "1", "consumerGroup": group, "topic": "t", "queueId": queue, "commitOffset": "1"}, nil)
	}
	w.put(sendShort("t", 0), []byte("x"))
	for _, group := range []string{"early", "idle"} {
		w.OK(remoting.Heartbeat, nil, heartbeatOf("c", group, "t"))
		w.OK(remoting.GetSubscriptionGroup, fields{"group": group}, nil)
	}
	commit("early", "0")
	w.sure(remoting.UpdateAndCreateTopic, with(topicOf("t", 3), "rmq", "1"), nil)
	w.put(sendShort("t", 1), []byte("x"))
	time.Sleep(2 * time.Millisecond)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c", "late", "t"))
	commit("late", "0")
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 0), remoting.Binary)
		ask := func(group, queue string, more ...string) *remoting.Command {
			return w.Led(remoting.QueryConsumerOffset, with(fields{"consumerGroup": group, "topic": "t", "queueId": queue}, more...), nil)
		}
		require.Equal(t, "0", ask("early", "1").Ext["offset"])
		require.Equal(t, remoting.QueryNotFound, ask("early", "1", "setZeroIfNotFound", "false").Code)
		require.Equal(t, remoting.QueryNotFound, ask("late", "1").Code, "it was there when the group came")
		require.Equal(t, remoting.QueryNotFound, ask("idle", "1").Code, "the group has not begun")
		require.Equal(t, remoting.QueryNotFound, ask("nobody", "1").Code)
	}
	commit("early", "1")
	require.Equal(t, "1", w.OK(remoting.QueryConsumerOffset, fields{"consumerGroup": "early", "topic": "t", "queueId": "1"}, nil).Ext["offset"])
	require.Equal(t, "0", w.OK(remoting.QueryConsumerOffset, fields{"consumerGroup": "early", "topic": "t", "queueId": "2"}, nil).Ext["offset"])
}

// A member that was there before a queue's first message is given it: stock clients hear of a topic up to 30 s after a send made it, and
// one that is told of no offset begins at the end, as it is made.
func TestAGroupThatWasThereFirstBeginsAtTheFirstMessage(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c", "early", "t"))
	c.createTopic(t, topicOf("t", 2))
	var ws []*Wire
	for i := range c.Nodes {
		ws = append(ws, DialWire(t, c.listener(i, 0), remoting.Binary))
	}
	ask := func(i int, group, queue string, more ...string) *remoting.Command {
		return ws[i].Led(remoting.QueryConsumerOffset, with(fields{"consumerGroup": group, "topic": "t", "queueId": queue}, more...), nil)
	}
	first := func(group string, queue string) {
		t.Helper()
		for i := range c.Nodes {
			require.Equal(t, "0", ask(i, group, queue).Ext["offset"])
			require.Equal(t, remoting.QueryNotFound, ask(i, group, queue, "setZeroIfNotFound", "false").Code)
		}
	}
	c.until("all nodes hear of the member", func() bool { return ask(1, "early", "0").Code+ask(2, "early", "0").Code == 0 })
	first("early", "0") // nothing is in it
	time.Sleep(2 * time.Millisecond)
	w.put(sendShort("t", 0), []byte("x"))
	first("early", "0")
	time.Sleep(2 * time.Millisecond)
	ws[0].OK(remoting.Heartbeat, nil, heartbeatOf("d", "late", "t"))
	ws[1].OK(remoting.Heartbeat, nil, heartbeatOf("e", "elsewhere", "u"))
	c.until("all nodes hear of the others", func() bool { return ask(1, "late", "1").Code+ask(2, "late", "1").Code == 0 })
	for i := range c.Nodes {
		require.Equal(t, remoting.QueryNotFound, ask(i, "late", "0").Code, "the message was there first")
		for _, group := range []string{"elsewhere", "nobody"} {
			require.Equal(t, remoting.QueryNotFound, ask(i, group, "0").Code)
			require.Equal(t, remoting.QueryNotFound, ask(i, group, "1").Code)
		}
	}
	first("late", "1")
}

// What a group puts back before its members know of its retry queue is the group's, too: a client that begins at a time, and is
// told of no offset there, begins at the queue's end, and what was put back first never comes.
func TestAGroupsRetriesAreItsFromTheBegin(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c", "g", "t"))
	w.put(sendShort("t", 0), []byte("x"))
	given := Records(t, w.OK(remoting.PullMessage, pullOf("t", 0, 0), nil).Body)
	require.Len(t, given, 1)
	w.sure(remoting.ConsumerSendMessageBack, fields{"group": "g", "offset": strconv.FormatInt(given[0].PhysicalOffset(), 10), "delayLevel": "1", "maxReconsumeTimes": "16",
		"rmq": "1", "delivery": "00000000000000a1"}, nil)
	retry := fields{"topic": "%RETRY%g", "queueId": "0"}
	c.until("it comes", func() bool { return w.Led(remoting.GetMaxOffset, retry, nil).Ext["offset"] == "1" })
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 0), remoting.Binary)
		ask := func(group string, more ...string) *remoting.Command {
			return w.Led(remoting.QueryConsumerOffset, with(with(retry, "consumerGroup", group), more...), nil)
		}
		require.Equal(t, "0", ask("g").Ext["offset"])
		require.Equal(t, remoting.QueryNotFound, ask("g", "setZeroIfNotFound", "false").Code)
		require.Equal(t, remoting.QueryNotFound, ask("other").Code, "they are not its")
	}
	w.sure(remoting.UpdateConsumerOffset, with(retry, "rmq", "1", "consumerGroup", "g", "commitOffset", "1"), nil)
	require.Equal(t, "1", w.OK(remoting.QueryConsumerOffset, with(retry, "consumerGroup", "g"), nil).Ext["offset"])
}
