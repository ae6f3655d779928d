package mqtest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// What takes many times its length in memory when it is read, or answered, is refused before.
func TestLongTextsAreRefusedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.put(sendShort("t", 0), []byte("x"))

	tags := "a"
	for i := 0; len(tags) < 257<<10; i++ {
		tags += "||" + strconv.Itoa(i)
	}
	require.Equal(t, remoting.SubscriptionParseFailed, w.ask(remoting.PullMessage, with(pullOf("t", 0, 0), "subscription", tags), nil).Code)
	w.OK(remoting.PullMessage, with(pullOf("t", 0, 0), "subscription", "tag||"+tags[:250<<10]), nil)

	long := "CORRELATION_ID\x01a\x02REPLY_TO_CLIENT\x01b\x02" + strings.Repeat("a\x01b\x02", message.MaxProperties/4)
	r := w.ask(remoting.SendReplyMessageV2, with(sendShort(message.ReplyTopic(c.Name), 0), "i", long), nil)
	require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
	r = w.ask(remoting.SendMessageV2, with(sendShort("t", 0), "i", long), []byte("x"))
	require.Equal(t, remoting.MessageIllegal, r.Code, r.Remark)
	require.Contains(t, r.Remark, "certainly not stored")

	for i := range 80 {
		w.OK(remoting.PutKVConfig, fields{"namespace": "n", "key": strconv.Itoa(i), "value": strings.Repeat("v", 60<<10)}, nil)
	}
	r = w.ask(remoting.GetKVListByNamespace, fields{"namespace": "n"}, nil)
	require.Equal(t, remoting.SystemError, r.Code)
	require.Contains(t, r.Remark, "one after the other")
	require.Len(t, w.OK(remoting.GetKVConfig, fields{"namespace": "n", "key": "7"}, nil).Ext["value"], 60<<10)
}
