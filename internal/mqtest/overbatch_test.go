package mqtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// A batch whose messages are together more than the log of these settings takes is refused, and
// nothing else is the worse for it.
func TestABatchThatTheLogHasNoRoomForIsRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	leader := c.leader("t", 0)
	was, _ := c.replicaIn(leader, "t", 0)
	var long, many []byte
	for range 40 {
		long = message.AppendBatchMessage(long, message.BatchMessage{Body: make([]byte, 50<<10)})
	}
	for range 16000 {
		many = message.AppendBatchMessage(many, message.BatchMessage{Body: []byte("x")})
	}
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	for range 3 {
		for _, body := range [][]byte{long, many} {
			r := w.ask(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true", "rmq", "1"), body)
			require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
		}
	}
	w.OK(remoting.SendMessageV2, sendShort("t", 0), []byte("x"))
	now, _ := c.replicaIn(leader, "t", 0)
	require.Equal(t, was.Term, now.Term)
	require.Equal(t, "Leader", now.State)
}
