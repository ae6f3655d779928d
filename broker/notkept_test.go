package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// Clients of ours are told by a field that a message is not kept any more, whatever the words are; others are told as by RocketMQ.
func TestThatAMessageIsNotKeptIsToldByAField(t *testing.T) {
	l := newLone(t)
	number := l.leader().desc.Number
	for _, offset := range []int64{message.PhysicalOffset(number, 1<<30), message.PhysicalOffset(number+100, 64)} {
		for _, ours := range []bool{true, false} {
			for _, req := range []*remoting.Command{
				remoting.NewRequest(remoting.ConsumerSendMessageBack, remoting.SendBackHeader{Group: "g", Offset: offset, BrokerName: brokerName(0), MaxReconsumeTimes: -1, DelayMs: -1}),
				remoting.NewRequest(remoting.ViewMessageByID, remoting.ViewMessageHeader{Offset: offset}),
			} {
				if ours {
					req.SetExt(extOurs, "1")
				}
				reply := l.handle(t.Context(), &request{Command: req})
				require.Equal(t, remoting.SystemError, reply.Code, reply.Remark)
				require.Equal(t, ours, reply.Ext[remoting.ExtNotKept] == "1", reply.Remark)
			}
		}
	}
}
