package broker

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// The leader may have stored a message whose answer was lost. If the topic may not be written any more when another
// leader is asked, that says nothing of it.
func TestWhatMayBeStoredIsNotForbiddenLater(t *testing.T) {
	nodes, id := twoNodes(t)
	topic, _ := nodes[0].catalogue.Topic("t")
	reply := nodes[0].admin(t.Context(), &request{Command: remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{
		Topic: "t", DefaultTopic: message.DefaultTopic, ReadQueueNums: topic.ReadQueues, WriteQueueNums: topic.WriteQueues, Perm: permRead, TopicFilterType: "SINGLE_TAG",
	})})
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	for _, b := range nodes {
		eventually(t, func() bool { x, _ := b.catalogue.Topic("t"); return x.Perm == permRead })
	}
	var b *Broker
	eventually(t, func() bool {
		i := slices.IndexFunc(nodes, func(b *Broker) bool { return b.leadsHere(id) })
		if i >= 0 {
			b = nodes[i]
		}
		return i >= 0
	})
	other := nodes[0]
	if other == b {
		other = nodes[1]
	}
	p, _ := b.partition(id)
	r := &request{slot: p.desc.Slot, Command: remoting.NewRequest(remoting.SendMessageV2, remoting.SendHeader{
		ProducerGroup: "p", Topic: "t", DefaultTopic: message.DefaultTopic, DefaultTopicQueueNums: 4, MaxReconsumeTimes: -1,
	})}
	r.SetExt(extOurs, "1")
	reply = b.atLeader(t.Context(), r, id, time.Minute, true, func(ctx context.Context) (*remoting.Command, error) {
		for b.leadsHere(id) && ctx.Err() == nil {
			p.replica.Transfer(ctx, other.id.Node)
		}
		return nil, raftlog.ErrUnknownOutcome
	})
	require.Equal(t, remoting.OutcomeUnknown, reply.Code, reply.Remark)
}

// A node that was told to lead may lead yet. If it does not answer when it is to be told again, that says nothing of the time before.
func TestAMoveThatMayTakePlaceIsNotRefusedLater(t *testing.T) {
	l := newLone(t)
	l.leader()
	r := &request{slot: 0, Command: remoting.NewRequest(remoting.MoveLeader, remoting.MoveLeaderHeader{Partition: int64(l.part), Node: "n2"})}
	told := false
	reply := l.atLeader(t.Context(), r, l.part, time.Minute, true, func(context.Context) (*remoting.Command, error) {
		if !told {
			told = true
			return nil, raftlog.ErrUnknownOutcome
		}
		return r.refuse(remoting.IllegalOperation, "n2 does not answer for its replica"), nil
	})
	require.Equal(t, remoting.OutcomeUnknown, reply.Code, reply.Remark)
}
