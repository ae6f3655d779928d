package mqtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A member is asked by the node that it is connected to. When the answer of that is lost it may have been asked: it is
// not said to be away.
func TestAMemberThatMayHaveBeenAskedIsNotSaidToBeAway(t *testing.T) {
	t.Parallel()
	c := Start(t, 2, nil)
	c.createTopic(t, topicOf("t", 1))
	member := DialWire(t, c.listener(1, 0), 0)
	member.OK(remoting.Heartbeat, nil, heartbeatOf("far", "g", "t"))
	w := DialWire(t, c.listener(0, 0), 0)
	c.until("the member is known", func() bool {
		return w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, nil).Code == remoting.OK
	})
	asks := w.Send(remoting.GetConsumerRunningInfo, fields{"consumerGroup": "g", "clientId": "far"}, nil)
	member.waitPush(remoting.GetConsumerRunningInfo)
	c.Net.Break(c.names[0], c.names[1])
	require.Equal(t, remoting.ConsumeMessageTimeout, w.Reply(asks).Code)
}
