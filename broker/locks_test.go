package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Partitions that have no leader do not keep back the locks in those that have one: stock clients wait for a second.
// Nor do they wait one after the other.
func TestLocksDoNotWaitForPartitionsWithoutALeader(t *testing.T) {
	l := newLone(t)
	l.leader()
	lock := remoting.LockBatch{ConsumerGroup: "g", ClientID: "c", MQSet: []remoting.MessageQueue{}}
	for i := range 5 {
		name := fmt.Sprintf("unled%d", i)
		require.Nil(t, l.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, name))
		topic, ok := l.catalogue.Topic(name)
		require.True(t, ok)
		eventually(t, func() bool {
			p, ok := l.partition(topic.Partitions[0].ID)
			if ok {
				p.withheld.Store(true) // it may not answer, and nobody else may
			}
			return ok
		})
		lock.MQSet = append(lock.MQSet, remoting.MessageQueue{Topic: name, BrokerName: brokerName(0)})
	}
	led := remoting.MessageQueue{Topic: "t", BrokerName: brokerName(0)}
	lock.MQSet = append(lock.MQSet, led)
	ask := func(code remoting.Code, ours bool) (*remoting.Command, time.Duration) {
		r := &request{Command: remoting.NewRequest(code, nil), conn: &remoting.ServerConn{}, slot: 0}
		if ours {
			r.SetExt(extOurs, "1")
		}
		r.Body = remoting.EncodeBody(lock)
		began := time.Now()
		return l.lockQueues(t.Context(), r), time.Since(began)
	}
	granted := func(reply *remoting.Command) []remoting.MessageQueue {
		var got remoting.LockReply
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
		require.NoError(t, remoting.DecodeBody(reply.Body, &got))
		return got.LockOKMQSet
	}
	for _, x := range []struct {
		code remoting.Code
		ours bool
		soon time.Duration
	}{{remoting.LockBatchMQ, false, forwardWait}, {remoting.LockBatchMQ, true, 2 * forwardWait}, {remoting.UnlockBatchMQ, false, 2 * forwardWait}} {
		fine := func() bool { // a round in which the machine stood still says nothing
			reply, took := ask(x.code, x.ours)
			if took >= x.soon {
				return false
			}
			if x.code == remoting.UnlockBatchMQ {
				require.Equal(t, remoting.ServiceNotAvailable, reply.Code, "not all are unlocked")
				return true
			}
			return slices.Equal([]remoting.MessageQueue{led}, granted(reply))
		}
		rounds := 0
		for !fine() {
			rounds++
			require.Less(t, rounds, 10, "code %d, ours %v: it comes late", x.code, x.ours)
		}
	}
}
