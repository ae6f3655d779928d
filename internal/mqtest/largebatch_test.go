package mqtest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// largest has a node take messages as long as they may be.
func largest(cfg *broker.Config) {
	cfg.MaxBody, cfg.WALSegmentBytes = message.MaxBody, 40<<20
}

// As many messages as a batch may have are answered with a receipt; of more none is stored.
func TestALargeBatchIsAnswered(t *testing.T) {
	c := Start(t, 3, largest)
	c.createTopic(t, topicOf("t", 1))
	one := message.AppendBatchMessage(nil, message.BatchMessage{Body: []byte("x")})
	body := bytes.Repeat(one, message.MaxBatch)
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 0), byte(i%2))
		r := w.sure(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true", "rmq", "1"), body)
		require.Equal(t, message.MaxBatch, strings.Count(r.Ext["msgId"], ",")+1)
		r = w.Led(remoting.SendBatchMessage, with(sendShort("t", 0), "m", "true"), append(body, one...))
		require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
	}
}
