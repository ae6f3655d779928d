package remoting_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Whatever is read can be written and read again as the same command.
func FuzzReadCommand(f *testing.F) {
	req := sendRequest()
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		req.Serial = serial
		b, err := remoting.AppendCommand(nil, req)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add(frame(1, "\x00\x0a\x09\x01\x3d\x00\x00\x00\x07\x00\x00\x00\x01\x00\x00\x00\x02ok\x00\x00\x00\x0b\x00\x01k\x00\x00\x00\x04v\xff\x00\x01", "body"))
	f.Add(append(frame(0, `{"code":10,"opaque":-1,"flag":2,"serializeTypeCurrentRPC":"JSON"}`, ""), 0, 0, 0, 4, 1))
	f.Add(frame(0, `{"code":1,"extFields":{"a":"\ud800\u00e4","b":1},"language":3}`, "b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := read(b)
		if err != nil {
			return
		}
		if c.Serial == remoting.JSON && c.Ext == nil {
			c.Ext = map[string]string{}
		}
		again, err := remoting.AppendCommand(nil, c)
		require.NoError(t, err)
		back, err := read(again)
		require.NoError(t, err)
		require.Equal(t, c, back)
	})
}

// The JSON header is read as encoding/json reads it.
func FuzzJSONHeader(f *testing.F) {
	f.Add(`{"code":10,"language":"GO","version":317,"opaque":7,"flag":0,"remark":"","extFields":{"a":"x\u0001"}}`)
	f.Add(`{"remark":"\ud83d\ude00\ud800\u0041","extFields":{"ä":"\/\b\f"},"x":[1,-2.5e+3,true,null,{"y":[]}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		c, err := read(frame(0, s, ""))
		if err != nil {
			return
		}
		require.True(t, json.Valid([]byte(s)), s)
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(s), &want))
		if bytes.Count([]byte(s), []byte("remark")) == 1 && want["remark"] != nil {
			var remark string
			require.NoError(t, json.Unmarshal(want["remark"], &remark))
			require.Equal(t, remark, c.Remark)
		}
	})
}

func FuzzJSONStringsAreWrittenAsEncodingJSONReadsThem(f *testing.F) {
	f.Add("k\x01", "v\xff\"\\\u2028\x7f")
	f.Fuzz(func(t *testing.T, k, v string) {
		b, err := remoting.AppendCommand(nil, &remoting.Command{Remark: v, Ext: map[string]string{k: v}})
		require.NoError(t, err)
		var got struct {
			Remark    string
			ExtFields map[string]string
		}
		require.NoError(t, json.Unmarshal(b[8:], &got))
		c, err := read(b)
		require.NoError(t, err)
		require.Equal(t, got.Remark, c.Remark)
		require.Equal(t, got.ExtFields, c.Ext)
		if utf8.ValidString(k) && utf8.ValidString(v) {
			require.Equal(t, v, c.Ext[k])
		}
	})
}

type header interface {
	Decode(map[string]string) error
	Encode() map[string]string
}

func headers() []header {
	return []header{new(remoting.SendHeader), new(remoting.SendReply), new(remoting.PullHeader), new(remoting.PullReply), new(remoting.QueryOffsetHeader),
		new(remoting.UpdateOffsetHeader), new(remoting.SearchOffsetHeader), new(remoting.QueueHeader), new(remoting.OffsetReply),
		new(remoting.TimestampReply), new(remoting.ViewMessageHeader), new(remoting.QueryMessageHeader), new(remoting.QueryMessageReply),
		new(remoting.UnregisterHeader), new(remoting.ConsumerGroupHeader), new(remoting.ProducerGroupHeader), new(remoting.RouteHeader),
		new(remoting.TopicHeader), new(remoting.CreateTopicHeader), new(remoting.DeleteGroupHeader), new(remoting.ConsumeStatsHeader),
		new(remoting.ResetOffsetHeader), new(remoting.KVHeader), new(remoting.KVReply), new(remoting.ClusterHeader),
		new(remoting.NamespaceHeader), new(remoting.GroupHeader), new(remoting.EndTransactionHeader), new(remoting.EndTransactionReply), new(remoting.CheckTransactionHeader),
		new(remoting.ListTransactionsHeader), new(remoting.DisputeHeader), new(remoting.MoveLeaderHeader), new(remoting.SendBackHeader), new(remoting.DeadLettersHeader), new(remoting.PushReplyHeader), new(remoting.ExplainHeader),
		new(remoting.StatsHeader), new(remoting.BrokerConsumeStatsHeader), new(remoting.ConsumeQueueHeader), new(remoting.TopicOfGroupHeader), new(remoting.MemberHeader), new(remoting.VersionReply)}
}

// A header that is accepted is written as one that is accepted.
func FuzzHeaders(f *testing.F) {
	for _, h := range headers() {
		b, _ := json.Marshal(h.Encode())
		f.Add(b)
	}
	f.Add([]byte(`{"consumerGroup":"g","topic":"t","queueId":"1","queueOffset":"0","maxMsgNums":"1","sysFlag":"0","commitOffset":"0","suspendTimeoutMillis":"1","subVersion":"1"}`))
	f.Add([]byte(`{"producerGroup":"g","tranStateTableOffset":"281474976710657","commitLogOffset":"4096","commitOrRollback":"12","fromTransactionCheck":"true","msgId":"A"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var ext map[string]string
		if json.Unmarshal(b, &ext) != nil {
			return
		}
		for _, h := range headers() {
			if err := h.Decode(ext); err != nil {
				require.ErrorIs(t, err, remoting.ErrHeader)
				continue
			}
			require.NoError(t, h.Decode(h.Encode()))
		}
	})
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:123},"clientID":"c","codeSet":["1"]}`))
	f.Add([]byte(`{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"t","codeSet":["1",2]}]}]}`))
	f.Add([]byte(`{"offsetTable":{{"queueId":0}:{"maxOffset":1},{"queueId":1}:{}},"topicPutTps":1.5}`))
	f.Add([]byte(`{"consumerGroup":"g","clientId":"c","onlyThisBroker":false,"mqSet":[{"topic":"t","brokerName":"raftmq-0","queueId":3}]}`))
	f.Add([]byte(`{"clientId":"c","group":"g","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":"a > 3","subVersion":1,"tagsSet":[],"topic":"t"}}`))
	f.Add([]byte(`{"groupName":"g","retryMaxTimes":3,"attributes":{"+a":"b"},"subscriptionDataSet":null}`))
	f.Add([]byte(`{"brokerDatas":[{"brokerAddrs":{"0":"h:1","3":"h:2"},"brokerName":"b","cluster":"c"}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4}]}`))
	f.Add([]byte(`{"brokerAddrTable":{"b":{"brokerAddrs":{"0":"h:1"}}},"clusterAddrTable":{"c":["b"]},"topicList":["t"],"brokerAddr":null,"table":{"k":"v"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{new(remoting.HeartbeatData), new(remoting.CheckClient), new(remoting.LockBatch), new(remoting.SubscriptionGroupConfig), new(remoting.TopicStats),
			new(remoting.ConsumeStats), new(remoting.ResetOffsetBody), new(remoting.TopicRouteData), new(remoting.ClusterInfo), new(remoting.TopicList),
			new(remoting.ConsumerList), new(remoting.GroupList), new(remoting.LockReply), new(remoting.TopicConfig), new(remoting.TopicConfigTable),
			new(remoting.SubscriptionGroupTable), new(remoting.ConsumerConnection), new(remoting.ProducerConnection), new(remoting.KVTable), new(remoting.TransactionList), new(remoting.MessageLife),
			new(remoting.TopicConfigs), new(remoting.GroupConfigs), new(remoting.BrokerStats), new(remoting.TimeSpans), new(remoting.ConsumeQueue), new(remoting.ProducerTable), new(remoting.GroupSubscription)} {
			if err := remoting.DecodeBody(b, v); err != nil {
				require.ErrorIs(t, err, remoting.ErrHeader)
				continue
			}
			require.NoError(t, remoting.DecodeBody(remoting.EncodeBody(v), v))
		}
	})
}
