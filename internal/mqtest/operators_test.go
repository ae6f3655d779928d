package mqtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/message"
	"raftmq/remoting"
)

// What RocketMQ's mqadmin asks, by codes, and the keys and shapes that it reads.
func TestOperatorsSeeWhatMqadminShows(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("seen", 2))
	for _, part := range []struct {
		name string
		test func(*testing.T, *Cluster)
	}{
		{"figures", operatorFigures}, {"settings", operatorSettings}, {"groups", operatorGroups}, {"queues", operatorQueues}, {"members", operatorMembers}, {"our own members", operatorOwnMembers}, {"lists", operatorLists}, {"order", operatorOrder},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, c) })
	}
}

func statsBody(t *testing.T, w *Wire, name, key string) (s remoting.BrokerStats) {
	t.Helper()
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.ViewBrokerStats, fields{"statsName": name, "statsKey": key}, nil).Body, &s))
	return s
}

// 28 and 315: what was stored in slot 1 counts at one node, and is found whichever is asked.
func operatorFigures(t *testing.T, c *Cluster) {
	w := DialWire(t, c.listener(0, 1), remoting.Binary)
	for range 7 {
		w.put(sendShort("seen", 0), []byte("x"))
	}
	read := 0 // a follower may be behind
	c.until("all are read", func() bool {
		r := w.ask(remoting.PullMessage, with(pullOf("seen", 0, int64(read)), "consumerGroup", "reads"), nil)
		read += len(Records(t, r.Body))
		return read == 7
	})
	stored := int64(0)
	for i := range c.Nodes {
		for slot := range 3 {
			w := DialWire(t, c.listener(i, slot), remoting.JSON)
			var kv remoting.KVTable
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetBrokerRuntimeInfo, nil, nil).Body, &kv))
			table := fields(kv.Table)
			for _, key := range strings.Fields("putTps getTransferredTps getTransferedTps getFoundTps getMissTps getTotalTps") {
				three := strings.Fields(table[key])
				require.Len(t, three, 3, key)
				for _, x := range three {
					_, err := strconv.ParseFloat(x, 64)
					require.NoError(t, err, key)
				}
			}
			whole := strings.Fields(`sendThreadPoolQueueSize pullThreadPoolQueueSize ackThreadPoolQueueSize sendThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueHeadWaitTimeMills
				ackThreadPoolQueueHeadWaitTimeMills pageCacheLockTimeMills msgPutTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow msgGetTotalYesterdayMorning
				msgGetTotalTodayMorning msgGetTotalTodayNow timerReadBehind timerOffsetBehind timerCongestNum dispatchBehindBytes bootTimestamp`)
			for _, key := range whole {
				_, err := strconv.ParseInt(table[key], 10, 64)
				require.NoError(t, err, "%s %q", key, table[key])
			}
			for _, key := range strings.Fields("commitLogDiskRatio consumeQueueDiskRatio timerEnqueueTps timerDequeueTps putMessageAverageSize") {
				_, err := strconv.ParseFloat(table[key], 64)
				require.NoError(t, err, key)
			}
			require.Equal(t, "true", table["brokerActive"])
			require.True(t, strings.HasPrefix(table["brokerVersionDesc"], "raftmq-"))
			require.Contains(t, table["runtime"], "0 days, 0 hours")
			require.Contains(t, table["commitLogDirCapacity"], "Total : ")
			n, _ := strconv.ParseInt(table["msgPutTotalTodayNow"], 10, 64)
			if slot == 1 {
				oldest, err := strconv.ParseInt(table["earliestMessageTimeStamp"], 10, 64)
				require.NoError(t, err)
				require.WithinDuration(t, time.Now(), time.UnixMilli(oldest), time.Hour)
				stored += n
			} else {
				require.Zero(t, n, "nothing was sent to slot %d", slot)
				require.NotContains(t, table, "earliestMessageTimeStamp", "the tools would show the age of the epoch")
			}
		}
		w := DialWire(t, c.listener(i, 1), remoting.Binary)
		s := statsBody(t, w, "TOPIC_PUT_NUMS", "seen")
		require.EqualValues(t, 7, s.Day.Sum)
		require.EqualValues(t, 7, s.Minute.Sum)
		require.Positive(t, s.Minute.TPS)
		require.EqualValues(t, 7, statsBody(t, w, "GROUP_GET_NUMS", "seen@reads").Day.Sum)
		require.EqualValues(t, 7, statsBody(t, w, "BROKER_PUT_NUMS", c.Name).Day.Sum)
		require.Zero(t, statsBody(t, DialWire(t, c.listener(i, 0), 0), "TOPIC_PUT_NUMS", "seen").Day.Sum)
		var ts remoting.TopicStats
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicStats, fields{"topic": "seen"}, nil).Body, &ts))
		require.Positive(t, ts.TopicPutTps)
		q := ts.OffsetTable[remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "seen"}]
		require.WithinDuration(t, time.Now(), time.UnixMilli(q.LastUpdateTimestamp), time.Hour)
		require.Zero(t, ts.OffsetTable[remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "seen", QueueID: 1}].LastUpdateTimestamp)
	}
	require.EqualValues(t, 7, stored)
}

// 26: properties, with what the tools read of them.
func operatorSettings(t *testing.T, c *Cluster) {
	for i := range c.Nodes {
		r := DialWire(t, c.listener(i, 2), byte(i%2)).OK(remoting.GetBrokerConfig, nil, nil)
		require.True(t, json.Valid([]byte(r.Ext["version"])))
		table := make(fields)
		for line := range strings.Lines(string(r.Body)) {
			k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			require.True(t, ok, line)
			table[k] = v
		}
		for _, k := range strings.Fields(`brokerClusterName brokerId brokerName brokerRole fileReservedTime filterServerNums flushDiskType maxMessageSize messageDelayLevel msgTraceTopicName
			slaveReadEnable traceOn traceTopicEnable useTLS autoCreateTopicEnable autoCreateSubscriptionGroup`) {
			require.Contains(t, table, k, "exportConfigs of RocketMQ 4 ends without it")
		}
		_, port, _ := strings.Cut(c.listener(i, 2), ":")
		for k, want := range (fields{"brokerClusterName": c.Name, "brokerName": "raftmq-2", "raftmq.node": fmt.Sprintf("n%d", i+1), "listenPort": port, "flushDiskType": "SYNC_FLUSH",
			"fileReservedTime": "72", "maxMessageSize": "524288", "autoCreateTopicEnable": "true", "deleteWhen": "04", "transactionCheckMax": "15"}) {
			require.Equal(t, want, table[k], k)
		}
	}
}

// 206, 208, 300, 317, 343, 345: groups are found by their retry topics, with places, times and rates.
func operatorGroups(t *testing.T, c *Cluster) {
	member := DialWire(t, c.listener(0, 0), 0)
	member.OK(remoting.Heartbeat, nil, heartbeatOf("m", "found", "seen", "%RETRY%found"))
	retry := DialWire(t, c.Nodes[1].Addresses().NameServer, 0)
	c.until("the retry topic has a route", func() bool {
		return retry.ask(remoting.GetRouteByTopic, fields{"topic": "%RETRY%found"}, nil).Code == remoting.OK
	})
	member.OK(remoting.UpdateConsumerOffset, fields{"consumerGroup": "found", "topic": "seen", "queueId": "0", "commitOffset": "4", "bname": "raftmq-1"}, nil)
	// The second of slot 1 goes to dead letters at once.
	recs := Records(t, member.OK(remoting.PullMessage, with(pullOf("seen", 0, 1), "bname", "raftmq-1"), nil).Body)
	back := fields{"offset": strconv.FormatInt(recs[0].PhysicalOffset(), 10), "group": "found", "delayLevel": "-1", "originMsgId": "x", "originTopic": "seen"}
	DialWire(t, c.listener(2, 1), 0).OK(remoting.ConsumerSendMessageBack, back, nil)
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 1), byte(i%2))
		dead := statsOf(t, w, "%DLQ%found")[remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "%DLQ%found"}]
		require.EqualValues(t, 1, dead.MaxOffset)
		require.Positive(t, dead.LastUpdateTimestamp)
		var l remoting.TopicList
		ns := DialWire(t, c.Nodes[i].Addresses().NameServer, 0)
		require.NoError(t, remoting.DecodeBody(ns.OK(remoting.GetAllTopicListFromNS, nil, nil).Body, &l))
		for _, name := range []string{"seen", "%RETRY%found", "%DLQ%found"} {
			require.Contains(t, []string(l.TopicList), name)
		}
		require.NotContains(t, string(ns.OK(remoting.GetAllTopicListFromNS, fields{"rmq": "1"}, nil).Body), "%RETRY%", "clients of ours list groups")
		require.Equal(t, remoting.TopicNotExist, w.Led(remoting.GetTopicConfig, fields{"topic": "%RETRY%found"}, nil).Code, "any other code ends consumerProgress")

		var s remoting.ConsumeStats
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetConsumeStats, fields{"consumerGroup": "found"}, nil).Body, &s))
		place := s.OffsetTable[remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "seen"}]
		require.EqualValues(t, 4, place.ConsumerOffset)
		require.WithinDuration(t, time.Now(), time.UnixMilli(place.LastTimestamp), time.Hour)

		for _, letters := range []string{"%RETRY%found", "%DLQ%found"} {
			require.Len(t, statsOf(t, w, letters), 3, "one queue in each slot")
		}
		require.Equal(t, remoting.TopicNotExist, w.Led(remoting.GetTopicStats, fields{"topic": "%RETRY%nobody"}, nil).Code)

		body := string(w.OK(remoting.GetBrokerConsumeStats, fields{"isOrder": "false"}, nil).Body)
		require.Contains(t, body, `{"found":[{"consumeTps":0,"offsetTable":{{"brokerName":"raftmq-1","queueId":0,"topic":"seen"}:{"brokerOffset":7,"consumerOffset":4,`)
		require.NotContains(t, body, `"raftmq-0"`, "each broker name answers for itself")
		require.NotContains(t, string(w.OK(remoting.GetBrokerConsumeStats, fields{"isOrder": "true"}, nil).Body), "found")

		require.JSONEq(t, `{"brokerAddr":null,"topicList":["seen"]}`, string(w.OK(remoting.QueryTopicsByConsumer, fields{"group": "found"}, nil).Body))
		var sub remoting.GroupSubscription
		c.until("the subscription is known", func() bool {
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.QuerySubscriptionOfGroup, fields{"group": "found", "topic": "seen"}, nil).Body, &sub))
			return sub.SubscriptionData != nil
		})
		require.Equal(t, "*", sub.SubscriptionData.SubString)
		require.JSONEq(t, `{"group":"found","topic":"none"}`, string(w.OK(remoting.QuerySubscriptionOfGroup, fields{"group": "found", "topic": "none"}, nil).Body))
		var p remoting.ProducerTable
		c.until("the producer is known", func() bool {
			require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetAllProducerInfo, nil, nil).Body, &p))
			return len(p.Data["p-found"]) == 1
		})
		one := p.Data["p-found"][0]
		require.Equal(t, "m", one.ClientID)
		require.Equal(t, "GO", one.Language)
		require.EqualValues(t, 317, one.Version)
		require.Equal(t, member.nc.LocalAddr().String(), one.RemoteIP)
		require.WithinDuration(t, time.Now(), time.UnixMilli(one.LastUpdateTimestamp), time.Hour)
	}
}

// 303 and 321: when and where the messages of a queue were stored.
func operatorQueues(t *testing.T, c *Cluster) {
	commit := fields{"consumerGroup": "timed", "topic": "seen", "queueId": "0", "commitOffset": "4"}
	DialWire(t, c.listener(0, 1), 0).OK(remoting.UpdateConsumerOffset, commit, nil)
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 1), byte(i%2))
		var recs []message.Record
		c.until("this node has all", func() bool {
			recs = Records(t, w.ask(remoting.PullMessage, pullOf("seen", 0, 0), nil).Body)
			return len(recs) == 7
		})
		var spans remoting.TimeSpans
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.QueryConsumeTimeSpan, fields{"topic": "seen", "group": "timed"}, nil).Body, &spans))
		require.Len(t, spans.ConsumeTimeSpanSet, 2)
		s := spans.ConsumeTimeSpanSet[0]
		require.Equal(t, remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "seen"}, s.MessageQueue)
		require.Equal(t, recs[0].StoreTimestamp(), s.MinTimestamp)
		require.Equal(t, recs[6].StoreTimestamp(), s.MaxTimestamp)
		require.Equal(t, recs[3].StoreTimestamp(), s.ConsumeTimestamp)
		require.Positive(t, s.DelayTime)
		require.Equal(t, remoting.TimeSpan{MessageQueue: remoting.MessageQueue{BrokerName: "raftmq-1", Topic: "seen", QueueID: 1}, MinTimestamp: -1, MaxTimestamp: -1, ConsumeTimestamp: -1}, spans.ConsumeTimeSpanSet[1])

		var cq remoting.ConsumeQueue
		ask := fields{"topic": "seen", "queueId": "0", "index": "2", "count": "3", "consumerGroup": "offline"}
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.QueryConsumeQueue, ask, nil).Body, &cq))
		require.EqualValues(t, 0, cq.MinQueueIndex)
		require.EqualValues(t, 7, cq.MaxQueueIndex)
		require.Equal(t, "offline@seen is not online!", cq.FilterData)
		require.Len(t, cq.QueueData, 3)
		for j, e := range cq.QueueData {
			require.Equal(t, recs[2+j].PhysicalOffset(), e.PhysicOffset)
			require.EqualValues(t, len(recs[2+j]), e.PhysicSize)
			require.NotZero(t, e.TagsCode)
			require.True(t, e.Eval)
		}
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.QueryConsumeQueue, with(ask, "index", "7"), nil).Body, &cq))
		require.Empty(t, cq.QueueData)
	}
}

// 307 and 309: a member is asked over its own connection, whichever node it is connected to, and its answer is
// handed on as it is.
func operatorMembers(t *testing.T, c *Cluster) {
	member := DialWire(t, c.listener(2, 0), 0)
	member.OK(remoting.Heartbeat, nil, heartbeatOf("far", "asked", "seen"))
	w := DialWire(t, c.listener(1, 1), 0)
	var rec message.Record
	c.until("this node has the fourth", func() bool {
		recs := Records(t, w.ask(remoting.PullMessage, pullOf("seen", 0, 3), nil).Body)
		if len(recs) > 0 {
			rec = recs[0]
		}
		return rec != nil
	})
	view := message.OffsetID(rec.StoreHost(), rec.PhysicalOffset())
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 1), byte(i%2))
		info := fields{"consumerGroup": "asked", "clientId": "far", "jstackEnable": "true"}
		c.until("the member is known", func() bool {
			return w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "asked"}, nil).Code == remoting.OK
		})
		// put has the member asked, and answer; again if it took longer to answer than nodes wait.
		put := func(code remoting.Code, ext fields, with remoting.Code, body string) (got, r *remoting.Command) {
			c.until("the member's answer counts", func() bool {
				asks := w.Send(code, ext, nil)
				got = member.waitPush(code)
				member.answer(got, with, body)
				r = w.Reply(asks)
				return r.Code != remoting.ConsumeMessageTimeout
			})
			return got, r
		}
		got, r := put(remoting.GetConsumerRunningInfo, info, remoting.OK, `{"properties":{},"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{}}}`)
		require.Equal(t, info, fields(got.Ext), "nothing of what nodes say to each other")
		require.Equal(t, remoting.OK, r.Code, r.Remark)
		require.Equal(t, `{"properties":{},"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{}}}`, string(r.Body))

		got, r = put(remoting.ConsumeMessageDirectly, fields{"consumerGroup": "asked", "clientId": "far", "topic": "seen", "msgId": view}, remoting.SystemError, "")
		require.Equal(t, []byte(rec), got.Body)
		require.Equal(t, "raftmq-1", got.Ext["brokerName"])
		require.Equal(t, "0", got.Ext["topicSysFlag"])
		require.Equal(t, remoting.SystemError, r.Code, "the member's own code")

		// One that does not answer.
		asks := w.Send(remoting.GetConsumerRunningInfo, info, nil)
		member.waitPush(remoting.GetConsumerRunningInfo)
		require.Equal(t, remoting.ConsumeMessageTimeout, w.Reply(asks).Code)
		require.Equal(t, remoting.SystemError, w.ask(remoting.GetConsumerRunningInfo, with(info, "consumerGroup", "other"), nil).Code, "it is no member of that")
	}
}

// 307 of a bundled consumer: the queues that it has, and how far it is in each.
func operatorOwnMembers(t *testing.T, c *Cluster) {
	cl := c.Client()
	cons, err := cl.NewConsumer("ours", client.WithConcurrency(2))
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("seen", client.All()))
	ctx, stop := context.WithCancel(context.Background())
	handled := make(chan struct{}, 100)
	var run sync.WaitGroup
	run.Go(func() {
		cons.Run(ctx, func(context.Context, *client.Delivery) error { handled <- struct{}{}; return nil })
	})
	t.Cleanup(run.Wait)
	t.Cleanup(stop)
	for range 7 {
		<-handled
	}
	for i := range c.Nodes {
		w := DialWire(t, c.listener(i, 1), byte(i%2))
		var id remoting.ConsumerList
		c.until("the member is known", func() bool {
			r := w.ask(remoting.GetConsumerListByGroup, fields{"consumerGroup": "ours"}, nil)
			return r.Code == remoting.OK && remoting.DecodeBody(r.Body, &id) == nil && len(id.ConsumerIDList) == 1
		})
		ask := fields{"consumerGroup": "ours", "clientId": id.ConsumerIDList[0], "jstackEnable": "false"}
		c.until("it has committed what it handled", func() bool {
			return strings.Contains(string(w.OK(remoting.GetConsumerRunningInfo, ask, nil).Body), `"commitOffset":7,`)
		})
		body := string(w.OK(remoting.GetConsumerRunningInfo, ask, nil).Body)
		require.Contains(t, body, `{"brokerName":"raftmq-1","queueId":0,"topic":"seen"}:{"cachedMsgCount":0,"cachedMsgMaxOffset":0,"cachedMsgMinOffset":0,"cachedMsgSizeInMiB":0,"commitOffset":7,"droped":false,`)
		require.Equal(t, 6, strings.Count(body, `"topic":"seen"}:`), "it is alone, and has all queues")
		require.Contains(t, body, `"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY"`)
		require.Contains(t, body, `"subString":"*"`)
	}
}

// 18, 21, 207, 215, 216 and 225: several at once; a broker name has the topics that have a partition there; and what belonged to a
// group goes with it, so that its retry topic may be deleted behind it.
func operatorLists(t *testing.T, c *Cluster) {
	w := DialWire(t, c.listener(0, 0), 0)
	topics := `{"topicConfigList":[{"topicName":"many-1","readQueueNums":2,"writeQueueNums":2,"perm":6,"attributes":{"+message.type":"FIFO"}},{"topicName":"many-2","readQueueNums":1,"writeQueueNums":1,"perm":4,"order":true}]}`
	for range 2 { // the same again is no error
		w.OK(remoting.UpdateAndCreateTopics, nil, []byte(topics))
		w.OK(remoting.UpdateSubscriptionGroups, nil, []byte(`{"groupConfigList":[{"groupName":"many-1","retryMaxTimes":3},{"groupName":"many-2"}]}`))
	}
	var one remoting.TopicConfig
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": "many-1"}, nil).Body, &one))
	require.EqualValues(t, fields{"message.type": "FIFO"}, one.Attributes)
	require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": "many-2"}, nil).Body, &one))
	require.EqualValues(t, 4, one.Perm)
	require.True(t, one.Order)
	for name, tries := range map[string]int32{"many-1": 3, "many-2": 16} {
		var g remoting.SubscriptionGroupConfig
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetSubscriptionGroup, fields{"group": name}, nil).Body, &g))
		require.Equal(t, tries, g.RetryMaxTimes)
		require.True(t, g.ConsumeEnable)
	}
	r := w.Led(remoting.UpdateAndCreateTopics, nil, []byte(`{"topicConfigList":[{"topicName":"many-3","readQueueNums":1,"writeQueueNums":1,"perm":6},{"topicName":"a b"}]}`))
	require.Equal(t, remoting.InvalidParameter, r.Code)
	require.Contains(t, r.Remark, "after 1 of 2")
	w.OK(remoting.GetTopicConfig, fields{"topic": "many-3"}, nil)
	long := strings.TrimSuffix(strings.Repeat(`{"topicName":"x"},`, 257), ",")
	require.Equal(t, remoting.InvalidParameter, w.Led(remoting.UpdateAndCreateTopics, nil, []byte(`{"topicConfigList":[`+long+`]}`)).Code)

	DialWire(t, c.listener(1, 0), 0).OK(remoting.Heartbeat, nil, heartbeatOf("m", "goes", "seen"))
	for _, x := range []struct {
		code remoting.Code
		want remoting.Code
	}{{remoting.DeleteTopicInBroker, remoting.InvalidParameter}, {remoting.DeleteSubscriptionGroup, remoting.OK}, {remoting.DeleteTopicInBroker, remoting.OK}, {remoting.DeleteTopicInNS, remoting.OK}} {
		for _, topic := range []string{"%RETRY%goes", "%DLQ%goes"} {
			r := w.Led(x.code, fields{"topic": topic, "groupName": "goes"}, nil)
			require.Equal(t, x.want, r.Code, "%d %s: %s", x.code, topic, r.Remark)
		}
	}
}

// 100 in the namespace of ordered topics: the queues that an operator named are those of the route, as far as there are such.
func operatorOrder(t *testing.T, c *Cluster) {
	w := DialWire(t, c.listener(0, 0), 0)
	c.createTopic(t, with(topicOf("in-order", 4), "order", "true"))
	conf := func() string {
		var d remoting.TopicRouteData
		require.NoError(t, remoting.DecodeBody(w.OK(remoting.GetRouteByTopic, fields{"topic": "in-order"}, nil).Body, &d))
		return d.OrderTopicConf
	}
	all := "raftmq-0:4;raftmq-1:4;raftmq-2:4"
	require.Equal(t, all, conf())
	key := fields{"namespace": "ORDER_TOPIC_CONFIG", "key": "in-order"}
	for said, want := range map[string]string{"raftmq-2:3;raftmq-0:9": "raftmq-0:4;raftmq-2:3", "raftmq-7:4;x;raftmq-1:-1;raftmq-1:": all, "": all} {
		w.OK(remoting.PutKVConfig, with(key, "value", said), nil)
		require.Equal(t, want, conf(), said)
	}
	w.OK(remoting.DeleteKVConfig, key, nil)
	require.Equal(t, all, conf())
}
