package mqtest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/remoting"
)

// Every request code, asked as a stock client asks it, of every node and in both
// serialisations, against what RocketMQ answers.
func TestEveryCodeIsAnsweredAsRocketMQAnswersIt(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 2))
	c.createTopic(t, with(topicOf("one", 1), "partitions", "1"))
	c.createTopic(t, with(topicOf("readonly", 1), "perm", "4"))
	c.createTopic(t, with(topicOf("writeonly", 1), "perm", "2"))
	for _, part := range []struct {
		name string
		test func(*testing.T, *Cluster)
	}{
		{"refusals", wireRefusals}, {"send", wireSend}, {"pull", wirePull}, {"hold", wireHold}, {"offsets", wireOffsets}, {"messages", wireMessages},
		{"locks", wireLocks}, {"clients", wireClients}, {"routes", wireRoutes}, {"topics", wireTopics}, {"groups", wireGroups},
		{"values", wireValues}, {"reset", wireReset}, {"closing", wireClosing},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, c) })
	}
}

// A refusal leaves the connection as it was.
func wireRefusals(t *testing.T, c *Cluster) {
	long := strings.Repeat("x", 128)
	queue := fields{"topic": "t", "queueId": "0"}
	group := fields{"consumerGroup": "g", "topic": "t", "queueId": "0"}
	commit := with(group, "commitOffset", "0")
	search := with(queue, "timestamp", "0")
	key := fields{"topic": "t", "key": "k1", "maxNum": "1", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	reset := fields{"topic": "t", "group": "g", "timestamp": "-1", "isForce": "true"}
	kv := fields{"namespace": "n", "key": "k", "value": "v"}
	big := make([]byte, message.MaxBody+1)
	text := func(s string) []byte { return []byte(s) }

	type row struct {
		name string
		code remoting.Code
		ext  fields
		body []byte
		want remoting.Code
	}
	rows := []row{
		{"unknown code", 9999, nil, nil, remoting.RequestCodeNotSupported},
		{"a code between nodes", 9001, fields{"group": "g", "topics": "t"}, nil, remoting.RequestCodeNotSupported},
		{"a code between nodes", 9002, fields{"group": "g", "partition": "1"}, nil, remoting.RequestCodeNotSupported},
		{"server to client", remoting.ResetConsumerClientOffset, reset, nil, remoting.RequestCodeNotSupported},
		{"a setting while it runs", remoting.UpdateBrokerConfig, nil, []byte("deleteWhen=05"), remoting.RequestCodeNotSupported},
		{"settings of a name server", 319, nil, nil, remoting.RequestCodeNotSupported},
		{"a broker name without writes", remoting.WipeWritePermOfBroker, fields{"brokerName": "raftmq-0"}, nil, remoting.RequestCodeNotSupported},
		{"what nobody counts", remoting.ViewBrokerStats, fields{"statsName": "TOPIC_PUT_SIZE", "statsKey": "t"}, nil, remoting.SystemError},
		{"figures of no topic", remoting.ViewBrokerStats, fields{"statsName": "TOPIC_PUT_NUMS", "statsKey": "none"}, nil, remoting.SystemError},
		{"times of no topic", remoting.QueryConsumeTimeSpan, fields{"topic": "none", "group": "g"}, nil, remoting.TopicNotExist},
		{"places in no topic", remoting.QueryConsumeQueue, with(queue, "topic", "none", "index", "0", "count", "1"), nil, remoting.TopicNotExist},
		{"places in a queue beyond", remoting.QueryConsumeQueue, with(queue, "queueId", "2", "index", "0", "count", "1"), nil, remoting.InvalidParameter},
		{"topics of nobody", remoting.QueryTopicsByConsumer, fields{"group": "nobody"}, nil, remoting.SubscriptionGroupNotExist},
		{"how nobody fares", remoting.GetConsumerRunningInfo, fields{"consumerGroup": "g", "clientId": "nobody"}, nil, remoting.SystemError},
		{"have nobody consume", remoting.ConsumeMessageDirectly, fields{"consumerGroup": "g", "clientId": "nobody", "msgId": "x"}, nil, remoting.InvalidParameter},

		{"route of no topic", remoting.GetRouteByTopic, fields{"topic": "none"}, nil, remoting.TopicNotExist},
		{"pull of no topic", remoting.PullMessage, pullOf("none", 0, 0), nil, remoting.TopicNotExist},
		{"pull of a queue beyond", remoting.PullMessage, pullOf("t", 2, 0), nil, remoting.InvalidParameter},
		{"pull of a queue below", remoting.PullMessage, pullOf("t", -1, 0), nil, remoting.InvalidParameter},
		{"pull where nobody may read", remoting.PullMessage, pullOf("writeonly", 0, 0), nil, remoting.NoPermission},
		{"pull by a filter that cannot be read", remoting.PullMessage, with(pullOf("t", 0, 0), "expressionType", "SQL92"), nil, remoting.SubscriptionParseFailed},
		{"pull by a kind of filter that is none", remoting.PullMessage, with(pullOf("t", 0, 0), "expressionType", "CLASS"), nil, remoting.SubscriptionParseFailed},
		{"check of no subscription", remoting.CheckClientConfig, nil, nil, remoting.InvalidParameter},
		{"pull of a group nobody is in", remoting.PullMessage, with(pullOf("t", 0, 0), "sysFlag", "0", "consumerGroup", "nobody"), nil, remoting.SubscriptionNotExist},

		{"offset of no topic", remoting.QueryConsumerOffset, with(group, "topic", "none"), nil, remoting.TopicNotExist},
		{"offset of a queue beyond", remoting.QueryConsumerOffset, with(group, "queueId", "2"), nil, remoting.InvalidParameter},
		{"offset never committed", remoting.QueryConsumerOffset, with(group, "consumerGroup", "never"), nil, remoting.QueryNotFound},
		{"commit to no topic", remoting.UpdateConsumerOffset, with(commit, "topic", "none"), nil, remoting.TopicNotExist},
		{"commit to a queue beyond", remoting.UpdateConsumerOffset, with(commit, "queueId", "2"), nil, remoting.InvalidParameter},
		{"commit below zero", remoting.UpdateConsumerOffset, with(commit, "commitOffset", "-1"), nil, remoting.InvalidParameter},
		{"commit beyond the end", remoting.UpdateConsumerOffset, with(commit, "commitOffset", "1000000"), nil, remoting.InvalidParameter},
		{"commit of an illegal group", remoting.UpdateConsumerOffset, with(commit, "consumerGroup", "a b"), nil, remoting.InvalidParameter},
		{"end of no topic", remoting.GetMaxOffset, with(queue, "topic", "none"), nil, remoting.TopicNotExist},
		{"end of a queue beyond", remoting.GetMaxOffset, with(queue, "queueId", "2"), nil, remoting.InvalidParameter},
		{"begin of no topic", remoting.GetMinOffset, with(queue, "topic", "none"), nil, remoting.TopicNotExist},
		{"begin of a queue below", remoting.GetMinOffset, with(queue, "queueId", "-1"), nil, remoting.InvalidParameter},
		{"time of no topic", remoting.GetEarliestMessageTime, with(queue, "topic", "none"), nil, remoting.TopicNotExist},
		{"search in no topic", remoting.SearchOffsetByTimestamp, with(search, "topic", "none"), nil, remoting.TopicNotExist},
		{"search by no boundary", remoting.SearchOffsetByTimestamp, with(search, "boundaryType", "MIDDLE"), nil, remoting.InvalidParameter},

		{"decision of no group", remoting.EndTransaction, fields{"tranStateTableOffset": "0", "commitLogOffset": "1", "commitOrRollback": "8"}, nil, remoting.InvalidParameter},
		{"decision that is none", remoting.EndTransaction, fields{"producerGroup": "p", "tranStateTableOffset": "0", "commitLogOffset": "1", "commitOrRollback": "4"}, nil, remoting.InvalidParameter},
		{"decision about nothing", remoting.EndTransaction, fields{"producerGroup": "p", "tranStateTableOffset": "0", "commitLogOffset": "1", "commitOrRollback": "8"}, nil, remoting.NoTransaction},
		{"decision in no slot", remoting.EndTransaction, fields{"producerGroup": "p", "tranStateTableOffset": "9223372036854775807", "commitLogOffset": "1", "commitOrRollback": "12"}, nil, remoting.NoTransaction},
		{"transactions of no topic", remoting.ListTransactions, fields{"topic": "none"}, nil, remoting.TopicNotExist},
		{"transactions of what", remoting.ListTransactions, nil, nil, remoting.InvalidParameter},

		{"delay that is no number", remoting.SendMessageV2, with(sendShort("t", 0), "i", "DELAY\x01x\x02"), text("x"), remoting.MessageIllegal},
		{"time that is no number", remoting.SendMessageV2, with(sendShort("t", 0), "i", "TIMER_DELIVER_MS\x011e9\x02"), text("x"), remoting.MessageIllegal},
		{"time that runs over", remoting.SendMessageV2, with(sendShort("t", 0), "i", "TIMER_DELAY_SEC\x019223372036854775807\x02"), text("x"), remoting.MessageIllegal},
		{"recall of what is no handle", remoting.RecallMessage, fields{"topic": "t", "recallHandle": "x"}, nil, remoting.IllegalOperation},
		{"recall in another topic", remoting.RecallMessage, fields{"topic": "u", "recallHandle": "djEgdCByYWZ0bXEtMCA5IGsgNjQ="}, nil, remoting.IllegalOperation},
		{"recall of nothing", remoting.RecallMessage, fields{"topic": "t", "recallHandle": "djEgdCByYWZ0bXEtMCA5MDAwMDAwMDAwMDAwIGsgNjQ="}, nil, remoting.QueryNotFound},
		{"timers of no topic", remoting.ListTimers, fields{"topic": "none"}, nil, remoting.TopicNotExist},
		{"dead letters of nobody", remoting.DeadLetters, fields{"group": "nobody", "op": "list"}, nil, remoting.SubscriptionGroupNotExist},
		{"dead letters from nowhere", remoting.DeadLetters, fields{"group": "g", "op": "list", "from": "0-1"}, nil, remoting.InvalidParameter},
		{"dead letters to be dropped from a place on", remoting.DeadLetters, fields{"group": "g", "op": "purge", "from": "0-0-1"}, nil, remoting.InvalidParameter},
		{"dead letters and what else", remoting.DeadLetters, fields{"group": "g", "op": "eat"}, nil, remoting.InvalidParameter},
		{"send to dead letters", remoting.SendMessageV2, sendShort("%DLQ%g", 0), text("x"), remoting.NoPermission},
		{"no message there", remoting.ViewMessageByID, fields{"offset": "9223372036854775807"}, nil, remoting.SystemError},
		{"message below zero", remoting.ViewMessageByID, fields{"offset": "-1"}, nil, remoting.InvalidParameter},
		{"key in no topic", remoting.QueryMessage, with(key, "topic", "none"), nil, remoting.TopicNotExist},
		{"key nobody has", remoting.QueryMessage, with(key, "key", "nobody"), nil, remoting.QueryNotFound},
		{"no messages asked", remoting.QueryMessage, with(key, "maxNum", "0"), nil, remoting.InvalidParameter},

		{"heartbeat without a client", remoting.Heartbeat, nil, text(`{"consumerDataSet":[]}`), remoting.InvalidParameter},
		{"heartbeat of an illegal group", remoting.Heartbeat, nil, heartbeatOf("c", "a b", "t"), remoting.InvalidParameter},
		{"heartbeat of a long group", remoting.Heartbeat, nil, heartbeatOf("c", long, "t"), remoting.InvalidParameter},
		{"members of nobody", remoting.GetConsumerListByGroup, fields{"consumerGroup": "nobody"}, nil, remoting.SystemError},
		{"connections of nobody", remoting.GetConsumerConnectionList, fields{"consumerGroup": "nobody"}, nil, remoting.ConsumerNotOnline},
		{"producers of nobody", remoting.GetProducerConnectionList, fields{"producerGroup": "nobody"}, nil, remoting.SystemError},
		{"lock without a client", remoting.LockBatchMQ, nil, text(`{"consumerGroup":"g","mqSet":[]}`), remoting.InvalidParameter},
		{"lock of an illegal group", remoting.LockBatchMQ, nil, lockOf("c", "a b"), remoting.InvalidParameter},
		{"unlock of an illegal group", remoting.UnlockBatchMQ, nil, lockOf("c", "a b"), remoting.InvalidParameter},

		{"topic with an illegal name", remoting.UpdateAndCreateTopic, topicOf("a b", 1), nil, remoting.InvalidParameter},
		{"topic with a long name", remoting.UpdateAndCreateTopic, topicOf(long, 1), nil, remoting.InvalidParameter},
		{"topic of the broker's", remoting.UpdateAndCreateTopic, topicOf("TBW102", 1), nil, remoting.InvalidParameter},
		{"topic of a group's", remoting.UpdateAndCreateTopic, topicOf("%RETRY%g", 1), nil, remoting.InvalidParameter},
		{"topic without queues", remoting.UpdateAndCreateTopic, topicOf("fine", 0), nil, remoting.InvalidParameter},
		{"topic with too many queues", remoting.UpdateAndCreateTopic, topicOf("fine", 1025), nil, remoting.InvalidParameter},
		{"topic in more slots than there are", remoting.UpdateAndCreateTopic, with(topicOf("fine", 1), "partitions", "4"), nil, remoting.InvalidParameter},
		{"topic that is in fewer slots", remoting.UpdateAndCreateTopic, with(topicOf("t", 2), "partitions", "1"), nil, remoting.TopicExistAlready},
		{"topic with a wrong filter", remoting.UpdateAndCreateTopic, with(topicOf("fine", 1), "topicFilterType", "X"), nil, remoting.InvalidParameter},
		{"topic with a wrong permission", remoting.UpdateAndCreateTopic, with(topicOf("fine", 1), "perm", "16"), nil, remoting.InvalidParameter},
		{"topic with an attribute that is neither set nor unset", remoting.UpdateAndCreateTopic, with(topicOf("fine", 1), "attributes", "message.type=FIFO"), nil, remoting.InvalidParameter},
		{"deletion of the broker's topic", remoting.DeleteTopicInBroker, fields{"topic": "TBW102"}, nil, remoting.InvalidParameter},
		{"deletion of the broker's topic", remoting.DeleteTopicInNS, fields{"topic": "rmq_sys_x"}, nil, remoting.InvalidParameter},
		{"settings of no topic", remoting.GetTopicConfig, fields{"topic": "none"}, nil, remoting.TopicNotExist},
		{"figures of no topic", remoting.GetTopicStats, fields{"topic": "none"}, nil, remoting.TopicNotExist},
		{"group with an illegal name", remoting.UpdateSubscriptionGroup, nil, text(`{"groupName":"a b"}`), remoting.InvalidParameter},
		{"group without a name", remoting.UpdateSubscriptionGroup, nil, text(`{}`), remoting.InvalidParameter},
		{"settings of no group", remoting.GetSubscriptionGroup, fields{"group": "none"}, nil, remoting.SubscriptionGroupNotExist},
		{"figures of no group", remoting.GetConsumeStats, fields{"consumerGroup": "none"}, nil, remoting.SubscriptionGroupNotExist},
		{"value nobody put", remoting.GetKVConfig, fields{"namespace": "n", "key": "nobody"}, nil, remoting.QueryNotFound},
		{"values nobody put", remoting.GetKVListByNamespace, fields{"namespace": "nobody"}, nil, remoting.QueryNotFound},
		{"reset in no topic", remoting.InvokeBrokerToResetOffset, with(reset, "topic", "none"), nil, remoting.TopicNotExist},
		{"reset of an illegal group", remoting.InvokeBrokerToResetOffset, with(reset, "group", "a b"), nil, remoting.InvalidParameter},
		{"reset of a queue beyond", remoting.InvokeBrokerToResetOffset, with(reset, "queueId", "2"), nil, remoting.InvalidParameter},
	}
	for _, x := range []struct {
		code    remoting.Code
		ext     func(string, int) fields
		names   []string // topic, queue, sysFlag, properties, default topic
		wrapped bool
	}{
		{remoting.SendMessage, sendLong, []string{"topic", "queueId", "sysFlag", "properties", "defaultTopic"}, false},
		{remoting.SendMessageV2, sendShort, []string{"b", "e", "f", "i", "c"}, false},
		{remoting.SendBatchMessage, sendShort, []string{"b", "e", "f", "i", "c"}, true},
	} {
		good, n := x.ext("t", 0), x.names
		wrap := func(props string, body []byte) []byte {
			if x.wrapped {
				return message.AppendBatchMessage(nil, message.BatchMessage{Body: body, Properties: props})
			}
			return body
		}
		body := wrap("", text("b"))
		props := func(p string) (fields, []byte) { return with(good, n[3], p), wrap(p, text("b")) }
		rows = append(rows,
			row{"to no topic", x.code, with(good, n[0], "none", n[4], "-"), body, remoting.TopicNotExist},
			row{"to an illegal name", x.code, with(good, n[0], "a b"), body, remoting.InvalidParameter},
			row{"to a long name", x.code, with(good, n[0], long), body, remoting.InvalidParameter},
			row{"to the broker's topic", x.code, with(good, n[0], "SCHEDULE_TOPIC_XXXX"), body, remoting.NoPermission},
			row{"to the retry topic of nobody", x.code, with(good, n[0], "%RETRY%nobody"), body, remoting.SubscriptionGroupNotExist},
			row{"where nobody may write", x.code, x.ext("readonly", 0), body, remoting.NoPermission},
			row{"to a queue beyond", x.code, with(good, n[1], "2"), body, remoting.InvalidParameter},
			row{"of a transaction that is decided", x.code, with(good, n[2], "8"), body, remoting.MessageIllegal},
			row{"of a body above the limit", x.code, good, wrap("", big), remoting.MessageIllegal},
		)
		for name, p := range map[string]string{"with a delay that is no number": "DELAY\x01x\x02", "with a time that is no number": "TIMER_DELAY_MS\x015s\x02", "prepared and delayed": "TRAN_MSG\x01true\x02DELAY\x013\x02", "with long properties": "k\x01" + strings.Repeat("v", 32767)} {
			ext, b := props(p)
			if x.wrapped && len(p) > 32767 {
				continue // the layout has no room for them
			}
			rows = append(rows, row{name, x.code, ext, b, remoting.MessageIllegal})
		}
		if x.wrapped {
			rows = append(rows, row{"of a batch that is delayed", x.code, with(good, n[3], "DELAY\x013\x02"), body, remoting.MessageIllegal})
		}
		if x.code == remoting.SendBatchMessage || x.wrapped {
			rows = append(rows, row{"of a batch that is a transaction", x.code, with(good, n[2], "4"), body, remoting.MessageIllegal})
		}
		for _, pid := range []fields{{"pid": "zz"}, {"pid": strings.Repeat("a", 32), "pep": "x", "seq": "0"}, {"pid": strings.Repeat("a", 32), "pep": "0", "seq": "-1"}} {
			ext := with(good)
			for k, v := range pid {
				ext[k] = v
			}
			rows = append(rows, row{"by a producer that cannot be", x.code, ext, body, remoting.InvalidParameter})
		}
	}
	for _, b := range [][]byte{nil, text("x"), make([]byte, 22), message.AppendBatchMessage(nil, message.BatchMessage{Body: text("x")})[:20]} {
		rows = append(rows, row{"of a batch that is none", remoting.SendBatchMessage, sendShort("t", 0), b, remoting.MessageIllegal})
	}
	for _, code := range []remoting.Code{remoting.Heartbeat, remoting.LockBatchMQ, remoting.UnlockBatchMQ, remoting.UpdateSubscriptionGroup} {
		for _, b := range []string{"", "{", "[]", `"x"`, "\x00\xff", strings.Repeat("[", 20000)} {
			rows = append(rows, row{"of a malformed body", code, nil, text(b), remoting.InvalidParameter})
		}
	}
	// Every required field: missing; and what must be a number: not one, too large.
	for _, x := range []struct {
		code           remoting.Code
		ext            fields
		texts, numbers string
	}{
		{remoting.SendMessage, sendLong("t", 0), "producerGroup topic", "queueId sysFlag bornTimestamp flag"},
		{remoting.SendMessageV2, sendShort("t", 0), "a b", "e f g h"},
		{remoting.SendBatchMessage, sendShort("t", 0), "a b", "e f g h"},
		{remoting.PullMessage, pullOf("t", 0, 0), "consumerGroup topic", "queueId queueOffset maxMsgNums sysFlag commitOffset suspendTimeoutMillis subVersion"},
		{remoting.LitePullMessage, pullOf("t", 0, 0), "consumerGroup topic", "queueId queueOffset"},
		{remoting.QueryConsumerOffset, group, "consumerGroup topic", "queueId"},
		{remoting.UpdateConsumerOffset, commit, "consumerGroup topic", "queueId commitOffset"},
		{remoting.GetMaxOffset, queue, "topic", "queueId"},
		{remoting.GetMinOffset, queue, "topic", "queueId"},
		{remoting.GetEarliestMessageTime, queue, "topic", "queueId"},
		{remoting.SearchOffsetByTimestamp, search, "topic", "queueId timestamp"},
		{remoting.ViewMessageByID, fields{"offset": "0"}, "", "offset"},
		{remoting.QueryMessage, key, "topic key", "maxNum beginTimestamp endTimestamp"},
		{remoting.UnregisterClient, fields{"clientID": "c"}, "clientID", ""},
		{remoting.GetConsumerListByGroup, fields{"consumerGroup": "g"}, "consumerGroup", ""},
		{remoting.GetConsumerConnectionList, fields{"consumerGroup": "g"}, "consumerGroup", ""},
		{remoting.GetProducerConnectionList, fields{"producerGroup": "g"}, "producerGroup", ""},
		{remoting.GetRouteByTopic, fields{"topic": "t"}, "topic", ""},
		{remoting.UpdateAndCreateTopic, topicOf("fine", 1), "topic", "readQueueNums writeQueueNums perm"},
		{remoting.DeleteTopicInBroker, fields{"topic": "fine"}, "topic", ""},
		{remoting.DeleteTopicInNS, fields{"topic": "fine"}, "topic", ""},
		{remoting.GetTopicConfig, fields{"topic": "t"}, "topic", ""},
		{remoting.GetTopicStats, fields{"topic": "t"}, "topic", ""},
		{remoting.QueryTopicConsumeByWho, fields{"topic": "t"}, "topic", ""},
		{remoting.GetSubscriptionGroup, fields{"group": "g"}, "group", ""},
		{remoting.DeleteSubscriptionGroup, fields{"groupName": "fine"}, "groupName", ""},
		{remoting.GetConsumeStats, fields{"consumerGroup": "g"}, "consumerGroup", ""},
		{remoting.InvokeBrokerToResetOffset, reset, "topic group", "timestamp"},
		{remoting.PutKVConfig, kv, "namespace key value", ""},
		{remoting.GetKVConfig, kv, "namespace key", ""},
		{remoting.DeleteKVConfig, kv, "namespace key", ""},
		{remoting.GetKVListByNamespace, kv, "namespace", ""},
		{remoting.ViewBrokerStats, fields{"statsName": "TOPIC_PUT_NUMS", "statsKey": "t"}, "statsName statsKey", ""},
		{remoting.QueryConsumeTimeSpan, fields{"topic": "t", "group": "g"}, "topic group", ""},
		{remoting.QueryConsumeQueue, with(queue, "index", "0", "count", "1"), "topic", "queueId index count"},
		{remoting.QueryTopicsByConsumer, fields{"group": "g"}, "group", ""},
		{remoting.QuerySubscriptionOfGroup, fields{"topic": "t", "group": "g"}, "topic group", ""},
		{remoting.GetConsumerRunningInfo, fields{"consumerGroup": "g", "clientId": "c"}, "consumerGroup clientId", ""},
	} {
		for _, f := range strings.Fields(x.texts + " " + x.numbers) {
			rows = append(rows, row{"without " + f, x.code, with(x.ext, f, "-"), nil, remoting.InvalidParameter})
		}
		for _, f := range strings.Fields(x.numbers) {
			for _, v := range []string{"one", "", "1.5", "99999999999999999999"} {
				rows = append(rows, row{f + " " + strconv.Quote(v), x.code, with(x.ext, f, v), nil, remoting.InvalidParameter})
			}
		}
	}
	c.each(t, 0, func(t *testing.T, w *Wire) {
		for _, x := range rows {
			r := w.Led(x.code, x.ext, x.body)
			if r.Code != x.want {
				t.Errorf("code %d, %s: %d %q, want %d", x.code, x.name, r.Code, r.Remark, x.want)
			}
			if r.Remark == "" {
				t.Errorf("code %d, %s: no remark", x.code, x.name)
			}
		}
	})
	stats := statsOf(t, DialWire(t, c.listener(0, 0), 0), "t")
	for q, o := range stats {
		require.Equal(t, o.MinOffset, o.MaxOffset, "something refused is in %v", q)
	}
}

func statsOf(t *testing.T, w *Wire, topic string) map[remoting.MessageQueue]remoting.TopicOffset {
	t.Helper()
	var s remoting.TopicStats
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicStats, fields{"topic": topic}, nil).Body, &s))
	return s.OffsetTable
}

// 10, 310, 320: the receipt names the message, which can be read anywhere.
func wireSend(t *testing.T, c *Cluster) {
	c.each(t, 1, func(t *testing.T, w *Wire) {
		last := int64(-1)
		for _, code := range []remoting.Code{remoting.SendMessage, remoting.SendMessageV2, remoting.SendBatchMessage} {
			ext, body, n := sendShort("t", 1), []byte("body"), 1
			switch code {
			case remoting.SendMessage:
				ext = sendLong("t", 1)
			case remoting.SendBatchMessage:
				ext["m"] = "true"
				body, n = nil, 3
				for i := range n {
					body = message.AppendBatchMessage(body, message.BatchMessage{Flag: 7, Body: []byte("body"), Properties: fmt.Sprintf("KEYS\x01b%d\x02TAGS\x01tag\x02", i)})
				}
			}
			r := w.OK(code, ext, body)
			require.EqualValues(t, 1, num(t, r, "queueId"))
			require.Equal(t, "DefaultRegion", r.Ext["MSG_REGION"])
			require.Equal(t, "true", r.Ext["TRACE_ON"])
			require.Len(t, r.Ext["transactionId"], 32)
			first := num(t, r, "queueOffset")
			require.Greater(t, first, last, "offsets of one queue only grow")
			last = first + int64(n) - 1
			ids := strings.Split(r.Ext["msgId"], ",")
			require.Len(t, ids, n)
			rs := Records(t, w.OK(remoting.PullMessage, with(pullOf("t", 1, first), "maxMsgNums", strconv.Itoa(n)), nil).Body)
			require.Len(t, rs, n)
			for i, rec := range rs {
				require.Equal(t, "body", string(rec.Body()))
				require.Equal(t, "t", rec.Topic())
				require.EqualValues(t, 1, rec.QueueID())
				require.EqualValues(t, 7, rec.Flag())
				require.EqualValues(t, 1700000000000, rec.BornTimestamp())
				require.EqualValues(t, first+int64(i), rec.QueueOffset())
				tag, _ := rec.Property("TAGS")
				require.Equal(t, "tag", tag)
				region, _ := rec.Property("MSG_REGION")
				trace, _ := rec.Property("TRACE_ON")
				if code == remoting.SendBatchMessage {
					require.Empty(t, region+trace, "RocketMQ's broker leaves the properties inside a batch alone")
				} else {
					require.Equal(t, []string{"DefaultRegion", "true"}, []string{region, trace}, "Java's consumers trace no message without a region")
				}
				key, ok := rec.Property("UNIQ_KEY")
				require.True(t, ok)
				if i == 0 {
					require.Equal(t, r.Ext["transactionId"], key)
				}
				_, err := hex.DecodeString(ids[i])
				require.NoError(t, err)
				require.Equal(t, strings.ToUpper(ids[i]), ids[i])
				host, physical, err := message.ParseOffsetID(ids[i])
				require.NoError(t, err)
				require.Equal(t, rec.PhysicalOffset(), physical)
				// The host is one of the slot's listeners, dialled by whoever looks the id up.
				require.Contains(t, []string{c.listener(0, 1), c.listener(1, 1), c.listener(2, 1)}, host.String())
				require.Equal(t, host, rec.StoreHost())
				seen := DialWire(t, host.String(), w.serial).OK(remoting.ViewMessageByID, fields{"offset": strconv.FormatInt(physical, 10)}, nil)
				require.Equal(t, []byte(rec), seen.Body)
			}
		}
		// One with a key of its own keeps it; a negative queue is the broker's choice.
		r := w.OK(remoting.SendMessageV2, with(sendShort("t", -1), "i", "UNIQ_KEY\x01MINE\x02"), []byte("x"))
		require.Equal(t, "MINE", r.Ext["transactionId"])
		require.Less(t, num(t, r, "queueId"), int64(2))
		// One-way: stored, never answered.
		end := num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil), "offset")
		w.Oneway(remoting.SendMessageV2, sendShort("t", 0), []byte("x"))
		c.until("a one-way send is stored", func() bool {
			return num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil), "offset") == end+1
		})
		require.Empty(t, w.early)
	})
	// A topic that is made by its first send has all the queues that the template's
	// route promised.
	for i := range c.Nodes {
		name := fmt.Sprintf("auto-%d", i)
		w := DialWire(t, c.listener(i, 2), remoting.JSON)
		w.OK(remoting.SendMessage, sendLong(name, 1), []byte("x"))
		require.Len(t, statsOf(t, w, name), 6)
	}
	// Our own clients' identity: the same message again is the same receipt.
	c.each(t, 0, func(t *testing.T, w *Wire) {
		id := fmt.Sprintf("%032x", w.nc.LocalAddr().String())[:32]
		mine := func(seq string) fields { return with(sendShort("t", 0), "pid", id, "pep", "0", "seq", seq, "ord", "1") }
		first := w.OK(remoting.SendMessageV2, mine("0"), []byte("x"))
		again := w.OK(remoting.SendMessageV2, mine("0"), []byte("x"))
		require.Equal(t, "1", again.Ext["dup"])
		for _, k := range []string{"msgId", "queueOffset", "transactionId"} {
			require.Equal(t, first.Ext[k], again.Ext[k])
		}
		require.Equal(t, remoting.SequenceGap, w.Led(remoting.SendMessageV2, mine("5"), []byte("x")).Code)
		require.Equal(t, remoting.UnknownProducer, w.Led(remoting.SendMessageV2, with(mine("5"), "pid", "f"+id[1:]), []byte("x")).Code)
		w.OK(remoting.SendMessageV2, with(mine("0"), "pep", "1"), []byte("x"))
		require.Equal(t, remoting.StaleEpoch, w.Led(remoting.SendMessageV2, mine("1"), []byte("x")).Code)
	})
}

// 11 and 361: what is there, what is not yet, what never was.
func wirePull(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("pull", 2))
	w := DialWire(t, c.listener(0, 0), 0)
	for i := range 40 {
		tag := []string{"odd", "even"}[i%2]
		w.put(with(sendShort("pull", 0), "i", "TAGS\x01"+tag+"\x02"), []byte{byte(i)})
	}
	type row struct {
		name     string
		ext      fields
		want     remoting.Code
		count    int
		next     int64
		min, max int64
	}
	rows := []row{
		{"all that fits", pullOf("pull", 0, 0), remoting.OK, 32, 32, 0, 40},
		{"from inside", pullOf("pull", 0, 35), remoting.OK, 5, 40, 0, 40},
		{"by number", with(pullOf("pull", 0, 0), "maxMsgNums", "3"), remoting.OK, 3, 3, 0, 40},
		{"by no number", with(pullOf("pull", 0, 0), "maxMsgNums", "-1"), remoting.OK, 32, 32, 0, 40},
		{"by bytes, one at least", with(pullOf("pull", 0, 0), "maxMsgBytes", "1"), remoting.OK, 1, 1, 0, 40},
		{"by tag", with(pullOf("pull", 0, 0), "subscription", "odd || none"), remoting.OK, 20, 39, 0, 40},
		{"all passed over", with(pullOf("pull", 0, 0), "subscription", "none"), remoting.PullRetryImmediately, 0, 40, 0, 40},
		{"at the end", pullOf("pull", 0, 40), remoting.PullNotFound, 0, 40, 0, 40},
		{"beyond the end", pullOf("pull", 0, 41), remoting.PullOffsetMoved, 0, 40, 0, 40},
		{"below the begin", pullOf("pull", 0, -1), remoting.PullOffsetMoved, 0, 0, 0, 40},
		{"of an empty queue", pullOf("pull", 1, 0), remoting.PullNotFound, 0, 0, 0, 0},
		{"of an empty queue, beyond", pullOf("pull", 1, 7), remoting.PullOffsetMoved, 0, 0, 0, 0},
	}
	for i := range c.Nodes { // so that any may answer for itself
		c.until("all replicas are even", func() bool {
			p, _ := c.replicaIn(i, "pull", 0)
			q, _ := c.replicaIn(c.leader("pull", 0), "pull", 0)
			return p.Applied == q.Applied
		})
	}
	n := 0
	c.each(t, 0, func(t *testing.T, w *Wire) {
		for _, x := range rows {
			for _, code := range []remoting.Code{remoting.PullMessage, remoting.LitePullMessage} {
				r := w.Led(code, x.ext, nil)
				for until := time.Now().Add(patience); r.Code == remoting.PullNotFound && r.Ext["maxOffset"] == "0" && (x.want != r.Code || x.max > 0) && time.Now().Before(until); {
					r = w.Led(code, x.ext, nil) // without a leader nothing is known of the queue
				}
				require.Equal(t, x.want, r.Code, "%s: %s", x.name, r.Remark)
				rs := Records(t, r.Body)
				require.Len(t, rs, x.count, x.name)
				require.GreaterOrEqual(t, num(t, r, "suggestWhichBrokerId"), int64(0), x.name)
				require.NotContains(t, r.Ext, "TRACE_ON", "RocketMQ's broker says it of sends only")
				require.Equal(t, x.min, num(t, r, "minOffset"), x.name)
				require.Equal(t, x.max, num(t, r, "maxOffset"), x.name)
				if x.name == "by tag" { // the last one examined may be any from the last that matched
					require.GreaterOrEqual(t, num(t, r, "nextBeginOffset"), x.next, x.name)
				} else {
					require.Equal(t, x.next, num(t, r, "nextBeginOffset"), x.name)
				}
			}
		}
		// Bit 1: the offset is committed on the way.
		n++
		group := fmt.Sprintf("puller-%d", n)
		w.OK(remoting.PullMessage, with(pullOf("pull", 0, 5), "sysFlag", "5", "commitOffset", "5", "consumerGroup", group), nil)
		c.until("the offset is committed", func() bool {
			r := w.Led(remoting.QueryConsumerOffset, fields{"consumerGroup": group, "topic": "pull", "queueId": "0"}, nil)
			return r.Code == remoting.OK && r.Ext["offset"] == "5"
		})
	})
}

// 11 with bit 2: held at the end until something comes, its time is up, or the
// node goes.
func wireHold(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("hold", 1))
	held := with(pullOf("hold", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "60000")
	c.each(t, 0, func(t *testing.T, w *Wire) {
		end := num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "hold", "queueId": "0"}, nil), "offset")
		at := with(held, "queueOffset", strconv.FormatInt(end, 10))
		waits := w.Send(remoting.PullMessage, at, nil)
		never := w.Send(remoting.PullMessage, with(at, "subscription", "other"), nil)
		soon := w.Send(remoting.PullMessage, with(at, "suspendTimeoutMillis", "20"), nil)
		// What is held keeps nothing behind it.
		r := w.Reply(soon)
		require.Equal(t, remoting.PullNotFound, r.Code)
		require.Equal(t, end, num(t, r, "nextBeginOffset"))
		require.Empty(t, w.early)
		w.put(sendShort("hold", 0), []byte("wake"))
		r = w.Reply(waits)
		require.Equal(t, remoting.OK, r.Code)
		require.Equal(t, "wake", string(Records(t, r.Body)[0].Body()))
		// What does not match does not wake, or says that it was passed over.
		if r := w.early[never]; r != nil {
			require.Equal(t, remoting.PullRetryImmediately, r.Code)
			require.Equal(t, end+1, num(t, r, "nextBeginOffset"))
		}
	})
	// A topic that is deleted lets go of who waits for it.
	for i := range c.Nodes {
		name := fmt.Sprintf("held-%d", i)
		c.createTopic(t, topicOf(name, 1))
		w := DialWire(t, c.listener(i, 0), 0)
		var waits []int32
		for range 100 {
			waits = append(waits, w.Send(remoting.PullMessage, with(held, "topic", name), nil))
		}
		other := DialWire(t, c.listener((i+1)%3, 0), 0)
		other.OK(remoting.DeleteTopicInBroker, fields{"topic": name}, nil)
		for _, o := range waits {
			require.Equal(t, remoting.TopicNotExist, w.Reply(o).Code)
		}
	}
}

// 14, 15, 29, 30, 31, 32.
func wireOffsets(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("offsets", 2))
	w := DialWire(t, c.listener(0, 0), 0)
	times := []int64{0}
	for range 3 {
		r := w.put(sendShort("offsets", 0), []byte("x"))
		rec := Records(t, w.OK(remoting.PullMessage, pullOf("offsets", 0, num(t, r, "queueOffset")), nil).Body)[0]
		times = append(times, rec.StoreTimestamp())
	}
	q := fields{"topic": "offsets", "queueId": "0"}
	empty := with(q, "queueId", "1")
	n := 0
	c.each(t, 0, func(t *testing.T, w *Wire) {
		get := func(code remoting.Code, ext fields, key string) int64 { return num(t, w.OK(code, ext, nil), key) }
		require.EqualValues(t, 3, get(remoting.GetMaxOffset, q, "offset"))
		require.EqualValues(t, 0, get(remoting.GetMinOffset, q, "offset"))
		require.EqualValues(t, 0, get(remoting.GetMaxOffset, empty, "offset"))
		require.Equal(t, times[1], get(remoting.GetEarliestMessageTime, q, "timestamp"))
		require.EqualValues(t, -1, get(remoting.GetEarliestMessageTime, empty, "timestamp"))
		at := func(ms int64, more ...string) fields {
			return with(with(q, "timestamp", strconv.FormatInt(ms, 10)), more...)
		}
		require.EqualValues(t, 0, get(remoting.SearchOffsetByTimestamp, at(0), "offset"), "before the first")
		require.EqualValues(t, 0, get(remoting.SearchOffsetByTimestamp, at(times[1]), "offset"))
		require.EqualValues(t, 3, get(remoting.SearchOffsetByTimestamp, at(times[3]+1), "offset"), "after the last")
		require.EqualValues(t, 2, get(remoting.SearchOffsetByTimestamp, at(times[3]+1, "boundaryType", "UPPER"), "offset"), "after the last")
		require.EqualValues(t, 0, get(remoting.SearchOffsetByTimestamp, at(0, "boundaryType", "UPPER"), "offset"), "before the first")
		require.EqualValues(t, 0, get(remoting.SearchOffsetByTimestamp, with(at(5), "queueId", "1"), "offset"), "an empty queue")

		n++
		group := with(q, "consumerGroup", fmt.Sprintf("o-%d", n))
		require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryConsumerOffset, group, nil).Code)
		w.OK(remoting.UpdateConsumerOffset, with(group, "commitOffset", "2"), nil)
		require.EqualValues(t, 2, get(remoting.QueryConsumerOffset, group, "offset"), "a commit that was answered is there")
		w.OK(remoting.UpdateConsumerOffset, with(group, "commitOffset", "1"), nil) // answered, and of no effect: it only raises
		require.EqualValues(t, 2, get(remoting.QueryConsumerOffset, group, "offset"))
		w.Oneway(remoting.UpdateConsumerOffset, with(group, "commitOffset", "3"), nil)
		c.until("a one-way commit is there", func() bool { return get(remoting.QueryConsumerOffset, group, "offset") == 3 })
		require.Empty(t, w.early)
		require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryConsumerOffset, with(group, "queueId", "1"), nil).Code, "another queue")
	})
}

// 12 and 33.
func wireMessages(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("keyed", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	for i := range 5 {
		w.put(with(sendShort("keyed", 0), "i", fmt.Sprintf("KEYS\x01same own%d\x02UNIQ_KEY\x01U%d\x02", i, i)), []byte{byte(i)})
	}
	ask := fields{"topic": "keyed", "key": "same", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	c.each(t, 0, func(t *testing.T, w *Wire) {
		found := func(ext fields) []message.Record {
			r := w.OK(remoting.QueryMessage, ext, nil)
			require.Positive(t, num(t, r, "indexLastUpdateTimestamp"))
			require.GreaterOrEqual(t, num(t, r, "indexLastUpdatePhyoffset"), int64(0))
			return Records(t, r.Body)
		}
		require.Len(t, found(ask), 5)
		require.Len(t, found(with(ask, "maxNum", "2")), 2)
		rs := found(with(ask, "key", "own3"))
		require.Len(t, rs, 1)
		require.Equal(t, []byte{3}, rs[0].Body())
		rs = found(with(ask, "key", "U4", "_UNIQUE_KEY_QUERY", "true"))
		require.Len(t, rs, 1)
		require.Equal(t, []byte{4}, rs[0].Body())
		require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryMessage, with(ask, "endTimestamp", "1"), nil).Code)
		// Java's clients take the begin out of the id, as far as there is a time in it.
		guessed := with(ask, "key", "U4", "beginTimestamp", "9999999999998", "endTimestamp", "9223372036854775807")
		require.Len(t, found(with(guessed, "_UNIQUE_KEY_QUERY", "true")), 1)
		require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryMessage, guessed, nil).Code)
		physical := strconv.FormatInt(rs[0].PhysicalOffset(), 10)
		require.Equal(t, []byte(rs[0]), w.OK(remoting.ViewMessageByID, fields{"offset": physical}, nil).Body)
		inside := strconv.FormatInt(rs[0].PhysicalOffset()+1, 10)
		require.Equal(t, remoting.SystemError, w.Led(remoting.ViewMessageByID, fields{"offset": inside}, nil).Code, "not where a message begins")
	})
	// A topic that has no partition in the slot has nothing there.
	for slot := range 3 {
		r := DialWire(t, c.listener(0, slot), 0).ask(remoting.QueryMessage, with(ask, "topic", "one"), nil)
		require.Equal(t, remoting.QueryNotFound, r.Code)
	}
	// A physical offset is a slot's: the name server's port cannot tell which.
	r := DialWire(t, c.Nodes[0].Addresses().NameServer, 0).ask(remoting.ViewMessageByID, fields{"offset": "8796093022208"}, nil)
	require.Equal(t, remoting.SystemError, r.Code)
}

// 41 and 42: a lock is one client's wherever it is asked for, and survives a
// leader.
func wireLocks(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("locked", 2))
	mq := func(slot int, id int32) remoting.MessageQueue {
		return remoting.MessageQueue{BrokerName: fmt.Sprintf("raftmq-%d", slot), QueueID: id, Topic: "locked"}
	}
	lock := func(w *Wire, client string, queues ...remoting.MessageQueue) []remoting.MessageQueue {
		w.t.Helper()
		var got remoting.LockReply
		require.NoError(w.t, remoting.DecodeBody(w.OK(remoting.LockBatchMQ, nil, lockOf(client, "lockers", queues...)).Body, &got))
		return got.LockOKMQSet
	}
	all := []remoting.MessageQueue{mq(0, 0), mq(0, 1), mq(1, 0), mq(2, 1)}
	first := DialWire(t, c.listener(0, 0), 0)
	granted := func(w *Wire, client string) { // without a leader nothing is
		w.t.Helper()
		var got []remoting.MessageQueue
		c.until("all are locked by "+client, func() bool { got = lock(w, client, all...); return len(got) >= len(all) })
		require.ElementsMatch(w.t, all, got)
	}
	granted(first, "a") // queues of several slots in one request
	c.each(t, 0, func(t *testing.T, w *Wire) {
		require.Empty(t, lock(w, "b", all...))
		granted(w, "a") // prolonged
		require.Empty(t, lock(w, "a", mq(0, 2), remoting.MessageQueue{BrokerName: "other", Topic: "locked"}, remoting.MessageQueue{BrokerName: "raftmq-0", Topic: "none"}), "no such queue")
		w.OK(remoting.UnlockBatchMQ, nil, lockOf("b", "lockers", all...)) // not b's to give back
		require.Empty(t, lock(w, "b", mq(0, 0)))
		// A commit without the lock is not taken.
		commit := fields{"consumerGroup": "lockers", "topic": "locked", "queueId": "0", "commitOffset": "0"}
		require.Equal(t, remoting.IllegalOperation, w.Led(remoting.UpdateConsumerOffset, commit, nil).Code)
	})
	first.OK(remoting.UnlockBatchMQ, nil, lockOf("a", "lockers", all...))
	c.each(t, 0, func(t *testing.T, w *Wire) {
		granted(w, "c")
		w.Oneway(remoting.UnlockBatchMQ, nil, lockOf("c", "lockers", mq(1, 0)))
		c.until("given back one-way", func() bool { return len(lock(w, "d", mq(1, 0))) == 1 })
		w.OK(remoting.UnlockBatchMQ, nil, lockOf("d", "lockers", mq(1, 0)))
		w.OK(remoting.UnlockBatchMQ, nil, lockOf("c", "lockers", all...))
		require.Empty(t, w.early)
	})
}

// 34, 35, 38, 40, 203, 204.
func wireClients(t *testing.T, c *Cluster) {
	ids := func(w *Wire, group string) []string {
		w.t.Helper()
		var l remoting.ConsumerList
		if r := w.Led(remoting.GetConsumerListByGroup, fields{"consumerGroup": group}, nil); r.Code == remoting.OK {
			require.NoError(w.t, remoting.DecodeBody(r.Body, &l))
		}
		return l.ConsumerIDList
	}
	for serial := range byte(2) {
		group := fmt.Sprintf("members-%d", serial)
		var all []*Wire
		for i := range c.Nodes {
			all = append(all, DialWire(t, c.listener(i, 0), serial))
		}
		all[0].OK(remoting.Heartbeat, nil, heartbeatOf("c0", group, "t"))
		require.Equal(t, []string{"c0"}, ids(all[0], group), "who asks is in its list at once")
		for i := 1; i < 3; i++ {
			all[i].OK(remoting.Heartbeat, nil, heartbeatOf(fmt.Sprintf("c%d", i), group, "t"))
			require.Contains(t, ids(all[i], group), fmt.Sprintf("c%d", i))
			n := all[0].waitPush(remoting.NotifyConsumerIDsChanged) // by another node's client
			require.Equal(t, group, n.Ext["consumerGroup"])
			require.True(t, n.IsOneway())
		}
		for _, w := range all {
			c.until("all members everywhere", func() bool { return slices.Equal(ids(w, group), []string{"c0", "c1", "c2"}) })
			var cc remoting.ConsumerConnection
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumerConnectionList, fields{"consumerGroup": group}, nil).Body, &cc))
			require.Len(t, cc.ConnectionSet, 3)
			require.Equal(t, "GO", cc.ConnectionSet[0].Language)
			require.EqualValues(t, 317, cc.ConnectionSet[0].Version)
			require.Equal(t, remoting.Clustering, cc.MessageModel)
			require.Equal(t, remoting.ConsumePassively, cc.ConsumeType)
			require.Equal(t, remoting.FromFirstOffset, cc.ConsumeFromWhere)
			require.Equal(t, "*", cc.SubscriptionTable["t"].SubString)
			var pc remoting.ProducerConnection
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetProducerConnectionList, fields{"producerGroup": "p-" + group}, nil).Body, &pc))
			require.Len(t, pc.ConnectionSet, 3)
			// A pull without bit 4 takes the subscription that the heartbeat gave, whichever node it goes to.
			r := w.Led(remoting.PullMessage, with(pullOf("t", 1, 0), "consumerGroup", group, "sysFlag", "0", "subscription", "", "subVersion", "1"), nil)
			require.NotContains(t, []remoting.Code{remoting.SubscriptionNotExist, remoting.SubscriptionNotLatest}, r.Code, r.Remark)
			r = w.Led(remoting.PullMessage, with(pullOf("t", 1, 0), "consumerGroup", group, "sysFlag", "0", "subVersion", "2"), nil)
			require.Equal(t, remoting.SubscriptionNotLatest, r.Code)
			r = w.Led(remoting.PullMessage, with(pullOf("one", 0, 0), "consumerGroup", group, "sysFlag", "0", "bname", slotWithOne(t, c)), nil)
			require.Equal(t, remoting.SubscriptionNotExist, r.Code)
		}
		// Heartbeat V2 leaves the subscriptions out and does not take them back.
		b := []byte(fmt.Sprintf(`{"clientID":"c1","consumerDataSet":[{"groupName":%q,"messageModel":"CLUSTERING"}],"heartbeatFingerprint":7,"withoutSub":true}`, group))
		all[1].OK(remoting.Heartbeat, nil, b)
		require.Equal(t, []string{"c0", "c1", "c2"}, ids(all[1], group))
		// 35 by one, a closed connection by another.
		all[1].OK(remoting.UnregisterClient, fields{"clientID": "c1", "consumerGroup": group, "producerGroup": "p-" + group}, nil)
		require.NotContains(t, ids(all[1], group), "c1")
		all[1].OK(remoting.UnregisterClient, fields{"clientID": "c1", "consumerGroup": group}, nil) // again
		all[2].nc.Close()
		c.until("only one is left", func() bool { return slices.Equal(ids(all[0], group), []string{"c0"}) })
		all[0].waitPush(remoting.NotifyConsumerIDsChanged)
	}
}

// slotWithOne is the broker name of the slot that the topic one is in.
func slotWithOne(t *testing.T, c *Cluster) string {
	t.Helper()
	var d remoting.TopicRouteData
	r := DialWire(t, c.Nodes[0].Addresses().NameServer, 0).OK(remoting.GetRouteByTopic, fields{"topic": "one"}, nil)
	require.NoError(t, remoting.DecodeBody(r.Body, &d))
	require.Len(t, d.QueueDatas, 1)
	return d.QueueDatas[0].BrokerName
}

// 105, 106 and 206, asked of brokers and name servers alike.
func wireRoutes(t *testing.T, c *Cluster) {
	route := func(t *testing.T, w *Wire, topic string) (d remoting.TopicRouteData) {
		t.Helper()
		body := w.OK(remoting.GetRouteByTopic, fields{"topic": topic}, nil).Body
		require.True(t, json.Valid(body))
		require.NotContains(t, string(body), ": ", "the stock Go client reads compact JSON only")
		require.NoError(t, remoting.DecodeBody(body, &d))
		return d
	}
	check := func(t *testing.T, w *Wire) {
		d := route(t, w, "t")
		require.Len(t, d.QueueDatas, 3)
		for i, q := range d.QueueDatas {
			require.Equal(t, remoting.QueueData{BrokerName: fmt.Sprintf("raftmq-%d", i), Perm: 6, ReadQueueNums: 2, WriteQueueNums: 2}, q)
		}
		require.Len(t, d.BrokerDatas, 3)
		var info remoting.ClusterInfo
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetBrokerClusterInfo, nil, nil).Body, &info))
		require.Equal(t, []string{"raftmq-0", "raftmq-1", "raftmq-2"}, []string(info.ClusterAddrTable[c.Name]))
		for slot, b := range d.BrokerDatas {
			require.Equal(t, c.Name, b.Cluster)
			for i := range c.Nodes {
				require.Equal(t, c.listener(i, slot), b.BrokerAddrs[int64(i+1)], "a node's stable id")
			}
			require.Contains(t, []string{c.listener(0, slot), c.listener(1, slot), c.listener(2, slot)}, b.BrokerAddrs[0])
			require.Equal(t, b.BrokerAddrs, info.BrokerAddrTable[b.BrokerName].BrokerAddrs)
		}
		require.EqualValues(t, 4, route(t, w, "readonly").QueueDatas[0].Perm)
		for _, q := range route(t, w, "TBW102").QueueDatas {
			require.EqualValues(t, 7, q.Perm)
		}
		var l remoting.TopicList
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetAllTopicListFromNS, nil, nil).Body, &l))
		for _, name := range []string{"t", "one", "readonly", "writeonly", "TBW102"} {
			require.Contains(t, []string(l.TopicList), name)
		}
	}
	c.each(t, 0, check)
	for i := range c.Nodes {
		check(t, DialWire(t, c.Nodes[i].Addresses().NameServer, 0))
	}
}

// 17, 21, 202, 215, 216, 351: made, changed and deleted through any node, and
// every other knows at once.
func wireTopics(t *testing.T, c *Cluster) {
	n := 0
	c.some(t, 0, func(t *testing.T, w *Wire) {
		n++
		name := fmt.Sprintf("made-%d", n)
		others := func(f func(w *Wire)) {
			for i := range c.Nodes {
				f(DialWire(t, c.listener(i, 1), w.serial))
			}
		}
		config := func(w *Wire) (tc remoting.TopicConfig) {
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": name}, nil).Body, &tc))
			return tc
		}
		spec := with(topicOf(name, 3), "partitions", "2", "attributes", "+message.type=FIFO,-x")
		w.OK(remoting.UpdateAndCreateTopic, spec, nil)
		others(func(w *Wire) {
			require.EqualValues(t, remoting.TopicConfig{TopicName: name, ReadQueueNums: 3, WriteQueueNums: 3, Perm: 6, TopicFilterType: "SINGLE_TAG", Attributes: fields{"message.type": "FIFO"}}, config(w))
			require.Len(t, statsOf(t, w, name), 6)
			w.OK(remoting.UpdateAndCreateTopic, spec, nil) // the same again is no error
		})
		w.OK(remoting.UpdateAndCreateTopic, with(topicOf(name, 4), "perm", "4", "order", "true"), nil)
		others(func(w *Wire) {
			tc := config(w)
			require.EqualValues(t, 4, tc.ReadQueueNums)
			require.EqualValues(t, 4, tc.Perm)
			require.True(t, tc.Order)
			require.Equal(t, fields{"message.type": "FIFO"}, fields(tc.Attributes), "what is not named stays")
			there := 0
			for slot := range 3 {
				var all remoting.TopicConfigTable
				require.NoError(t, remoting.DecodeBody(DialWire(t, c.listener(0, slot), w.serial).OK(remoting.GetAllTopicConfig, nil, nil).Body, &all))
				if one, ok := all.TopicConfigTable[name]; ok {
					require.EqualValues(t, tc, one)
					there++
				}
				require.Positive(t, all.DataVersion.Counter)
			}
			require.Equal(t, 2, there, "it has two partitions")
		})
		code := []remoting.Code{remoting.DeleteTopicInBroker, remoting.DeleteTopicInNS}[n%2]
		w.OK(code, fields{"topic": name}, nil)
		others(func(w *Wire) {
			require.Equal(t, remoting.TopicNotExist, w.Led(remoting.GetTopicConfig, fields{"topic": name}, nil).Code)
			require.Equal(t, remoting.TopicNotExist, w.Led(remoting.GetTopicStats, fields{"topic": name}, nil).Code)
			require.NotContains(t, string(w.OK(remoting.GetAllTopicListFromNS, nil, nil).Body), `"`+name+`"`)
			w.OK(code, fields{"topic": name}, nil) // gone already
			c.until("no route", func() bool {
				return w.Led(remoting.GetRouteByTopic, fields{"topic": name}, nil).Code == remoting.TopicNotExist
			})
			r := w.Led(remoting.SendMessageV2, with(sendShort(name, 0), "c", "-"), []byte("x"))
			require.Equal(t, remoting.TopicNotExist, r.Code)
		})
	})
}

// 200, 201, 207, 208, 300, 352.
func wireGroups(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("grouped", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	for range 3 {
		w.put(sendShort("grouped", 0), []byte("x"))
	}
	n := 0
	c.some(t, 0, func(t *testing.T, w *Wire) {
		n++
		name := fmt.Sprintf("made-%d", n)
		w.OK(remoting.UpdateSubscriptionGroup, nil, []byte(fmt.Sprintf(`{"groupName":%q,"retryMaxTimes":3,"consumeEnable":false}`, name)))
		for i := range c.Nodes {
			w := DialWire(t, c.listener(i, 1), w.serial)
			var g remoting.SubscriptionGroupConfig
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetSubscriptionGroup, fields{"group": name}, nil).Body, &g))
			require.EqualValues(t, 3, g.RetryMaxTimes)
			require.False(t, g.ConsumeEnable)
			require.True(t, g.ConsumeBroadcastEnable, "what is not named has RocketMQ's default")
			var all remoting.SubscriptionGroupTable
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetAllSubscriptionGroup, nil, nil).Body, &all))
			require.EqualValues(t, g, all.SubscriptionGroupTable[name])
		}
		// The group subscribes: its topics, its retry route and its offsets are known.
		member := DialWire(t, c.listener(n%3, 0), w.serial)
		member.OK(remoting.Heartbeat, nil, heartbeatOf("m", name, "grouped", "%RETRY%"+name))
		member.OK(remoting.UpdateConsumerOffset, fields{"consumerGroup": name, "topic": "grouped", "queueId": "0", "commitOffset": "2"}, nil)
		var s remoting.ConsumeStats
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumeStats, fields{"consumerGroup": name}, nil).Body, &s))
		require.Len(t, s.OffsetTable, 3)
		place := s.OffsetTable[remoting.MessageQueue{BrokerName: "raftmq-0", Topic: "grouped"}]
		require.Positive(t, place.LastTimestamp)
		place.LastTimestamp = 0
		require.Equal(t, remoting.OffsetWrapper{BrokerOffset: 3, ConsumerOffset: 2, PullOffset: 2}, place)
		require.Contains(t, string(w.OK(remoting.QueryTopicConsumeByWho, fields{"topic": "grouped"}, nil).Body), `"`+name+`"`)
		c.until("the retry topic has a route", func() bool {
			return w.Led(remoting.GetRouteByTopic, fields{"topic": "%RETRY%" + name}, nil).Code == remoting.OK
		})
		member.nc.Close()

		// Deleted: nothing is left of it, and one by the same name begins anew.
		w.OK(remoting.DeleteSubscriptionGroup, fields{"groupName": name, "cleanOffset": "true"}, nil)
		for i := range c.Nodes {
			w := DialWire(t, c.listener(i, 0), w.serial)
			require.Equal(t, remoting.SubscriptionGroupNotExist, w.Led(remoting.GetSubscriptionGroup, fields{"group": name}, nil).Code)
			require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryConsumerOffset, fields{"consumerGroup": name, "topic": "grouped", "queueId": "0"}, nil).Code)
		}
		w.OK(remoting.DeleteSubscriptionGroup, fields{"groupName": name}, nil) // gone already

		// The next one numbers its retry queues behind, and the old ones are empty for
		// ever, wherever they are asked for.
		retry := "%RETRY%" + name
		DialWire(t, c.listener(n%3, 0), w.serial).OK(remoting.Heartbeat, nil, heartbeatOf("m", name, "grouped"))
		pull := with(pullOf(retry, 0, 0), "consumerGroup", name)
		for i := range c.Nodes {
			w := DialWire(t, c.listener(i, 0), w.serial)
			require.Equal(t, remoting.PullNotFound, w.Led(remoting.PullMessage, with(pull, "sysFlag", "6", "suspendTimeoutMillis", "10"), nil).Code)
			require.Equal(t, remoting.PullOffsetMoved, w.Led(remoting.PullMessage, with(pull, "queueOffset", "1"), nil).Code)
			require.Equal(t, remoting.PullNotFound, w.Led(remoting.PullMessage, with(pull, "queueId", "1"), nil).Code, "the new one's")
			require.Equal(t, remoting.InvalidParameter, w.Led(remoting.PullMessage, with(pull, "queueId", "2"), nil).Code)
			q := fields{"consumerGroup": name, "topic": retry, "queueId": "0"}
			require.Equal(t, remoting.QueryNotFound, w.Led(remoting.QueryConsumerOffset, q, nil).Code)
			require.Equal(t, "0", w.OK(remoting.GetMaxOffset, q, nil).Ext["offset"])
			require.Equal(t, "-1", w.OK(remoting.GetEarliestMessageTime, q, nil).Ext["timestamp"])
			require.Equal(t, remoting.InvalidParameter, w.Led(remoting.UpdateConsumerOffset, with(q, "commitOffset", "0"), nil).Code)
		}
	})
}

// 100, 101, 102, 219.
func wireValues(t *testing.T, c *Cluster) {
	n := 0
	c.some(t, 0, func(t *testing.T, w *Wire) {
		n++
		key := fields{"namespace": fmt.Sprintf("ns%d", n), "key": "k"}
		for _, v := range []string{"v", "raftmq-0:4;raftmq-1:4", ""} {
			w.OK(remoting.PutKVConfig, with(key, "value", v), nil)
			for i := range c.Nodes {
				other := DialWire(t, c.Nodes[i].Addresses().NameServer, w.serial)
				require.Equal(t, v, other.OK(remoting.GetKVConfig, key, nil).Ext["value"])
				var all remoting.KVTable
				require.NoError(t, remoting.DecodeBody(other.OK(remoting.GetKVListByNamespace, key, nil).Body, &all))
				require.Equal(t, fields{"k": v}, fields(all.Table))
			}
		}
		w.OK(remoting.DeleteKVConfig, key, nil)
		w.OK(remoting.DeleteKVConfig, key, nil)
		for i := range c.Nodes {
			other := DialWire(t, c.Nodes[i].Addresses().NameServer, w.serial)
			require.Equal(t, remoting.QueryNotFound, other.ask(remoting.GetKVConfig, key, nil).Code)
		}
	})
}

// 222: the operator's move is told to a client before its commits count again.
func wireReset(t *testing.T, c *Cluster) {
	c.createTopic(t, topicOf("reset", 1))
	w := DialWire(t, c.listener(0, 0), 0)
	for range 5 {
		w.put(sendShort("reset", 0), []byte("x"))
	}
	n := 0
	c.each(t, 0, func(t *testing.T, w *Wire) {
		n++
		q := fields{"consumerGroup": fmt.Sprintf("moved-%d", n), "topic": "reset", "queueId": "0"}
		move := fields{"topic": "reset", "group": q["consumerGroup"], "timestamp": "-1", "isForce": "true"}
		reset := func(ext fields) map[remoting.MessageQueue]int64 {
			t.Helper()
			var b remoting.ResetOffsetBody
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.InvokeBrokerToResetOffset, ext, nil).Body, &b))
			return b.OffsetTable
		}
		offset := func() int64 { return num(t, w.OK(remoting.QueryConsumerOffset, q, nil), "offset") }
		mq := remoting.MessageQueue{BrokerName: "raftmq-0", Topic: "reset"}
		w.OK(remoting.UpdateConsumerOffset, with(q, "commitOffset", "4"), nil)
		require.Len(t, reset(with(move, "timestamp", "0")), 3, "every queue of the topic")
		require.EqualValues(t, 0, offset())
		w.OK(remoting.UpdateConsumerOffset, with(q, "commitOffset", "5"), nil) // answered, and passed over
		require.EqualValues(t, 0, offset())
		pull := with(pullOf("reset", 0, 4), "consumerGroup", q["consumerGroup"])
		var told *remoting.Command
		c.until("the client is told", func() bool { // a follower may not have heard of it yet
			told = w.Led(remoting.PullMessage, pull, nil)
			return told.Code == remoting.PullOffsetMoved
		})
		require.EqualValues(t, 0, num(t, told, "nextBeginOffset"))
		// The answer may have been lost: it is told again, and commits count when a pull comes
		// from there.
		w.OK(remoting.UpdateConsumerOffset, with(q, "commitOffset", "5"), nil)
		require.EqualValues(t, 0, offset())
		require.Equal(t, remoting.PullOffsetMoved, w.inside(remoting.PullMessage, pull).Code)
		w.OK(remoting.PullMessage, with(pull, "queueOffset", "0"), nil)
		w.OK(remoting.UpdateConsumerOffset, with(q, "commitOffset", "1"), nil)
		require.EqualValues(t, 1, offset())
		require.Equal(t, map[remoting.MessageQueue]int64{mq: 5}, reset(with(move, "queueId", "0")), "one queue, to its end")
		require.Equal(t, map[remoting.MessageQueue]int64{mq: 3}, reset(with(move, "queueId", "0", "offset", "3")))
		noSlot := DialWire(t, c.Nodes[0].Addresses().NameServer, 0)
		require.Equal(t, remoting.InvalidParameter, noSlot.Led(remoting.InvokeBrokerToResetOffset, with(move, "queueId", "0", "offset", "1"), nil).Code, "a queue of which slot?")
		require.EqualValues(t, 3, offset())
	})
}

// 39 is for servers to ask: any reply counts as success with stock clients, so the
// connection ends.
func wireClosing(t *testing.T, c *Cluster) {
	for _, code := range []remoting.Code{remoting.CheckTransactionState} {
		c.each(t, 0, func(t *testing.T, w *Wire) {
			w.Send(code, fields{"offset": "0", "group": "g", "delayLevel": "0"}, nil)
			w.closed()
		})
		w := DialWire(t, c.listener(0, 0), 0)
		w.Oneway(code, nil, nil)
		w.closed()
	}
}
