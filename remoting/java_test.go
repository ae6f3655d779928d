package remoting_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// javaFrame reads a frame of testdata/java: hex digits, with what they mean after
// a #.
func javaFrame(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "java", name+".hex"))
	require.NoError(t, err)
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(line))
	}
	b, err := hex.DecodeString(digits.String())
	require.NoError(t, err)
	return b
}

type decoder interface {
	Decode(ext map[string]string) error
}

// What the Java client sends, byte for byte; each file says what is in it.
func TestFramesOfJavaClients(t *testing.T) {
	send := func(properties string, more func(*remoting.SendHeader)) *remoting.SendHeader {
		h := &remoting.SendHeader{ProducerGroup: "java-producer", Topic: "java", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4,
			BornTimestamp: 1700000000000, Properties: properties, BrokerName: "raftmq-1"}
		more(h)
		return h
	}
	properties := func(key, tag, number string) string {
		return "KEYS\x01" + key + "\x02UNIQ_KEY\x017F00000100002A139A0A2B3C4D5E" + number + "\x02WAIT\x01true\x02TAGS\x01" + tag
	}
	compressed := func(flag int32) func(*remoting.SendHeader) {
		return func(h *remoting.SendHeader) { h.QueueID, h.SysFlag = 1, flag }
	}
	as := func(*remoting.SendHeader) {}
	pull := remoting.PullHeader{ConsumerGroup: "java-group", Topic: "java", MaxMsgNums: 32, SysFlag: remoting.PullSuspend, SuspendTimeout: 15 * time.Second,
		SubVersion: 1700000000000, ExpressionType: "TAG"}
	pull5, lite := pull, pull
	pull5.MaxMsgBytes, pull5.BrokerName = 262144, "raftmq-1"
	lite.QueueID, lite.SysFlag, lite.Subscription, lite.BrokerName = 1, remoting.PullLite|remoting.PullSubscription, "TagC", "raftmq-1"

	for _, x := range []struct {
		name    string
		code    remoting.Code
		serial  byte
		version int32
		opaque  int32
		header  decoder // nil: none
	}{
		{"send-v2-json", remoting.SendMessageV2, remoting.JSON, 409, 1, send(properties("k1", "TagA", "0001"), func(h *remoting.SendHeader) { h.BrokerName = "" })},
		{"send-v2-binary", remoting.SendMessageV2, remoting.Binary, 479, 2, send(properties("k2", "TagA", "0002"), as)},
		{"send-v1-binary", remoting.SendMessage, remoting.Binary, 479, 3, send(properties("k3", "TagB", "0003"), as)},
		{"send-zlib", remoting.SendMessageV2, remoting.Binary, 479, 4, send(properties("k-zlib", "TagC", "0004"), compressed(1|3<<8))},
		{"send-lz4", remoting.SendMessageV2, remoting.Binary, 479, 5, send(properties("k-lz4", "TagC", "0005"), compressed(1|1<<8))},
		{"send-zstd", remoting.SendMessageV2, remoting.Binary, 479, 6, send(properties("k-zstd", "TagC", "0006"), compressed(1|2<<8))},
		{"send-batch", remoting.SendBatchMessage, remoting.JSON, 479, 9, send("WAIT\x01true", func(h *remoting.SendHeader) { h.Batch = true })},
		{"pull-json", remoting.PullMessage, remoting.JSON, 409, 10, &pull},
		{"pull-binary", remoting.PullMessage, remoting.Binary, 479, 11, &pull5},
		{"pull-lite", remoting.LitePullMessage, remoting.Binary, 479, 12, &lite},
		{"heartbeat-full", remoting.Heartbeat, remoting.JSON, 479, 13, nil},
		{"heartbeat-fingerprint", remoting.Heartbeat, remoting.JSON, 479, 14, nil},
		{"consumer-list", remoting.GetConsumerListByGroup, remoting.Binary, 479, 15, &remoting.ConsumerGroupHeader{ConsumerGroup: "java-group"}},
		{"update-offset", remoting.UpdateConsumerOffset, remoting.Binary, 479, 16, &remoting.UpdateOffsetHeader{ConsumerGroup: "java-group", Topic: "java", CommitOffset: 3, BrokerName: "raftmq-1"}},
		{"query-offset", remoting.QueryConsumerOffset, remoting.JSON, 409, 17, &remoting.QueryOffsetHeader{ConsumerGroup: "java-group", Topic: "java", SetZeroIfNotFound: true}},
		{"unregister", remoting.UnregisterClient, remoting.Binary, 479, 18, &remoting.UnregisterHeader{ClientID: "10.0.0.9@4711#81520113", ProducerGroup: "java-producer", ConsumerGroup: "java-group"}},
		{"route", remoting.GetRouteByTopic, remoting.JSON, 479, 19, &remoting.RouteHeader{Topic: "java", AcceptStandardJSONOnly: true}},
		{"lock", remoting.LockBatchMQ, remoting.JSON, 479, 20, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, err := read(javaFrame(t, x.name))
			require.NoError(t, err)
			require.Equal(t, x.code, c.Code)
			require.Equal(t, x.serial, c.Serial)
			require.Equal(t, remoting.Java, c.Language)
			require.Equal(t, x.version, c.Version)
			require.Equal(t, x.opaque, c.Opaque)
			require.Equal(t, x.code == remoting.UpdateConsumerOffset, c.IsOneway())
			require.False(t, c.IsReply())
			if x.header == nil {
				return
			}
			var got decoder
			switch x.header.(type) {
			case *remoting.SendHeader:
				got = new(remoting.SendHeader)
			case *remoting.PullHeader:
				got = new(remoting.PullHeader)
			case *remoting.ConsumerGroupHeader:
				got = new(remoting.ConsumerGroupHeader)
			case *remoting.UpdateOffsetHeader:
				got = new(remoting.UpdateOffsetHeader)
			case *remoting.QueryOffsetHeader:
				got = new(remoting.QueryOffsetHeader)
			case *remoting.UnregisterHeader:
				got = new(remoting.UnregisterHeader)
			case *remoting.RouteHeader:
				got = new(remoting.RouteHeader)
			}
			require.NoError(t, got.Decode(c.Ext))
			require.Equal(t, x.header, got)
		})
	}

	full, err := read(javaFrame(t, "heartbeat-full"))
	require.NoError(t, err)
	var h remoting.HeartbeatData
	require.NoError(t, remoting.DecodeBody(full.Body, &h))
	require.EqualValues(t, -1374982651, h.Fingerprint)
	require.False(t, h.WithoutSub)
	require.Equal(t, remoting.CodeSet{2598919, 2598920, 2598921, 2598922}, h.ConsumerDataSet[0].SubscriptionDataSet[0].CodeSet)
	short, err := read(javaFrame(t, "heartbeat-fingerprint"))
	require.NoError(t, err)
	require.NoError(t, remoting.DecodeBody(short.Body, &h))
	require.EqualValues(t, -1374982651, h.Fingerprint)
	require.True(t, h.WithoutSub)
	require.Equal(t, "java-group", h.ConsumerDataSet[0].GroupName)
	require.Empty(t, h.ConsumerDataSet[0].SubscriptionDataSet)
	lock, err := read(javaFrame(t, "lock"))
	require.NoError(t, err)
	var l remoting.LockBatch
	require.NoError(t, remoting.DecodeBody(lock.Body, &l))
	require.Len(t, l.MQSet, 2)
}
