package mqtest

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// A client of ours says of which partition its place is: in a topic by the same name that was made since, the
// place is none.
func TestAPlaceInATopicThatIsGoneIsRefused(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	made := func() (pull, commit fields) {
		c.createTopic(t, topicOf("t", 1))
		for range 3 {
			w.put(sendShort("t", 0), []byte("x"))
		}
		rec := Records(t, w.OK(remoting.PullMessage, pullOf("t", 0, 0), nil).Body)[0]
		number, _ := message.SplitPhysicalOffset(rec.PhysicalOffset())
		part := strconv.FormatUint(uint64(number), 10)
		return with(pullOf("t", 0, 1), "part", part), fields{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "2", "part": part}
	}
	pull, commit := made()
	w.OK(remoting.PullMessage, pull, nil)
	w.OK(remoting.UpdateConsumerOffset, commit, nil)
	w.OK(remoting.DeleteTopicInBroker, fields{"topic": "t"}, nil)
	again, anew := made()
	require.Equal(t, remoting.TopicNotExist, w.ask(remoting.PullMessage, pull, nil).Code)
	require.Equal(t, remoting.TopicNotExist, w.ask(remoting.UpdateConsumerOffset, commit, nil).Code)
	w.OK(remoting.PullMessage, again, nil)
	w.OK(remoting.UpdateConsumerOffset, anew, nil)
}
