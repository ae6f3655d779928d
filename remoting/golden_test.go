package remoting_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

func frame(serial byte, header, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(serial)<<24|uint32(len(header)))
	return append(append(b, header...), body...)
}

func read(b []byte) (*remoting.Command, error) {
	return remoting.ReadCommand(bufio.NewReader(bytes.NewReader(b)), 0)
}

func TestWrittenBytesOfBothSerialisations(t *testing.T) {
	c := &remoting.Command{Code: remoting.PullNotFound, Language: remoting.Java, Version: 477, Opaque: -2, Flag: 1, Remark: "nö\"\x01",
		Ext: map[string]string{"b": "x\\y", "a": "1"}, Body: []byte("body")}
	got, err := remoting.AppendCommand([]byte("before"), c)
	require.NoError(t, err)
	header := `{"code":19,"extFields":{"a":"1","b":"x\\y"},"flag":1,"language":"JAVA","opaque":-2,"remark":"nö\"\u0001","serializeTypeCurrentRPC":"JSON","version":477}`
	require.Equal(t, append([]byte("before"), frame(0, header, "body")...), got)

	c.Serial = remoting.Binary
	got, err = remoting.AppendCommand(nil, c)
	require.NoError(t, err)
	require.Equal(t, "00000034"+"0100002c"+
		"0013"+"00"+"01dd"+"fffffffe"+"00000001"+"00000005"+"6ec3b62201"+
		"00000012"+"0001"+"61"+"00000001"+"31"+"0001"+"62"+"00000003"+"785c79"+hex.EncodeToString([]byte("body")),
		hex.EncodeToString(got))
	back, err := read(got)
	require.NoError(t, err)
	require.Equal(t, c, back)
}

// The stock Go client v2.1.2 writes members in the order of its struct, keys
// of extFields in the order of a map, control characters escaped, remark
// always, and version 317.
func TestSendOfStockGoClient(t *testing.T) {
	c, err := read(frame(0, `{"code":10,"language":"GO","version":317,"opaque":7,"flag":0,"remark":"","extFields":{"batch":"false","bornTimestamp":"1700000000000","defaultTopic":"TBW102","defaultTopicQueueNums":"4","flag":"0","maxReconsumeTimes":"0","producerGroup":"g","properties":"UNIQ_KEY\u00010A\u0002TAGS\u0001\u00e4\u0002","queueId":"1","reconsumeTimes":"0","sysFlag":"0","topic":"orders","unitMode":"false"}}`, "hello"))
	require.NoError(t, err)
	require.Equal(t, remoting.SendMessage, c.Code)
	require.Equal(t, remoting.Go, c.Language)
	require.EqualValues(t, 317, c.Version)
	require.EqualValues(t, 7, c.Opaque)
	require.Equal(t, "hello", string(c.Body))
	var h remoting.SendHeader
	require.NoError(t, h.Decode(c.Ext))
	require.Equal(t, remoting.SendHeader{ProducerGroup: "g", Topic: "orders", DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, QueueID: 1,
		BornTimestamp: 1700000000000, Properties: "UNIQ_KEY\x010A\x02TAGS\x01ä\x02"}, h)
}

// Java 5 names the broker: n in letters, bname elsewhere; it writes members in
// order and the serialisation beside them.
func TestSendAndPullOfJava(t *testing.T) {
	c, err := read(frame(0, `{"code":310,"extFields":{"a":"g","b":"orders","c":"TBW102","d":"4","e":"0","f":"1","g":"1700000000000","h":"0","i":"WAIT\u0001true","j":"0","k":"false","m":"false","n":"raftmq-0"},"flag":0,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":479}`, ""))
	require.NoError(t, err)
	var h remoting.SendHeader
	require.NoError(t, h.Decode(c.Ext))
	require.Equal(t, "raftmq-0", h.BrokerName)
	require.EqualValues(t, -1, h.MaxReconsumeTimes)

	var fields []byte
	words := []string{"consumerGroup", "G", "topic", "T", "queueId", "1", "queueOffset", "5", "maxMsgNums", "32", "sysFlag", "2",
		"commitOffset", "0", "suspendTimeoutMillis", "15000", "subVersion", "9", "bname", "raftmq-0"}
	for i := 0; i < len(words); i += 2 {
		fields = binary.BigEndian.AppendUint16(fields, uint16(len(words[i])))
		fields = append(fields, words[i]...)
		fields = binary.BigEndian.AppendUint32(fields, uint32(len(words[i+1])))
		fields = append(fields, words[i+1]...)
	}
	header := []byte{0, 11, 0, 0x01, 0xdf, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0}
	header = append(binary.BigEndian.AppendUint32(header, uint32(len(fields))), fields...)
	c, err = read(frame(1, string(header), ""))
	require.NoError(t, err)
	require.EqualValues(t, 479, c.Version)
	var p remoting.PullHeader
	require.NoError(t, p.Decode(c.Ext))
	require.EqualValues(t, 15000, p.SuspendTimeout.Milliseconds())
	require.Equal(t, "raftmq-0", p.BrokerName)
}

func TestExtFieldsOfOtherTypesAreTakenAsText(t *testing.T) {
	c, err := read(frame(0, ` { "extFields" : {"n": 12, "t":true,"z":null,"e":"\ud83d\ude00\/"} , "unknown":[{"a":[1,2.5e3,{}]},"x",null],"language":9,"remark":null,"code":3}`, ""))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"n": "12", "t": "true", "e": "😀/"}, c.Ext)
	require.Equal(t, remoting.Go, c.Language)
}

func TestFramesThatLieAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"header longer than frame": {0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0},
		"length below four":        {0, 0, 0, 3, 0, 0, 0, 0},
		"length above the limit":   {1, 0, 0, 1, 0, 0, 0, 0},
		"negative length":          {255, 255, 255, 255, 0, 0, 0, 0},
		"serialisation":            {0, 0, 0, 4, 2, 0, 0, 0},
		"empty JSON":               frame(0, "", ""),
		"cut JSON":                 frame(0, `{"code":1`, ""),
		"number too large":         frame(0, `{"code":4294967296}`, ""),
		"object as ext":            frame(0, `{"extFields":{"a":{}}}`, ""),
		"deep":                     frame(0, `{"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`, ""),
		"short binary":             frame(1, "12345678901234567890", ""),
		"remark lies":              frame(1, "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00", ""),
		"ext lies":                 frame(1, "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09", ""),
		"key lies":                 frame(1, "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff", ""),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(b)
			require.ErrorIs(t, err, remoting.ErrFrame)
		})
	}
}

func TestExtFieldsAreBounded(t *testing.T) {
	for _, serial := range []byte{remoting.JSON, remoting.Binary} {
		c := &remoting.Command{Code: remoting.GetMaxOffset, Serial: serial}
		for i := range remoting.MaxExt {
			c.SetExt(strconv.Itoa(i), "")
		}
		b, err := remoting.AppendCommand(nil, c)
		require.NoError(t, err)
		got, err := read(b)
		require.NoError(t, err)
		require.Len(t, got.Ext, remoting.MaxExt)
		for i := range remoting.MaxExt {
			c.SetExt("x"+strconv.Itoa(i), "")
		}
		b, err = remoting.AppendCommand(nil, c)
		require.NoError(t, err)
		_, err = read(b)
		require.ErrorIs(t, err, remoting.ErrFrame)
	}
}

func TestHeartbeatsOfJavaAndGo(t *testing.T) {
	var java, stock remoting.HeartbeatData
	require.NoError(t, remoting.DecodeBody([]byte(`{"clientID":"10.0.0.9@4711","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"G","messageModel":"CLUSTERING","unitMode":false,"subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T"}]}],"heartbeatFingerprint":-7,"producerDataSet":[{"groupName":"P"}],"withoutSub":true}`), &java))
	require.EqualValues(t, -7, java.Fingerprint)
	require.True(t, java.WithoutSub)
	require.NoError(t, remoting.DecodeBody([]byte(`{"clientID":"c","producerDataSet":null,"consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"TagA","tagsSet":["TagA"],"codeSet":["2598919"],"subVersion":1700000000000000000,"expressionType":"TAG"}],"unitMode":false}]}`), &stock))
	require.Equal(t, java.ConsumerDataSet[0].SubscriptionDataSet[0].CodeSet, stock.ConsumerDataSet[0].SubscriptionDataSet[0].CodeSet)
	require.ErrorIs(t, remoting.DecodeBody([]byte(`{}`), &stock), remoting.ErrHeader)
}

// The C++ client, and those of Python and Node.js that are made of it, say the version of a
// subscription in quotes, and end what they write with a new line.
func TestHeartbeatsOfCPP(t *testing.T) {
	var h remoting.HeartbeatData
	require.NoError(t, remoting.DecodeBody([]byte(`{"clientID":"10.0.0.9@4711","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"G","messageModel":"CLUSTERING","subscriptionDataSet":[{"codeSet":[2598919],"subString":"TagA","subVersion":"1700000000000","tagsSet":["TagA"],"topic":"T"}]}]}`+"\n"), &h))
	require.Equal(t, remoting.SubscriptionData{CodeSet: remoting.CodeSet{2598919}, SubString: "TagA", SubVersion: 1700000000000, TagsSet: []string{"TagA"}, Topic: "T"},
		h.ConsumerDataSet[0].SubscriptionDataSet[0])
	for _, bad := range []string{`"x"`, `""`, `"1.5"`, `1.5`, `{}`, `99999999999999999999`} {
		require.ErrorIs(t, remoting.DecodeBody([]byte(`{"clientID":"c","consumerDataSet":[{"groupName":"G","subscriptionDataSet":[{"topic":"T","subVersion":`+bad+`}]}]}`), &h), remoting.ErrHeader, bad)
	}
	require.NoError(t, remoting.DecodeBody([]byte(`{"clientID":"c","consumerDataSet":[{"groupName":"G","subscriptionDataSet":[{"topic":"T","subVersion":null}]}]}`), &h))
}

func TestBodiesAreCompactAndNeverNull(t *testing.T) {
	q := remoting.MessageQueue{BrokerName: "raftmq-0", QueueID: 1, Topic: "T"}
	for want, v := range map[string]any{
		`{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","2":"10.0.0.2:10911"},"brokerName":"raftmq-0","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"raftmq-0","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":2}]}`: remoting.TopicRouteData{
			BrokerDatas: []remoting.BrokerData{{BrokerAddrs: map[int64]string{2: "10.0.0.2:10911", 0: "10.0.0.1:10911"}, BrokerName: "raftmq-0", Cluster: "c"}},
			QueueDatas:  []remoting.QueueData{{BrokerName: "raftmq-0", Perm: 6, ReadQueueNums: 2, WriteQueueNums: 2}}},
		`{"brokerAddr":null,"topicList":[]}`:                                  remoting.TopicList{},
		`{"consumerIdList":[]}`:                                               remoting.ConsumerList{},
		`{"lockOKMQSet":[{"brokerName":"raftmq-0","queueId":1,"topic":"T"}]}`: remoting.LockReply{LockOKMQSet: []remoting.MessageQueue{q}},
		`{"offsetTable":{{"brokerName":"raftmq-0","queueId":1,"topic":"T"}:{"lastUpdateTimestamp":1,"maxOffset":3,"minOffset":2}},"topicPutTps":0.5}`: remoting.TopicStats{TopicPutTps: 0.5, OffsetTable: map[remoting.MessageQueue]remoting.TopicOffset{q: {LastUpdateTimestamp: 1, MaxOffset: 3, MinOffset: 2}}},
		`{"offsetTable":{{"brokerName":"raftmq-0","queueId":0,"topic":"T"}:4,{"brokerName":"raftmq-0","queueId":1,"topic":"T"}:123}}`:                 remoting.ResetOffsetBody{OffsetTable: map[remoting.MessageQueue]int64{q: 123, {BrokerName: "raftmq-0", Topic: "T"}: 4}},
	} {
		require.Equal(t, want, string(remoting.EncodeBody(v)))
	}
	var back remoting.ResetOffsetBody
	require.NoError(t, remoting.DecodeBody([]byte(`{"offsetTable":{{"brokerName":"raftmq-0","queueId":0,"topic":"T"}:4,{"topic":"T","queueId":1,"brokerName":"raftmq-0"}:123}}`), &back))
	require.Len(t, back.OffsetTable, 2)
	require.EqualValues(t, 123, back.OffsetTable[q])
}
