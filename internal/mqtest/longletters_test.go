package mqtest

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// Of dead letters that do not fit an answer together some are listed, and where the list goes on.
func TestLongDeadLettersAreListed(t *testing.T) {
	c := Start(t, 3, largest)
	c.createTopic(t, topicOf("t", 1))
	for slot := range 3 {
		w := DialWire(t, c.listener(0, slot), remoting.Binary)
		for range 2 {
			r := w.put(sendShort("t", 0), make([]byte, 3<<20))
			rec := Records(t, w.OK(remoting.PullMessage, with(pullOf("t", 0, num(t, r, "queueOffset")), "maxMsgNums", "1"), nil).Body)[0]
			w.sure(remoting.ConsumerSendMessageBack, fields{"group": "g", "offset": strconv.FormatInt(rec.PhysicalOffset(), 10), "delayLevel": "-1", "rmq": "1", "delivery": "1"}, nil)
		}
	}
	var l remoting.DeadLetterList
	for i, b := range c.Nodes {
		w := DialWire(t, c.listener(i, 0), remoting.JSON)
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.DeadLetters, fields{"group": "g", "op": "list"}, nil).Body, &l))
		require.NotEmpty(t, l.Letters)
		require.NotNil(t, l.Next, "the others are not in the answer")
		cl, err := client.Dial(t.Context(), client.WithEndpoints(b.Addresses().NameServer))
		require.NoError(t, err)
		defer cl.Close(context.WithoutCancel(t.Context()))
		all, err := cl.Admin().DeadLetters(t.Context(), "g", 0)
		require.NoError(t, err)
		require.Len(t, all, 6)
		for _, max := range []int{1, 3, 5} {
			some, err := cl.Admin().DeadLetters(t.Context(), "g", max)
			require.NoError(t, err)
			require.Equal(t, namesOf(all[:max]), namesOf(some))
		}
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.DeadLetters, fields{"group": "g", "op": "list", "from": all[4].Name}, nil).Body, &l))
		require.Equal(t, all[4].Name, remoting.LetterPlace{Slot: int32(l.Letters[0].Slot), Queue: l.Letters[0].Queue, Offset: l.Letters[0].Offset}.String())
	}
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.DeadLetters, fields{"group": "g", "op": "purge"}, nil).Body, &l))
	require.Equal(t, 6, l.Done)
}

// Dead letters that are handled again together go into entries that the write-ahead log has room for.
func TestLongDeadLettersAreHandledAgain(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.MaxBody = 900 << 10 }) // nearly what a segment has room for
	c.createTopic(t, with(topicOf("t", 1), "partitions", "1"))
	w := DialWire(t, c.listener(0, 0), remoting.Binary)
	for _, size := range []int{200 << 10, 890 << 10} {
		r := w.put(sendShort("t", 0), make([]byte, size))
		rec := Records(t, w.OK(remoting.PullMessage, with(pullOf("t", 0, num(t, r, "queueOffset")), "maxMsgNums", "1"), nil).Body)[0]
		w.sure(remoting.ConsumerSendMessageBack, fields{"group": "g", "offset": strconv.FormatInt(rec.PhysicalOffset(), 10), "delayLevel": "-1", "rmq": "1", "delivery": "1"}, nil)
	}
	var l remoting.DeadLetterList
	r := w.Led(remoting.DeadLetters, fields{"group": "g", "op": "redrive", "rmq": "1"}, nil)
	require.Equal(t, remoting.OK, r.Code, r.Remark)
	require.NoError(t, remoting.DecodeBody(r.Body, &l))
	require.Equal(t, 2, l.Done)
}

// A dead letter comes again as its topic's, also one that a client sent to the retry topic
// without its name; one whose properties have no room for the name stays, which is said, and
// keeps none of the others back.
func TestADeadLetterComesAgainAsItsTopics(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	topic := strings.Repeat("t", 100)
	c.createTopic(t, with(topicOf(topic, 1), "partitions", "1"))
	slot := c.of(0, topic).Slot
	w := DialWire(t, c.listener(0, slot), remoting.Binary)
	bury := func(body string, size int) {
		key := "k\x01"
		r := w.put(with(sendShort(topic, 0), "i", key+strings.Repeat("v", size-len(key)-1)+"\x02"), []byte(body))
		rec := Records(t, w.OK(remoting.PullMessage, with(pullOf(topic, 0, num(t, r, "queueOffset")), "maxMsgNums", "1"), nil).Body)[0]
		w.sure(remoting.ConsumerSendMessageBack, fields{"group": "g", "offset": strconv.FormatInt(rec.PhysicalOffset(), 10), "delayLevel": "-1", "rmq": "1", "delivery": "1"}, nil)
	}
	unique := len(message.PropUniqueKey) + 2 + 32 // which the node adds
	bury("no room", message.MaxProperties-unique)
	bury("room", 1000)
	w.put(with(sendShort(message.RetryTopic("g"), 0), "j", "16"), []byte("nameless"))
	cl := c.Client()
	all, err := cl.Admin().DeadLetters(t.Context(), "g", 0)
	require.NoError(t, err)
	require.Len(t, all, 3)
	for _, name := range []string{all[0].Name, ""} {
		n, err := cl.Admin().Redrive(t.Context(), "g", name, 0)
		require.ErrorIs(t, err, client.ErrTooLarge, "one stays")
		require.Equal(t, map[bool]int{true: 2, false: 0}[name == ""], n)
	}
	for i, rec := range Records(t, w.OK(remoting.PullMessage, pullOf(message.RetryTopic("g"), 0, 0), nil).Body) {
		name, _ := rec.Property(message.PropRetryTopic)
		require.Equal(t, []string{topic, []string{"room", "nameless"}[i]}, []string{name, string(rec.Body())})
	}
	all, err = cl.Admin().DeadLetters(t.Context(), "g", 0)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "no room", string(all[0].Message.Body))
}

func namesOf(letters []client.DeadLetterInfo) (names []string) {
	for _, l := range letters {
		names = append(names, l.Name)
	}
	return names
}
