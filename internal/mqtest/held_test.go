package mqtest

import (
	"testing"

	"raftmq/remoting"
)

// A pull that is held at the leader for a client of another node ends with the client's connection,
// not when its time is up: else who connects again and again could have as many held as a node may.
func TestAPullThatIsHeldElsewhereEndsWithItsClient(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	leader := c.leader("t", 0)
	stays, goes := DialWire(t, c.listener((leader+1)%3, 0), remoting.JSON), DialWire(t, c.listener((leader+1)%3, 0), remoting.JSON)
	held := with(pullOf("t", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	stays.Send(remoting.PullMessage, held, nil)
	const pulls = 8
	for range pulls {
		goes.Send(remoting.PullMessage, held, nil)
	}
	c.until("they are held at the leader", func() bool { return c.metric(leader, "raftmq_pulls_held") == 1+pulls })
	goes.nc.Close()
	c.until("those of the client that stays are", func() bool { return c.metric(leader, "raftmq_pulls_held") == 1 })
}
