package mqtest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A stock client gives up all its queues when it is not in the list of its group's
// members. A node that starts has heard of nobody: it waits for the others' lists,
// and a node that restarts does not take its clients out of theirs.
func TestANodeThatStartsKnowsTheMembersOfGroups(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	var members []*Wire
	for i, name := range []string{"c0", "c1", "c2"} {
		w := DialWire(t, c.listener(i, 0), 0)
		w.OK(remoting.Heartbeat, nil, heartbeatOf(name, "g", "t"))
		members = append(members, w)
	}
	list := func(i int) []string {
		var l remoting.ConsumerList
		if r := DialWire(t, c.listener(i, 0), 0).Led(remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, nil); r.Code == remoting.OK { // else it knows of nobody
			require.NoError(t, remoting.DecodeBody(r.Body, &l))
		}
		return l.ConsumerIDList
	}
	for i := range c.Nodes {
		c.until("all know all", func() bool { return len(list(i)) == 3 })
	}
	for round := 0; ; round++ {
		c.Stop(2)
		begun := time.Now()
		c.Run(2) // c2 has not come back yet
		got := list(2)
		if slices.Contains(got, "c0") && slices.Contains(got, "c1") {
			break
		} // it waits for some seconds, which may be too few if this machine is slow
		require.Greater(t, time.Since(begun), 4*time.Second, "%v", got)
		require.Less(t, round, 5, "%v", got)
	}
	r := DialWire(t, c.listener(2, 0), 0).ask(remoting.PullMessage, with(pullOf("t", 0, 0), "sysFlag", "0", "subscription", ""), nil)
	require.NotEqual(t, remoting.SubscriptionNotExist, r.Code, "a subscription that others know")
	for i := range 2 {
		require.Equal(t, []string{"c0", "c1", "c2"}, list(i))
	}
	c.Await(2)
	w := DialWire(t, c.listener(2, 0), 0)
	w.OK(remoting.Heartbeat, nil, heartbeatOf("c2", "g", "t"))
	c.until("all know all again", func() bool { return len(list(2)) == 3 })
}
