package mqtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Who moves a group in all queues of a topic is told that some were moved, if others cannot be:
// not that certainly nothing was done.
func TestWhoMovesAGroupInSomeQueuesIsToldSo(t *testing.T) {
	t.Parallel()
	c := Start(t, 5, nil)
	c.createTopic(t, topicOf("t", 1))
	c.Stop(3)
	c.Stop(4) // of the last slot's three replicas one is left
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	var last *remoting.Command
	c.until("the queues that have leaders are moved", func() bool {
		last = w.ask(remoting.InvokeBrokerToResetOffset, fields{"topic": "t", "group": "g", "timestamp": "-1", "isForce": "true", "rmq": "1"}, nil)
		return strings.HasPrefix(last.Remark, "2 queues were moved")
	})
	require.Equal(t, remoting.SystemError, last.Code)
}
