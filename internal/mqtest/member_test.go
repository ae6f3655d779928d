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

// Java's members tell a new version of their subscriptions whenever their queues have changed. The others are not told of that: a group
// of many would have each share its queues anew for each. They are told of another topic.
func TestANewVersionOfASubscriptionIsNoChangeOfAGroup(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	beat := func(client string, version int64, topics ...string) []byte {
		member := remoting.ConsumerData{GroupName: "g", ConsumeType: remoting.ConsumePassively, MessageModel: remoting.Clustering}
		for _, topic := range topics {
			member.SubscriptionDataSet = append(member.SubscriptionDataSet, remoting.SubscriptionData{ExpressionType: "TAG", SubString: "*", SubVersion: version, Topic: topic})
		}
		return remoting.EncodeBody(remoting.HeartbeatData{ClientID: client, ConsumerDataSet: []remoting.ConsumerData{member}})
	}
	one, other := DialWire(t, c.listener(0, 0), 0), DialWire(t, c.listener(0, 0), 0)
	told := func() (n int) { // so far: what is asked for behind it is answered behind it
		one.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil)
		n, one.pushed = len(one.pushed), nil
		return n
	}
	one.OK(remoting.Heartbeat, nil, beat("c1", 1, "t"))
	other.OK(remoting.Heartbeat, nil, beat("c2", 1, "t", "u"))
	require.Positive(t, told())
	other.OK(remoting.Heartbeat, nil, beat("c2", 2, "u", "t"))
	require.Zero(t, told())
	r := one.Led(remoting.PullMessage, with(pullOf("t", 0, 0), "sysFlag", "0", "subscription", "", "subVersion", "2"), nil)
	require.Equal(t, remoting.PullNotFound, r.Code, "the version is known: %s", r.Remark)
	other.OK(remoting.Heartbeat, nil, beat("c2", 2, "t"))
	require.Positive(t, told())
}
