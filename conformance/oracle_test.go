package conformance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Codes of the protocol.
const (
	cSend, cPull, cQueryMessage                      = 10, 11, 12
	cQueryOffset, cUpdateOffset, cCreateTopic        = 14, 15, 17
	cAllTopicConfig                                  = 21
	cSearchOffset, cMaxOffset, cMinOffset, cEarliest = 29, 30, 31, 32
	cView, cHeartbeat, cUnregister, cSendBack        = 33, 34, 35, 36
	cEndTransaction, cConsumerList, cCheckState      = 37, 38, 39
	cNotifyIDs, cLock, cUnlock, cCheckClient         = 40, 41, 42, 46
	cPutKV, cGetKV, cDeleteKV, cRoute, cClusterInfo  = 100, 101, 102, 105, 106
	cUpdateGroup, cAllGroups, cTopicStats            = 200, 201, 202
	cConsumerConns, cProducerConns                   = 203, 204
	cTopicsOfNS, cDeleteGroup, cConsumeStats         = 206, 207, 208
	cDeleteTopic, cDeleteTopicNS, cKVList            = 215, 216, 219
	cResetClient, cClientStatus, cResetOffset        = 220, 221, 222
	cTopicsOfCluster, cWhoConsumes                   = 224, 300
	cSystemTopicsNS, cRunningInfo, cConsumeDirectly  = 304, 307, 309
	cSendV2, cSendBatch, cGetTopic, cGetGroup        = 310, 320, 351, 352
	cLitePull, cRecall                               = 361, 370
)

// TestOracle asks RocketMQ's own broker and raftmq the same, byte by byte, and compares
// what they answer and store. What differs is in oracle_known_test.go, with a reason, or
// fails.
func TestOracle(t *testing.T) {
	r := startRealBroker(t)
	o := &oracle{t: t, rules: rulesOf(knownDifferences)}
	o.sides[0] = &side{name: "RocketMQ", broker: r.broker, nameServer: r.nameServer, conns: make(map[string]*plain), vars: fields{"broker": "broker-a", "cluster": "oracle"}}
	n := cluster.nodes[0]
	o.sides[1] = &side{name: "raftmq", broker: n.Listeners[0], nameServer: n.Nameserver, conns: make(map[string]*plain), vars: fields{"broker": "raftmq-0"}}
	o.sides[1].vars["cluster"] = clusterName(t, o.sides[1])
	o.setUp()
	all := true
	for _, part := range []struct {
		name string
		run  func(*oracle)
	}{
		{"topics", oracleTopics}, {"send", oracleSend}, {"pull", oraclePull}, {"offsets", oracleOffsets}, {"messages", oracleMessages},
		{"clients", oracleClients}, {"locks", oracleLocks}, {"filters", oracleFilters}, {"replies", oracleReplies}, {"more", oracleMore}, {"retries", oracleRetries}, {"delays", oracleDelays}, {"transactions", oracleTransactions},
		{"groups", oracleGroups}, {"reset", oracleReset}, {"values", oracleValues}, {"refusals", oracleRefusals}, {"deletions", oracleDeletions},
	} {
		ran := false
		t.Run(part.name, func(t *testing.T) {
			ran = true
			o.t = t
			began := time.Now()
			part.run(o)
			t.Logf("took %v", time.Since(began).Round(time.Second))
		})
		o.t, all = t, all && ran
	}
	for _, r := range o.rules {
		if all && r.used == 0 && !r.maybe {
			t.Errorf("a difference that is listed did not come: %s, %s: %s", r.known.step, r.known.fact, r.why)
		}
	}
	t.Logf("%d requests, %d differences", o.steps, o.diffs)
}

// clusterName is how a cluster calls itself.
func clusterName(t *testing.T, s *side) string {
	t.Helper()
	p := s.conn(t, "ns")
	f := p.reply(p.send(cClusterInfo, nil, nil), time.Minute)
	var info struct {
		ClusterAddrTable map[string][]string `json:"clusterAddrTable"`
	}
	require.NoError(t, json.Unmarshal(f.Body, &info))
	for name := range info.ClusterAddrTable {
		return name
	}
	return ""
}

// merged is m with fields set; "-" takes one away.
func merged(m fields, change ...string) fields {
	out := make(fields)
	for k, v := range m {
		out[k] = v
	}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "-" {
			delete(out, change[i])
		} else {
			out[change[i]] = change[i+1]
		}
	}
	return out
}

// props is a property string.
func props(pairs ...string) string {
	s := ""
	for i := 0; i < len(pairs); i += 2 {
		s += pairs[i] + "\x01" + pairs[i+1] + "\x02"
	}
	return s
}

func longSend(topic string, queue int) fields {
	return fields{"producerGroup": "orc-p", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": strconv.Itoa(queue),
		"sysFlag": "0", "bornTimestamp": "1700000000000", "flag": "7", "properties": props("KEYS", "k1 k2", "UNIQ_KEY", "LONG", "WAIT", "true", "TAGS", "tag"),
		"reconsumeTimes": "0", "unitMode": "false", "batch": "false"}
}

func shortSend(topic string, queue int, pairs ...string) fields {
	return fields{"a": "orc-p", "b": topic, "c": "TBW102", "d": "4", "e": strconv.Itoa(queue), "f": "0", "g": "1700000000000", "h": "7",
		"i": props(pairs...), "j": "0", "k": "false", "m": "false"}
}

func pullAt(topic string, queue int, offset string) fields {
	return fields{"consumerGroup": "orc-g", "topic": topic, "queueId": strconv.Itoa(queue), "queueOffset": offset, "maxMsgNums": "32",
		"sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subVersion": "0", "subscription": "*", "expressionType": "TAG"}
}

func topicSpec(name string, queues int) fields {
	n := strconv.Itoa(queues)
	return fields{"topic": name, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n, "perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
}

func is(code int) func(*frame) bool { return func(f *frame) bool { return f.Code == code } }

// topic makes a topic on both sides.
func (o *oracle) topic(ext fields) {
	o.t.Helper()
	name := ext["topic"]
	o.ask(step{name: "topic " + name, code: cCreateTopic, ext: ext, until: is(0)})
	o.quiet(step{conn: "ns", code: cRoute, ext: fields{"topic": name}, until: is(0)})
}

// send sends, and compares the receipt and what is stored.
func (o *oracle) send(name string, code int, ext fields, body []byte) [2]*frame {
	o.t.Helper()
	got := o.ask(step{name: name, code: code, ext: ext, raw: body})
	if got[0].Code == 0 && got[1].Code == 0 {
		topic, queue := ext["b"], "e"
		if topic == "" {
			topic, queue = ext["topic"], "queueId"
		}
		if n, err := strconv.Atoi(ext[queue]); err == nil && n >= 0 && got[0].ExtFields["queueOffset"] == got[1].ExtFields["queueOffset"] {
			o.ask(step{name: name + ", stored", code: cPull, ext: merged(pullAt(topic, n, got[0].ExtFields["queueOffset"]), "maxMsgNums", "3"), until: heard(got, "maxOffset")})
		}
	}
	return got
}

// heard holds of an answer that is no "not there yet", and whose field, the end of a queue, is behind what was sent:
// RocketMQ's queues hear of what is stored a moment later, one message after the other.
func heard(receipts [2]*frame, field string) func(*frame) bool {
	ids := func(f *frame) int { return strings.Count(f.ExtFields["msgId"], ",") + 1 }
	first, _ := strconv.Atoi(receipts[0].ExtFields["queueOffset"])
	return func(f *frame) bool {
		end, err := strconv.Atoi(f.ExtFields[field])
		return f.Code != 19 && (err != nil || end >= first+min(ids(receipts[0]), ids(receipts[1])))
	}
}

// batchBody is the body of a batch.
func batchBody(flag int, properties string, bodies ...string) (b []byte) {
	for _, body := range bodies {
		b = binary.BigEndian.AppendUint32(b, uint32(4+4+4+4+4+len(body)+2+len(properties)))
		b = binary.BigEndian.AppendUint32(b, 0) // magic
		b = binary.BigEndian.AppendUint32(b, 0) // checksum
		b = binary.BigEndian.AppendUint32(b, uint32(flag))
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(properties)))
		b = append(b, properties...)
	}
	return b
}

// setUp makes the topics that several parts use.
func (o *oracle) setUp() {
	o.topic(topicSpec("orc-t", 2))
	o.topic(topicSpec("orc-pull", 2))
	o.topic(merged(topicSpec("orc-ro", 1), "perm", "4"))
	o.topic(merged(topicSpec("orc-wo", 1), "perm", "2"))
}

// 17, 21, 105, 106, 202, 206, 351.
func oracleTopics(o *oracle) {
	o.topic(merged(topicSpec("orc-order", 2), "order", "true"))
	o.topic(merged(topicSpec("orc-attr", 1), "attributes", "+message.type=FIFO"))
	for _, name := range []string{"orc-t", "orc-ro", "orc-order", "orc-attr", "TBW102", "orc-none"} {
		o.ask(step{name: "route of " + name, conn: "ns", code: cRoute, ext: fields{"topic": name, "acceptStandardJsonOnly": "true"}})
		o.ask(step{name: "config of " + name, code: cGetTopic, ext: fields{"topic": name, "lo": "true"}})
		o.ask(step{name: "stats of " + name, code: cTopicStats, ext: fields{"topic": name}, of: regexp.MustCompile(`code|\{BROKER|topicPutTps|offsetTable$`)})
	}
	o.ask(step{name: "cluster", conn: "ns", code: cClusterInfo})
	of := regexp.MustCompile(`code|orc-(t|ro|order|attr)(\.|$)|\.(dataVersion|mappingDataVersion)|^body$`)
	o.ask(step{name: "all topic configs", code: cAllTopicConfig, of: of})
	o.ask(step{name: "topics of the name server", conn: "ns", code: cTopicsOfNS, of: regexp.MustCompile(`code|brokerAddr|^body$`)})
	o.ask(step{name: "topics of the cluster", conn: "ns", code: cTopicsOfCluster, ext: fields{"cluster": "<<cluster>>"}, of: regexp.MustCompile(`code|brokerAddr|^body$`)})
	o.ask(step{name: "topics of no cluster", conn: "ns", code: cTopicsOfCluster, ext: fields{"cluster": "none"}, of: regexp.MustCompile(`code|brokerAddr|^body$`)})
	o.ask(step{name: "system topics", conn: "ns", code: cSystemTopicsNS, of: regexp.MustCompile(`code|brokerAddr|^body$`)})
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"with an illegal name", topicSpec("a b", 1)},
		{"with a long name", topicSpec(strings.Repeat("x", 128), 1)},
		{"of the broker's", topicSpec("TBW102", 1)},
		{"of the schedule's", topicSpec("SCHEDULE_TOPIC_XXXX", 1)},
		{"of a group's", topicSpec("%RETRY%orc-x", 1)},
		{"of letters", topicSpec("%DLQ%orc-x", 1)},
		{"without queues", topicSpec("orc-fine", 0)},
		{"with a wrong filter", merged(topicSpec("orc-fine", 1), "topicFilterType", "X")},
		{"with a wrong permission", merged(topicSpec("orc-fine", 1), "perm", "16")},
		{"with an unknown attribute", merged(topicSpec("orc-attr2", 1), "attributes", "+x=y")},
		{"with attributes that are none", merged(topicSpec("orc-attr3", 1), "attributes", "x")},
		{"again", topicSpec("orc-t", 2)},
	} {
		o.ask(step{name: "topic " + x.name, code: cCreateTopic, ext: x.ext})
	}
	o.ask(step{name: "topic deleted by its attribute", code: cCreateTopic, ext: merged(topicSpec("orc-attr", 1), "attributes", "-message.type")})
	o.ask(step{name: "config after that", code: cGetTopic, ext: fields{"topic": "orc-attr"}})
}

// 10, 310, 320 and what they store.
func oracleSend(o *oracle) {
	long := strings.Repeat("x", 128)
	o.topic(topicSpec("orc-batch", 1))
	o.topic(topicSpec("orc-any", 1))
	o.topic(topicSpec("orc-odd", 1)) // for what one of the two does not take
	o.send("send 10", cSend, longSend("orc-t", 1), []byte("body"))
	o.send("send 310", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "SHORT", "KEYS", "k", "TAGS", "tag"), []byte("body"))
	o.send("send 310 without properties", cSendV2, merged(shortSend("orc-t", 1), "i", "-"), []byte("body"))
	o.send("send 310 with empty properties", cSendV2, shortSend("orc-t", 1), []byte("body"))
	o.send("send 310 without an id", cSendV2, shortSend("orc-t", 1, "TAGS", "tag"), []byte("body"))
	o.send("send 310, properties do not end", cSendV2, merged(shortSend("orc-t", 1), "i", "TAGS\x01tag\x02UNIQ_KEY\x01OPEN"), []byte("body"))
	o.send("send 310, a property twice", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "TWICE", "x", "1", "x", "2"), []byte("body"))
	o.send("send 310, properties that are none", cSendV2, merged(shortSend("orc-t", 1), "i", "UNIQ_KEY\x01BAD\x02nothing\x02\x01v\x02k\x01\x02"), []byte("body"))
	o.send("send 310 with what brokers set", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "SET", "MSG_REGION", "mine", "TRACE_ON", "false", "CLUSTER", "other", "WAIT", "false"), []byte("body"))
	o.send("send 310 that was traced", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "TRACED", "MSG_REGION", "mine", "TRACE_ON", "true"), []byte("body"))
	o.send("send 310 with unicode", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "UNI", "KEYS", "käse", "x", "日本\U0001f600"), []byte("bödy"))
	o.send("send 310 with a sharding key", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "SHARD", "__SHARDINGKEY", "s"), []byte("body"))
	o.send("send 310 of no bytes", cSendV2, shortSend("orc-odd", 0, "UNIQ_KEY", "EMPTY"), nil)
	o.send("send 310 compressed", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "ZIP"), "f", "1"), []byte("x\x9cKJL\x06\x00\x02M\x01'"))
	o.send("send 310 with many tags", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "TAGS2", "TAGS", "a||b"), "f", "2"), []byte("body"))
	o.send("send 310 with unknown bits", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "BITS"), "f", "4096"), []byte("body"))
	o.send("send 310 that was consumed", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "AGAIN"), "j", "3", "l", "5"), []byte("body"))
	o.send("send 310 in unit mode", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "UNIT"), "k", "true"), []byte("body"))
	o.send("send 310 born in the future", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "BORN"), "g", "4000000000000"), []byte("body"))
	o.send("send 310 where it likes", cSendV2, shortSend("orc-any", -1, "UNIQ_KEY", "ANY"), []byte("body"))
	o.send("send 310 with a large flag", cSendV2, merged(shortSend("orc-t", 1, "UNIQ_KEY", "FLAG"), "h", "-1"), []byte("body"))
	o.send("send 310 of magic", cSendV2, shortSend("orc-odd", 0, "UNIQ_KEY", "INNER", "INNER_NUM", "3"), []byte("body"))
	o.send("send 310 with a half's property", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "HALFLIKE", "TRAN_MSG", "false"), []byte("body"))
	o.send("send 310 with a retry's properties", cSendV2, shortSend("orc-t", 1, "UNIQ_KEY", "RETRYLIKE", "RETRY_TOPIC", "x", "ORIGIN_MESSAGE_ID", "y", "REAL_TOPIC", "z", "REAL_QID", "9"), []byte("body"))

	batch := merged(shortSend("orc-batch", 0), "m", "true")
	o.send("batch 320", cSendBatch, batch, batchBody(7, props("UNIQ_KEY", "B", "KEYS", "b1", "TAGS", "tag"), "one", "two", "three"))
	o.send("batch 320 without ids", cSendBatch, batch, batchBody(0, "", "one", "two"))
	o.send("batch 320 of one", cSendBatch, batch, batchBody(9, props("UNIQ_KEY", "B1"), "one"))
	o.send("batch 310", cSendV2, batch, batchBody(7, props("UNIQ_KEY", "B2"), "one", "two"))
	o.send("batch 320 with properties outside", cSendBatch, merged(batch, "i", props("TAGS", "outer", "UNIQ_KEY", "O")), batchBody(7, props("UNIQ_KEY", "B3"), "one", "two"))
	odd := merged(batch, "b", "orc-odd")
	o.send("batch 320 not marked", cSendBatch, merged(odd, "m", "false"), batchBody(7, props("UNIQ_KEY", "B4"), "one", "two"))
	o.send("batch 320 delayed", cSendBatch, merged(odd, "i", props("DELAY", "1")), batchBody(7, props("UNIQ_KEY", "B5"), "one", "two"))
	o.send("batch 320 with a delay inside", cSendBatch, odd, batchBody(7, props("UNIQ_KEY", "B6", "DELAY", "1"), "one", "two"))
	o.send("batch 320 of nothing", cSendBatch, odd, nil)
	o.send("batch 320 of what is none", cSendBatch, odd, []byte("x"))
	o.send("batch 320 cut", cSendBatch, odd, batchBody(7, "", "one")[:20])
	o.send("batch 320 prepared", cSendBatch, merged(odd, "f", "4"), batchBody(7, "", "one"))

	for _, form := range []struct {
		name                             string
		code                             int
		good                             fields
		topic, queue, sys, props, origin string
	}{
		{"10", cSend, longSend("orc-odd", 0), "topic", "queueId", "sysFlag", "properties", "defaultTopic"},
		{"310", cSendV2, shortSend("orc-odd", 0), "b", "e", "f", "i", "c"},
	} {
		refused := func(what string, body []byte, change ...string) {
			o.send("refused "+form.name+" "+what, form.code, merged(form.good, change...), body)
		}
		refused("to no topic", []byte("x"), form.topic, "orc-none", form.origin, "-")
		refused("to no topic, by no template", []byte("x"), form.topic, "orc-none", form.origin, "orc-nothing")
		refused("to an illegal name", []byte("x"), form.topic, "a b")
		refused("to a long name", []byte("x"), form.topic, long)
		refused("to the template", []byte("x"), form.topic, "TBW102")
		refused("to the schedule", []byte("x"), form.topic, "SCHEDULE_TOPIC_XXXX")
		refused("to half messages", []byte("x"), form.topic, "RMQ_SYS_TRANS_HALF_TOPIC")
		refused("to the retry topic of nobody", []byte("x"), form.topic, "%RETRY%orc-nobody")
		refused("where nobody may write", []byte("x"), form.topic, "orc-ro")
		refused("to a queue beyond", []byte("x"), form.queue, "2")
		refused("of a decided transaction", []byte("x"), form.sys, "8")
		refused("of a large body", make([]byte, 4<<20+1))
		refused("of long properties", []byte("x"), form.props, props("k", strings.Repeat("v", 32767)))
		refused("of a delay that is no number", []byte("x"), form.props, props("DELAY", "x"))
		refused("of a time that is no number", []byte("x"), form.props, props("TIMER_DELAY_MS", "5s"))
		refused("too late", []byte("x"), form.props, props("TIMER_DELAY_SEC", "999999999"))
		refused("prepared and delayed", []byte("x"), form.props, props("TRAN_MSG", "true", "DELAY", "3"))
	}
	got := o.send("send that makes a topic", cSendV2, shortSend("orc-auto", 0, "UNIQ_KEY", "AUTO"), []byte("x"))
	if got[0].Code == 0 && got[1].Code == 0 {
		o.ask(step{name: "config of a topic that was made so", code: cGetTopic, ext: fields{"topic": "orc-auto"}})
	}
}

// 11 and 361.
func oraclePull(o *oracle) {
	for i := range 10 {
		o.quiet(step{code: cSendV2, ext: shortSend("orc-pull", 0, "UNIQ_KEY", fmt.Sprint("P", i), "TAGS", []string{"even", "odd"}[i%2], "a", fmt.Sprint(i)), body: fmt.Sprint(i), until: is(0)})
	}
	o.quiet(step{code: cPull, ext: pullAt("orc-pull", 0, "9"), until: is(0)})
	all := pullAt("orc-pull", 0, "0")
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"all", all},
		{"from inside", pullAt("orc-pull", 0, "7")},
		{"three", merged(all, "maxMsgNums", "3")},
		{"none", merged(all, "maxMsgNums", "0")},
		{"less than none", merged(all, "maxMsgNums", "-1")},
		{"by bytes", merged(all, "maxMsgBytes", "1")},
		{"by no bytes", merged(all, "maxMsgBytes", "-1")},
		{"by a tag", merged(all, "subscription", "odd")},
		{"by tags", merged(all, "subscription", "odd || even")},
		{"by a tag nobody has", merged(all, "subscription", "nobody")},
		{"by a tag nobody has, from inside", merged(pullAt("orc-pull", 0, "4"), "subscription", "nobody", "maxMsgNums", "2")},
		{"by no subscription", merged(all, "subscription", "")},
		{"by a subscription that is left out", merged(all, "subscription", "-")},
		{"by a property", merged(all, "subscription", "a > 4", "expressionType", "SQL92")},
		{"by a property nobody has", merged(all, "subscription", "b IS NOT NULL", "expressionType", "SQL92")},
		{"by what cannot be read", merged(all, "subscription", "a >", "expressionType", "SQL92")},
		{"by a kind that is none", merged(all, "expressionType", "CLASS")},
		{"by a kind left out", merged(all, "expressionType", "-")},
		{"at the end", pullAt("orc-pull", 0, "10")},
		{"one beyond the end", pullAt("orc-pull", 0, "11")},
		{"far beyond the end", pullAt("orc-pull", 0, "1000")},
		{"below the begin", pullAt("orc-pull", 0, "-1")},
		{"of an empty queue", pullAt("orc-pull", 1, "0")},
		{"of an empty queue, beyond", pullAt("orc-pull", 1, "7")},
		{"of an empty queue, below", pullAt("orc-pull", 1, "-1")},
		{"of a queue beyond", pullAt("orc-pull", 2, "0")},
		{"of a queue below", pullAt("orc-pull", -1, "0")},
		{"of no topic", pullAt("orc-none", 0, "0")},
		{"where nobody may read", pullAt("orc-wo", 0, "0")},
		{"by nobody", merged(all, "consumerGroup", "orc-nobody", "sysFlag", "0")},
		{"by a new group", merged(all, "consumerGroup", "orc-new")},
		{"by an illegal group", merged(all, "consumerGroup", "a b")},
		{"held at the end", merged(pullAt("orc-pull", 0, "10"), "sysFlag", "6", "suspendTimeoutMillis", "500")},
		{"held at the end of an empty queue", merged(pullAt("orc-pull", 1, "0"), "sysFlag", "6", "suspendTimeoutMillis", "500")},
		{"held beyond", merged(pullAt("orc-pull", 0, "100"), "sysFlag", "6", "suspendTimeoutMillis", "500")},
		{"held, nothing wanted", merged(all, "subscription", "nobody", "sysFlag", "6", "suspendTimeoutMillis", "500")},
		{"of a system topic", pullAt("SCHEDULE_TOPIC_XXXX", 0, "0")},
		{"of the template", pullAt("TBW102", 0, "0")},
	} {
		o.ask(step{name: "pull " + x.name, code: cPull, ext: x.ext})
		if x.name == "all" || x.name == "three" || x.name == "at the end" || x.name == "of no topic" {
			o.ask(step{name: "lite pull " + x.name, code: cLitePull, ext: x.ext})
		}
	}
	o.quiet(step{code: cPull, ext: merged(pullAt("orc-pull", 0, "5"), "sysFlag", "7", "commitOffset", "5", "consumerGroup", "orc-puller")})
	o.ask(step{name: "offset that a pull committed", code: cQueryOffset, ext: fields{"consumerGroup": "orc-puller", "topic": "orc-pull", "queueId": "0"}, until: func(f *frame) bool { return f.ExtFields["offset"] == "5" }})
	// What comes wakes who waits.
	var opaques [2]int32
	for i, s := range o.sides {
		opaques[i] = s.conn(o.t, "waiter").send(cPull, merged(pullAt("orc-pull", 1, "0"), "sysFlag", "6", "suspendTimeoutMillis", "20000"), nil)
	}
	o.quiet(step{code: cSendV2, ext: shortSend("orc-pull", 1, "UNIQ_KEY", "WAKE"), body: "wake", until: is(0)})
	var facts [2]fields
	for i, s := range o.sides {
		facts[i] = s.facts(s.conn(o.t, "waiter").reply(opaques[i], 30*time.Second))
	}
	o.compare("pull that was woken", nil, facts)
}

// 14, 15, 29, 30, 31, 32.
func oracleOffsets(o *oracle) {
	o.topic(topicSpec("orc-off", 3))
	var at [2][]int64
	for i := range 4 {
		time.Sleep(30 * time.Millisecond)
		body, code, ext := []byte("x"), cSendV2, shortSend("orc-off", 0, "UNIQ_KEY", fmt.Sprint("O", i))
		if i == 2 { // three at one time
			body, code, ext = batchBody(0, "", "1", "2", "3"), cSendBatch, merged(ext, "m", "true", "i", "-")
		}
		got := o.quiet(step{code: code, ext: ext, raw: body, until: is(0)})
		seen := o.quiet(step{code: cPull, ext: pullAt("orc-off", 0, got[0].ExtFields["queueOffset"]), until: heard(got, "maxOffset")})
		for j := range o.sides {
			all, err := parseStored(seen[j].Body)
			require.NoError(o.t, err)
			for _, m := range all {
				n, _ := strconv.ParseInt(m.fields["storeTimestamp"], 10, 64)
				at[j] = append(at[j], n)
			}
		}
	}
	queue := fields{"topic": "orc-off", "queueId": "0"}
	for j, s := range o.sides {
		require.Len(o.t, at[j], 6)
		for i, n := range at[j] {
			s.vars[fmt.Sprint("t", i)] = fmt.Sprint(n)
			s.vars[fmt.Sprintf("t%d-", i)] = fmt.Sprint(n - 1)
			s.vars[fmt.Sprintf("t%d+", i)] = fmt.Sprint(n + 1)
		}
	}
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"", queue}, {" of an empty queue", merged(queue, "queueId", "1")}, {" of a queue beyond", merged(queue, "queueId", "3")},
		{" of a queue below", merged(queue, "queueId", "-1")}, {" of no topic", merged(queue, "topic", "orc-none")},
	} {
		o.ask(step{name: "max" + x.name, code: cMaxOffset, ext: x.ext})
		o.ask(step{name: "max committed" + x.name, code: cMaxOffset, ext: merged(x.ext, "committed", "false")})
		o.ask(step{name: "min" + x.name, code: cMinOffset, ext: x.ext})
		o.ask(step{name: "earliest" + x.name, code: cEarliest, ext: x.ext})
		o.ask(step{name: "search" + x.name, code: cSearchOffset, ext: merged(x.ext, "timestamp", "<<t1>>")})
		o.ask(step{name: "search from 0" + x.name, code: cSearchOffset, ext: merged(x.ext, "timestamp", "0")})
		o.ask(step{name: "search to the end" + x.name, code: cSearchOffset, ext: merged(x.ext, "timestamp", "4000000000000")})
	}
	for _, b := range []string{"-", "LOWER", "UPPER", "lower", "upper", "MIDDLE", ""} {
		for i := range at[0] {
			for _, c := range []string{"", "-", "+"} {
				o.ask(step{name: fmt.Sprintf("search %s t%d%s", b, i, c), code: cSearchOffset, ext: merged(queue, "timestamp", fmt.Sprintf("<<t%d%s>>", i, c), "boundaryType", b)})
			}
		}
		for _, n := range []string{"-1", "0", "9223372036854775807"} {
			o.ask(step{name: fmt.Sprintf("search %s %s", b, n), code: cSearchOffset, ext: merged(queue, "timestamp", n, "boundaryType", b)})
		}
	}
	o.ask(step{name: "commit by nobody", code: cUpdateOffset, ext: merged(queue, "consumerGroup", "orc-nobody2", "commitOffset", "0")})
	o.quiet(step{code: cUpdateGroup, body: `{"groupName":"orc-o"}`, until: is(0)})
	group := merged(queue, "consumerGroup", "orc-o")
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"never", group}, {"never, not zero", merged(group, "setZeroIfNotFound", "false")}, {"never, zero", merged(group, "setZeroIfNotFound", "true")},
		{"never, of an empty queue", merged(group, "queueId", "1")}, {"never, of a queue beyond", merged(group, "queueId", "3")}, {"of no topic", merged(group, "topic", "orc-none")},
		{"never, of an empty queue, not zero", merged(group, "queueId", "1", "setZeroIfNotFound", "false")},
		{"of a queue below", merged(group, "queueId", "-1")}, {"of an illegal group", merged(group, "consumerGroup", "a b")},
	} {
		o.ask(step{name: "offset " + x.name, code: cQueryOffset, ext: x.ext})
	}
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"2", merged(group, "commitOffset", "2")}, {"1, lower", merged(group, "commitOffset", "1")}, {"6, the end", merged(group, "commitOffset", "6")},
		{"7, beyond the end", merged(group, "commitOffset", "7")}, {"below zero", merged(group, "commitOffset", "-1")},
		{"of no topic", merged(group, "commitOffset", "0", "topic", "orc-none")}, {"of a queue beyond", merged(group, "commitOffset", "0", "queueId", "3")},
		{"of a queue below", merged(group, "commitOffset", "0", "queueId", "-1")}, {"of an illegal group", merged(group, "commitOffset", "0", "consumerGroup", "a b")},
	} {
		o.ask(step{name: "commit " + x.name, code: cUpdateOffset, ext: x.ext})
		o.ask(step{name: "offset after commit " + x.name, code: cQueryOffset, ext: group})
	}
}

// 12 and 33.
func oracleMessages(o *oracle) {
	o.topic(topicSpec("orc-key", 1))
	var last [2]*frame
	for i := range 4 {
		last = o.quiet(step{code: cSendV2, ext: shortSend("orc-key", 0, "UNIQ_KEY", fmt.Sprint("U", i), "KEYS", fmt.Sprint("same own", i), "TAGS", "tag"), body: fmt.Sprint(i), until: is(0)})
	}
	key := fields{"topic": "orc-key", "key": "same", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	found := is(0)
	o.quiet(step{code: cQueryMessage, ext: merged(key, "key", "own3"), until: found})
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"that all have", key}, {"at most two", merged(key, "maxNum", "2")}, {"that one has", merged(key, "key", "own2")},
		{"that is an id", merged(key, "key", "U1", "_UNIQUE_KEY_QUERY", "true")}, {"that is an id, not said", merged(key, "key", "U1")},
		{"nobody has", merged(key, "key", "nobody")}, {"in no topic", merged(key, "topic", "orc-none")}, {"before", merged(key, "endTimestamp", "1")},
		{"after", merged(key, "beginTimestamp", "4000000000000")}, {"at most none", merged(key, "maxNum", "0")}, {"at most less", merged(key, "maxNum", "-1")},
		{"as index type", merged(key, "indexType", "K")}, {"that is a tag", merged(key, "key", "tag", "indexType", "T")},
		{"that is an id by index type", merged(key, "key", "U1", "indexType", "U")},
		{"with white space", merged(key, "key", "same own1")},
	} {
		// raftmq gives the newest first.
		o.ask(step{name: "key " + x.name, code: cQueryMessage, ext: x.ext, unordered: true})
	}
	physical := func(f *frame) string {
		id := f.ExtFields["msgId"]
		require.Len(o.t, id, 32)
		n, err := strconv.ParseInt(id[16:], 16, 64)
		require.NoError(o.t, err)
		return fmt.Sprint(n)
	}
	o.keep("physical", last, physical)
	o.keep("inside", last, func(f *frame) string {
		n, _ := strconv.ParseInt(physical(f), 10, 64)
		return fmt.Sprint(n + 1)
	})
	o.ask(step{name: "view", code: cView, ext: fields{"offset": "<<physical>>"}})
	o.ask(step{name: "view with a topic", code: cView, ext: fields{"offset": "<<physical>>", "topic": "orc-key"}})
	o.ask(step{name: "view inside a message", code: cView, ext: fields{"offset": "<<inside>>"}})
	o.ask(step{name: "view beyond", code: cView, ext: fields{"offset": "9223372036854775807"}})
	o.ask(step{name: "view below zero", code: cView, ext: fields{"offset": "-1"}})
}

func consumerBeat(client, group, more string, topics ...string) string {
	subs := ""
	for i, topic := range topics {
		if i > 0 {
			subs += ","
		}
		subs += fmt.Sprintf(`{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":%q}`, topic)
	}
	return fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,"messageModel":"CLUSTERING","subscriptionDataSet":[%s],"unitMode":false}],"producerDataSet":[{"groupName":"%s-p"}]%s}`,
		client, group, subs, group, more)
}

// 34, 35, 38, 40, 46, 203, 204, 307, 309.
func oracleClients(o *oracle) {
	o.ask(step{name: "heartbeat", conn: "a", code: cHeartbeat, body: consumerBeat("orc-a", "orc-m", "", "orc-t")})
	o.ask(step{name: "heartbeat again", conn: "a", code: cHeartbeat, body: consumerBeat("orc-a", "orc-m", "", "orc-t")})
	member := func(name string, n int) step {
		return step{name: name, code: cConsumerList, ext: fields{"consumerGroup": "orc-m"}, until: func(f *frame) bool { return strings.Count(string(f.Body), "orc-") == n }}
	}
	o.ask(member("members", 1))
	o.ask(step{name: "heartbeat of another", conn: "b", code: cHeartbeat, body: consumerBeat("orc-b", "orc-m", "", "orc-t")})
	var facts [2]fields
	for i, s := range o.sides {
		f := s.conn(o.t, "a").push(cNotifyIDs, 20*time.Second)
		facts[i] = s.facts(f)
		facts[i]["flag"] = strconv.Itoa(f.Flag)
	}
	o.compare("notice of a change", nil, facts)
	o.ask(member("two members", 2))
	o.ask(step{name: "members of nobody", code: cConsumerList, ext: fields{"consumerGroup": "orc-nobody"}})
	o.ask(step{name: "members without a group", code: cConsumerList, ext: fields{"consumerGroup": ""}})
	o.ask(step{name: "connections", code: cConsumerConns, ext: fields{"consumerGroup": "orc-m"}})
	o.ask(step{name: "connections of nobody", code: cConsumerConns, ext: fields{"consumerGroup": "orc-nobody"}})
	o.ask(step{name: "producers", code: cProducerConns, ext: fields{"producerGroup": "orc-m-p"}})
	o.ask(step{name: "producers of nobody", code: cProducerConns, ext: fields{"producerGroup": "orc-nobody"}})
	pull := merged(pullAt("orc-t", 1, "0"), "consumerGroup", "orc-m", "sysFlag", "0", "subscription", "", "maxMsgNums", "1", "subVersion", "1")
	o.ask(step{name: "pull by its heartbeat", code: cPull, ext: pull})
	o.ask(step{name: "pull by a newer one", code: cPull, ext: merged(pull, "subVersion", "2")})
	o.ask(step{name: "pull of what it does not want", code: cPull, ext: merged(pull, "topic", "orc-pull")})
	o.ask(step{name: "who consumes", code: cWhoConsumes, ext: fields{"topic": "orc-t"}, of: regexp.MustCompile(`code|^body$`)})
	o.ask(step{name: "who consumes nothing", code: cWhoConsumes, ext: fields{"topic": "orc-none"}})
	for _, x := range []struct{ name, body string }{
		{"of nothing", ""}, {"that is cut", "{"}, {"that is a list", "[]"}, {"that is text", `"x"`}, {"without a client", `{"consumerDataSet":[]}`},
		{"of an illegal group", consumerBeat("orc-x", "a b", "", "orc-t")}, {"of a long group", consumerBeat("orc-x", strings.Repeat("x", 256), "", "orc-t")},
		{"without groups", `{"clientID":"orc-x"}`}, {"v2", consumerBeat("orc-v2", "orc-v2", `,"heartbeatFingerprint":7,"withoutSub":false`, "orc-t")},
		{"v2 without", `{"clientID":"orc-v2","consumerDataSet":[{"groupName":"orc-v2","messageModel":"CLUSTERING"}],"heartbeatFingerprint":7,"withoutSub":true}`},
	} {
		o.ask(step{name: "heartbeat " + x.name, conn: "bad", code: cHeartbeat, body: x.body})
	}
	o.ask(step{name: "connections of v2", code: cConsumerConns, ext: fields{"consumerGroup": "orc-v2"}})
	check := `{"clientId":"orc-a","group":"orc-m","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":%q,"subVersion":1,"tagsSet":[],"topic":"orc-t"}}`
	o.ask(step{name: "check of a filter", code: cCheckClient, body: fmt.Sprintf(check, "a > 1")})
	o.ask(step{name: "check of what cannot be read", code: cCheckClient, body: fmt.Sprintf(check, "a >")})
	o.ask(step{name: "check of nothing", code: cCheckClient})
	o.ask(step{name: "info of nobody", code: cRunningInfo, ext: fields{"consumerGroup": "orc-m", "clientId": "nobody"}})
	o.ask(step{name: "status of nobody", code: 223, ext: fields{"topic": "orc-t", "group": "orc-nobody", "clientAddr": ""}})
	// What a tool asks of a client goes through the broker.
	relayed := func(name string, code int, ext fields) {
		var opaques [2]int32
		var asked, told [2]fields
		for i, s := range o.sides {
			e := make(fields)
			for k, v := range ext {
				e[k] = s.fill(v)
			}
			opaques[i] = s.conn(o.t, "").send(code, e, nil)
		}
		for i, s := range o.sides {
			f := s.conn(o.t, "a").push(code, 3*time.Second)
			asked[i] = s.facts(f)
			if f.Code == code {
				require.NoError(o.t, s.conn(o.t, "a").answer(f, 0, []byte(`{"x":"y"}`)))
			}
			told[i] = s.facts(s.conn(o.t, "").reply(opaques[i], 20*time.Second))
		}
		o.compare(name+", asked", nil, asked)
		o.compare(name, nil, told)
	}
	relayed("info of a client", cRunningInfo, fields{"consumerGroup": "orc-m", "clientId": "orc-a", "jstackEnable": "false"})
	got := o.quiet(step{code: cSendV2, ext: shortSend("orc-t", 0, "UNIQ_KEY", "DIRECT"), body: "x", until: is(0)})
	o.keep("directly", got, extOf("msgId"))
	relayed("consume directly", cConsumeDirectly, fields{"consumerGroup": "orc-m", "clientId": "orc-a", "msgId": "<<directly>>", "brokerName": "<<broker>>", "topic": "orc-t"})
	o.ask(step{name: "unregister", conn: "b", code: cUnregister, ext: fields{"clientID": "orc-b", "consumerGroup": "orc-m", "producerGroup": "orc-m-p"}})
	o.ask(member("members after that", 1))
	o.ask(step{name: "unregister again", conn: "b", code: cUnregister, ext: fields{"clientID": "orc-b", "consumerGroup": "orc-m"}})
	o.ask(step{name: "unregister nobody", conn: "b", code: cUnregister, ext: fields{"clientID": "orc-z"}})
}

// 41 and 42.
func oracleLocks(o *oracle) {
	o.topic(topicSpec("orc-lock", 2))
	queue := func(topic string, id int) string {
		return fmt.Sprintf(`{"brokerName":"<<broker>>","queueId":%d,"topic":%q}`, id, topic)
	}
	lock := func(client string, queues ...string) string {
		return fmt.Sprintf(`{"clientId":%q,"consumerGroup":"orc-lockers","mqSet":[%s],"onlyThisBroker":false}`, client, strings.Join(queues, ","))
	}
	q0, q1 := queue("orc-lock", 0), queue("orc-lock", 1)
	for _, x := range []struct {
		name string
		code int
		body string
	}{
		{"lock", cLock, lock("a", q0)}, {"lock again", cLock, lock("a", q0)}, {"lock by another", cLock, lock("b", q0)}, {"lock of what is free", cLock, lock("b", q1)},
		{"lock of a queue beyond", cLock, lock("a", queue("orc-lock", 9))}, {"lock in no topic", cLock, lock("a", queue("orc-none", 0))}, {"lock of nothing", cLock, lock("a")},
		{"unlock by another", cUnlock, lock("b", q0)}, {"lock after that", cLock, lock("b", q0)}, {"unlock", cUnlock, lock("a", q0)}, {"lock when it is free", cLock, lock("b", q0)},
		{"unlock again", cUnlock, lock("a", q0)}, {"lock without a client", cLock, `{"consumerGroup":"orc-lockers","mqSet":[]}`}, {"lock of nobody", cLock, ""},
		{"lock that is none", cLock, "{"}, {"unlock of nobody", cUnlock, ""}, {"lock without a group", cLock, `{"clientId":"a","mqSet":[]}`},
	} {
		o.ask(step{name: x.name, code: x.code, body: x.body})
	}
}

// offsetIn is the physical offset in a receipt.
func offsetIn(f *frame) string {
	id := f.ExtFields["msgId"]
	if len(id) < 32 {
		return "0"
	}
	n, _ := strconv.ParseInt(id[16:32], 16, 64)
	return fmt.Sprint(n)
}

// 36.
func oracleRetries(o *oracle) {
	o.topic(topicSpec("orc-retry", 1))
	o.ask(step{name: "group of retries", code: cUpdateGroup, body: `{"groupName":"orc-r","retryMaxTimes":2,"consumeEnable":true}`})
	o.ask(step{name: "heartbeat of retries", conn: "r", code: cHeartbeat, body: consumerBeat("orc-r1", "orc-r", "", "orc-retry", "%RETRY%orc-r")})
	var got [2]*frame
	put := func(name string, pairs ...string) {
		got = o.quiet(step{code: cSendV2, ext: shortSend("orc-retry", 0, append([]string{"UNIQ_KEY", name, "KEYS", "k", "TAGS", "tag"}, pairs...)...), body: name, until: is(0)})
		o.keep("physical", got, offsetIn)
		o.keep("id", got, extOf("msgId"))
	}
	back := fields{"group": "orc-r", "offset": "<<physical>>", "delayLevel": "1", "originMsgId": "<<id>>", "originTopic": "orc-retry", "unitMode": "false", "maxReconsumeTimes": "2"}
	retry, dead := 0, 0
	seen := func(name, topic string, n *int) {
		o.ask(step{name: name, code: cPull, ext: merged(pullAt(topic, 0, fmt.Sprint(*n)), "consumerGroup", "orc-r", "maxMsgNums", "1"), until: is(0)})
		*n++
	}
	put("R0")
	o.ask(step{name: "back", code: cSendBack, ext: back})
	seen("back, stored", "%RETRY%orc-r", &retry)
	// Once more, from the retry topic.
	again := o.quiet(step{code: cPull, ext: merged(pullAt("%RETRY%orc-r", 0, "0"), "consumerGroup", "orc-r", "maxMsgNums", "1"), until: is(0)})
	o.keep("physical", again, func(f *frame) string {
		all, err := parseStored(f.Body)
		require.NoError(o.t, err)
		require.NotEmpty(o.t, all)
		return all[0].fields["physical"]
	})
	o.ask(step{name: "back again", code: cSendBack, ext: back})
	seen("back again, stored", "%RETRY%orc-r", &retry)
	again = o.quiet(step{code: cPull, ext: merged(pullAt("%RETRY%orc-r", 0, "1"), "consumerGroup", "orc-r", "maxMsgNums", "1"), until: is(0)})
	o.keep("physical", again, func(f *frame) string {
		all, err := parseStored(f.Body)
		require.NoError(o.t, err)
		require.NotEmpty(o.t, all)
		return all[0].fields["physical"]
	})
	o.ask(step{name: "back too often", code: cSendBack, ext: back})
	seen("back too often, stored", "%DLQ%orc-r", &dead)
	put("R1")
	o.ask(step{name: "back to dead letters", code: cSendBack, ext: merged(back, "delayLevel", "-1")})
	seen("back to dead letters, stored", "%DLQ%orc-r", &dead)
	put("R2")
	o.ask(step{name: "back with no more retries", code: cSendBack, ext: merged(back, "maxReconsumeTimes", "0")})
	seen("back with no more retries, stored", "%DLQ%orc-r", &dead)
	put("R3")
	o.ask(step{name: "back as old clients do", code: cSendBack, ext: merged(back, "maxReconsumeTimes", "-", "originMsgId", "-", "originTopic", "-", "unitMode", "-")})
	seen("back as old clients do, stored", "%RETRY%orc-r", &retry)
	put("R4", "RETRY_TOPIC", "mine", "ORIGIN_MESSAGE_ID", "mine", "DELAY", "0")
	o.ask(step{name: "back of what looks like a retry", code: cSendBack, ext: back})
	seen("back of what looks like a retry, stored", "%RETRY%orc-r", &retry)
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"of nothing", merged(back, "offset", "9223372036854775807")}, {"of a group that is not", merged(back, "group", "orc-nogroup")},
		{"without an offset", merged(back, "offset", "-")}, {"without a level", merged(back, "delayLevel", "-")},
	} {
		o.ask(step{name: "back " + x.name, code: cSendBack, ext: x.ext, wait: 3 * time.Second})
	}
	// A client whose put-back failed sends the message itself.
	o.send("sent to the retry topic", cSendV2, merged(shortSend("%RETRY%orc-r", 0, "UNIQ_KEY", "R5", "RETRY_TOPIC", "orc-retry", "ORIGIN_MESSAGE_ID", "x", "RECONSUME_TIME", "1", "MAX_RECONSUME_TIMES", "2", "DELAY", "1"), "j", "1", "l", "2", "a", "CLIENT_INNER_PRODUCER"), []byte("R5"))
	seen("sent to the retry topic, later", "%RETRY%orc-r", &retry)
	own := func(id, times string) fields {
		return merged(shortSend("%RETRY%orc-r", 0, "UNIQ_KEY", id, "RETRY_TOPIC", "orc-retry", "ORIGIN_MESSAGE_ID", "x", "RECONSUME_TIME", times, "MAX_RECONSUME_TIMES", "2", "DELAY", "1"), "j", times, "l", "2", "a", "CLIENT_INNER_PRODUCER")
	}
	o.ask(step{name: "sent to the retry topic too often", code: cSendV2, ext: own("R6", "3"), body: "R6"})
	seen("sent to the retry topic too often, stored", "%DLQ%orc-r", &dead)
	o.ask(step{name: "route of a retry topic", conn: "ns", code: cRoute, ext: fields{"topic": "%RETRY%orc-r"}, until: is(0)})
	o.ask(step{name: "route of dead letters", conn: "ns", code: cRoute, ext: fields{"topic": "%DLQ%orc-r"}, until: is(0)})
	o.ask(step{name: "config of a retry topic", code: cGetTopic, ext: fields{"topic": "%RETRY%orc-r"}})
	o.ask(step{name: "config of dead letters", code: cGetTopic, ext: fields{"topic": "%DLQ%orc-r"}})
	o.ask(step{name: "stats of a retry topic", code: cTopicStats, ext: fields{"topic": "%RETRY%orc-r"}})
	o.ask(step{name: "commit in a retry topic", code: cUpdateOffset, ext: fields{"consumerGroup": "orc-r", "topic": "%RETRY%orc-r", "queueId": "0", "commitOffset": "1"}})
	o.ask(step{name: "consume stats of retries", code: cConsumeStats, ext: fields{"consumerGroup": "orc-r"}, of: regexp.MustCompile(`code|BROKER|consumeTps`)})
	o.ask(step{name: "sent to the retry topic for the last time", code: cSendV2, ext: own("R8", "2"), body: "R8"})
	o.ask(step{name: "sent to the retry topic for the last time, in dead letters", code: cPull, ext: merged(pullAt("%DLQ%orc-r", 0, fmt.Sprint(dead)), "consumerGroup", "orc-r")})
	o.send("sent to dead letters", cSendV2, shortSend("%DLQ%orc-r", 0, "UNIQ_KEY", "R7"), []byte("x"))
	o.ask(step{name: "key in a retry topic", code: cQueryMessage, ext: fields{"topic": "%RETRY%orc-r", "key": "R0", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, until: is(0), unordered: true})
	o.ask(step{name: "key in dead letters", code: cQueryMessage, ext: fields{"topic": "%DLQ%orc-r", "key": "R1", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, until: is(0), unordered: true})
}

// Delays, and 370.
func oracleDelays(o *oracle) {
	o.topic(topicSpec("orc-delay", 1))
	at := 0
	later := func(name string, pairs ...string) {
		got := o.ask(step{name: "delay " + name, code: cSendV2, ext: shortSend("orc-delay", 0, append([]string{"UNIQ_KEY", "D", "TAGS", "tag"}, pairs...)...), body: name})
		if got[0].Code == 0 && got[1].Code == 0 {
			o.ask(step{name: "delay " + name + ", come", code: cPull, ext: merged(pullAt("orc-delay", 0, fmt.Sprint(at)), "maxMsgNums", "1"), until: is(0)})
			at++
		}
	}
	later("by level 1", "DELAY", "1")
	later("by level 2", "DELAY", "2")
	later("by level 0", "DELAY", "0")
	later("by a negative level", "DELAY", "-1")
	later("by seconds", "TIMER_DELAY_SEC", "2")
	later("by milliseconds", "TIMER_DELAY_MS", "1500")
	later("until a time", "TIMER_DELIVER_MS", strconv.FormatInt(time.Now().Add(3*time.Second).UnixMilli(), 10))
	later("until a time that was", "TIMER_DELIVER_MS", "1700000000000")
	later("by no milliseconds", "TIMER_DELAY_MS", "0")
	later("by negative milliseconds", "TIMER_DELAY_MS", "-5")
	later("by both", "DELAY", "1", "TIMER_DELAY_MS", "1500")
	later("by properties of the broker's", "DELAY", "1", "REAL_TOPIC", "x", "REAL_QID", "5")
	later("with what was a timer", "DELAY", "1", "TIMER_OUT_MS", "5", "TIMER_ENQUEUE_MS", "5")
	got := o.ask(step{name: "delay to recall", code: cSendV2, ext: shortSend("orc-delay", 0, "UNIQ_KEY", "RECALL", "TIMER_DELAY_SEC", "600"), body: "x"})
	o.keep("handle", got, extOf("recallHandle"))
	o.ask(step{name: "recall", code: cRecall, ext: fields{"producerGroup": "orc-p", "topic": "orc-delay", "recallHandle": "<<handle>>"}})
	o.ask(step{name: "recall in another topic", code: cRecall, ext: fields{"producerGroup": "orc-p", "topic": "orc-t", "recallHandle": "<<handle>>"}})
	o.ask(step{name: "recall of no handle", code: cRecall, ext: fields{"producerGroup": "orc-p", "topic": "orc-delay", "recallHandle": "x"}})
	o.ask(step{name: "recall without a handle", code: cRecall, ext: fields{"producerGroup": "orc-p", "topic": "orc-delay"}})
}

// 37 and 39.
func oracleTransactions(o *oracle) {
	o.topic(topicSpec("orc-tx", 1))
	const beat = `{"clientID":"orc-tx","consumerDataSet":[],"producerDataSet":[{"groupName":"orc-txp"}]}`
	o.ask(step{name: "heartbeat of a producer", conn: "tx", code: cHeartbeat, body: beat})
	half := func(name string, more ...string) [2]*frame {
		got := o.ask(step{name: "half " + name, conn: "tx", code: cSendV2, ext: merged(shortSend("orc-tx", 0, append([]string{"UNIQ_KEY", name, "KEYS", "k", "TAGS", "tag", "TRAN_MSG", "true", "PGROUP", "orc-txp"}, more...)...), "a", "orc-txp", "f", "4", "g", fmt.Sprint(time.Now().UnixMilli())), body: name})
		o.keep("physical", got, offsetIn)
		o.keep("state", got, extOf("queueOffset"))
		o.keep("id", got, extOf("msgId"))
		return got
	}
	end := fields{"producerGroup": "orc-txp", "topic": "orc-tx", "tranStateTableOffset": "<<state>>", "commitLogOffset": "<<physical>>", "commitOrRollback": "8", "fromTransactionCheck": "false", "msgId": "<<id>>", "transactionId": "T0"}
	half("T0")
	o.ask(step{name: "half is not there", code: cPull, ext: pullAt("orc-tx", 0, "0")})
	o.ask(step{name: "end of a half's queue", code: cMaxOffset, ext: fields{"topic": "orc-tx", "queueId": "0"}})
	o.ask(step{name: "view of a half", code: cView, ext: fields{"offset": "<<physical>>"}})
	o.ask(step{name: "decision that is none", conn: "tx", code: cEndTransaction, ext: merged(end, "commitOrRollback", "4"), wait: 2 * time.Second})
	o.ask(step{name: "decision not made yet", conn: "tx", code: cEndTransaction, ext: merged(end, "commitOrRollback", "0"), wait: 2 * time.Second})
	o.ask(step{name: "decision by another group", conn: "tx", code: cEndTransaction, ext: merged(end, "producerGroup", "orc-other"), wait: 2 * time.Second})
	o.ask(step{name: "decision at another state", conn: "tx", code: cEndTransaction, ext: merged(end, "tranStateTableOffset", "77"), wait: 2 * time.Second})
	o.ask(step{name: "commit", conn: "tx", code: cEndTransaction, ext: end})
	o.ask(step{name: "commit, stored", code: cPull, ext: pullAt("orc-tx", 0, "0"), until: is(0)})
	half("T1")
	o.ask(step{name: "rollback", conn: "tx", code: cEndTransaction, ext: merged(end, "commitOrRollback", "12")})
	o.ask(step{name: "nothing after a rollback", code: cPull, ext: pullAt("orc-tx", 0, "1")})
	o.ask(step{name: "decision about nothing", conn: "tx", code: cEndTransaction, ext: merged(end, "commitLogOffset", "9223372036854775000"), wait: 3 * time.Second})
	got := o.quiet(step{code: cSendV2, ext: shortSend("orc-tx", 0, "UNIQ_KEY", "NOHALF"), body: "x", until: is(0)})
	o.keep("physical", got, offsetIn)
	o.ask(step{name: "decision about what is no half", conn: "tx", code: cEndTransaction, ext: end, wait: 3 * time.Second})
	// Nobody decides: the broker asks.
	o.quiet(step{conn: "tx", code: cHeartbeat, body: beat})
	half("T2")
	var facts [2]fields
	var asked [2]*frame
	for i, s := range o.sides {
		for until := time.Now().Add(90 * time.Second); ; { // others may have been asked about while they waited
			asked[i] = s.conn(o.t, "tx").push(cCheckState, time.Until(until))
			if asked[i].Code != cCheckState || asked[i].ExtFields["transactionId"] == "T2" {
				break
			}
		}
		facts[i] = s.facts(asked[i])
		facts[i]["flag"] = strconv.Itoa(asked[i].Flag)
	}
	o.compare("check", nil, facts)
	for _, name := range []string{"tranStateTableOffset", "commitLogOffset", "msgId", "transactionId"} {
		o.keep(name, asked, extOf(name))
	}
	o.ask(step{name: "commit after a check", conn: "tx", code: cEndTransaction, ext: fields{"producerGroup": "orc-txp", "topic": "orc-tx", "tranStateTableOffset": "<<tranStateTableOffset>>", "commitLogOffset": "<<commitLogOffset>>", "commitOrRollback": "8", "fromTransactionCheck": "true", "msgId": "<<msgId>>", "transactionId": "<<transactionId>>"}})
	o.ask(step{name: "commit after a check, stored", code: cPull, ext: pullAt("orc-tx", 0, "2"), until: is(0)})
	o.ask(step{name: "key of a transaction", code: cQueryMessage, ext: fields{"topic": "orc-tx", "key": "k", "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, until: is(0), unordered: true})
}

// 200, 201, 207, 208, 352.
func oracleGroups(o *oracle) {
	o.ask(step{name: "group", code: cUpdateGroup, body: `{"groupName":"orc-made","retryMaxTimes":3,"consumeBroadcastEnable":false}`})
	o.ask(step{name: "config of a group", code: cGetGroup, ext: fields{"group": "orc-made"}})
	o.ask(step{name: "config of no group", code: cGetGroup, ext: fields{"group": "orc-nothere"}})
	o.ask(step{name: "all groups", code: cAllGroups, of: regexp.MustCompile(`code|^body$|orc-made|dataVersion|forbiddenTable$|subscriptionGroupTable$`)})
	o.ask(step{name: "group without a name", code: cUpdateGroup, body: `{}`})
	o.ask(step{name: "group with an illegal name", code: cUpdateGroup, body: `{"groupName":"a b"}`})
	o.ask(step{name: "group with a long name", code: cUpdateGroup, body: `{"groupName":"` + strings.Repeat("x", 256) + `"}`})
	o.ask(step{name: "group of nothing", code: cUpdateGroup})
	o.ask(step{name: "group that is cut", code: cUpdateGroup, body: "{"})
	o.ask(step{name: "group that may not", code: cUpdateGroup, body: `{"groupName":"orc-off","consumeEnable":false}`})
	o.ask(step{name: "pull by a group that may not", code: cPull, ext: merged(pullAt("orc-pull", 0, "0"), "consumerGroup", "orc-off")})
	o.ask(step{name: "heartbeat of the group", conn: "g", code: cHeartbeat, body: consumerBeat("orc-g1", "orc-made", "", "orc-pull")})
	o.ask(step{name: "commit of the group", conn: "g", code: cUpdateOffset, ext: fields{"consumerGroup": "orc-made", "topic": "orc-pull", "queueId": "0", "commitOffset": "2"}})
	of := regexp.MustCompile(`code|BROKER|consumeTps`)
	o.ask(step{name: "consume stats", code: cConsumeStats, ext: fields{"consumerGroup": "orc-made"}, of: of})
	o.ask(step{name: "consume stats of a topic", code: cConsumeStats, ext: fields{"consumerGroup": "orc-made", "topic": "orc-pull"}, of: of})
	o.ask(step{name: "consume stats of another topic", code: cConsumeStats, ext: fields{"consumerGroup": "orc-made", "topic": "orc-t"}, of: of})
	o.ask(step{name: "consume stats of no topic", code: cConsumeStats, ext: fields{"consumerGroup": "orc-made", "topic": "orc-none"}, of: of})
	o.ask(step{name: "consume stats of nobody", code: cConsumeStats, ext: fields{"consumerGroup": "orc-nothere"}, of: of})
	o.ask(step{name: "stats of a used topic", code: cTopicStats, ext: fields{"topic": "orc-pull"}})
	for _, s := range o.sides {
		s.conn(o.t, "g").nc.Close()
		delete(s.conns, "g")
	}
	o.ask(step{name: "group deleted", code: cDeleteGroup, ext: fields{"groupName": "orc-made", "cleanOffset": "true"}})
	o.ask(step{name: "config of a group deleted", code: cGetGroup, ext: fields{"group": "orc-made"}})
	o.ask(step{name: "offset of a group deleted", code: cQueryOffset, ext: fields{"consumerGroup": "orc-made", "topic": "orc-pull", "queueId": "0", "setZeroIfNotFound": "false"}})
	o.ask(step{name: "group deleted again", code: cDeleteGroup, ext: fields{"groupName": "orc-made"}})
}

// 222 and 220.
func oracleReset(o *oracle) {
	o.topic(topicSpec("orc-reset", 2))
	for i := range 5 {
		o.quiet(step{code: cSendV2, ext: shortSend("orc-reset", 0, "UNIQ_KEY", fmt.Sprint("S", i)), body: "x", until: is(0)})
	}
	of := regexp.MustCompile(`code|^body$|BROKER`)
	move := fields{"topic": "orc-reset", "group": "orc-moved", "timestamp": "0", "isForce": "true"}
	group := fields{"consumerGroup": "orc-moved", "topic": "orc-reset", "queueId": "0", "setZeroIfNotFound": "false"}
	o.ask(step{name: "reset of nobody", code: cResetOffset, ext: move, of: of})
	o.ask(step{name: "group to move", code: cUpdateGroup, body: `{"groupName":"orc-moved"}`})
	o.quiet(step{code: cUpdateOffset, ext: merged(group, "commitOffset", "4"), until: is(0)})
	o.quiet(step{code: cUpdateOffset, ext: merged(group, "commitOffset", "0", "queueId", "1"), until: is(0)})
	for _, x := range []struct {
		name string
		ext  fields
	}{
		{"to the begin", move}, {"to the end", merged(move, "timestamp", "-1")}, {"one queue", merged(move, "queueId", "0")}, {"one queue to an offset", merged(move, "queueId", "0", "offset", "3")},
		{"one queue beyond the end", merged(move, "queueId", "0", "offset", "99")}, {"one queue to the end", merged(move, "queueId", "0", "timestamp", "-1")},
		{"of a queue beyond", merged(move, "queueId", "5")}, {"in no topic", merged(move, "topic", "orc-none")}, {"of an illegal group", merged(move, "group", "a b")},
		{"without force", merged(move, "isForce", "false")}, {"without a time", merged(move, "timestamp", "-")},
	} {
		o.ask(step{name: "reset " + x.name, code: cResetOffset, ext: x.ext, of: of})
		o.ask(step{name: "offset after reset " + x.name, code: cQueryOffset, ext: group})
	}
	o.ask(step{name: "pull after a reset", code: cPull, ext: merged(pullAt("orc-reset", 0, "4"), "consumerGroup", "orc-moved")})
	// With a member it is told.
	o.quiet(step{conn: "m", code: cHeartbeat, body: consumerBeat("orc-m1", "orc-moved", "", "orc-reset"), until: is(0)})
	o.ask(step{name: "reset of members", code: cResetOffset, ext: move, of: of})
	var facts [2]fields
	for i, s := range o.sides {
		f := s.conn(o.t, "m").push(cResetClient, 5*time.Second)
		facts[i] = s.facts(f)
	}
	o.compare("members are told of a reset", nil, facts)
}

// 100, 101, 102, 219.
func oracleValues(o *oracle) {
	kv := fields{"namespace": "orc", "key": "k", "value": "v"}
	for _, x := range []struct {
		name string
		code int
		ext  fields
	}{
		{"value never put", cGetKV, kv}, {"values never put", cKVList, kv}, {"put", cPutKV, kv}, {"value", cGetKV, kv}, {"values", cKVList, kv},
		{"value of another key", cGetKV, merged(kv, "key", "x")}, {"put without a value", cPutKV, merged(kv, "value", "-")}, {"put of an empty value", cPutKV, merged(kv, "value", "")},
		{"empty value", cGetKV, kv}, {"delete", cDeleteKV, kv}, {"delete again", cDeleteKV, kv}, {"value deleted", cGetKV, kv}, {"values deleted", cKVList, kv},
		{"put without a key", cPutKV, merged(kv, "key", "-")}, {"put without a namespace", cPutKV, merged(kv, "namespace", "-")},
	} {
		o.ask(step{name: x.name, conn: "ns", code: x.code, ext: x.ext})
	}
}

// Fields that are missing, or are no numbers; codes that are none.
func oracleRefusals(o *oracle) {
	queue := fields{"topic": "orc-t", "queueId": "0"}
	group := merged(queue, "consumerGroup", "orc-g")
	key := fields{"topic": "orc-t", "key": "k1", "maxNum": "1", "beginTimestamp": "0", "endTimestamp": "9999999999999"}
	reset := fields{"topic": "orc-t", "group": "orc-g", "timestamp": "-1", "isForce": "true"}
	for _, x := range []struct {
		code           int
		ext            fields
		texts, numbers string
	}{
		{cSend, longSend("orc-t", 0), "producerGroup topic", "queueId sysFlag bornTimestamp flag"},
		{cSendV2, shortSend("orc-t", 0), "a b", "e f g h"},
		{cPull, pullAt("orc-t", 0, "0"), "consumerGroup topic", "queueId queueOffset maxMsgNums sysFlag commitOffset suspendTimeoutMillis subVersion"},
		{cQueryOffset, group, "consumerGroup topic", "queueId"},
		{cUpdateOffset, merged(group, "commitOffset", "0"), "consumerGroup topic", "queueId commitOffset"},
		{cMaxOffset, queue, "topic", "queueId"},
		{cMinOffset, queue, "topic", "queueId"},
		{cEarliest, queue, "topic", "queueId"},
		{cSearchOffset, merged(queue, "timestamp", "0"), "topic", "queueId timestamp"},
		{cView, fields{"offset": "0"}, "", "offset"},
		{cQueryMessage, key, "topic key", "maxNum beginTimestamp endTimestamp"},
		{cUnregister, fields{"clientID": "orc-q"}, "clientID", ""},
		{cConsumerList, fields{"consumerGroup": "orc-g"}, "consumerGroup", ""},
		{cConsumerConns, fields{"consumerGroup": "orc-g"}, "consumerGroup", ""},
		{cProducerConns, fields{"producerGroup": "orc-g"}, "producerGroup", ""},
		{cCreateTopic, topicSpec("orc-fine", 1), "topic", "readQueueNums writeQueueNums perm"},
		{cDeleteTopic, fields{"topic": "orc-fine"}, "topic", ""},
		{cGetTopic, fields{"topic": "orc-t"}, "topic", ""},
		{cTopicStats, fields{"topic": "orc-t"}, "topic", ""},
		{cWhoConsumes, fields{"topic": "orc-t"}, "topic", ""},
		{cGetGroup, fields{"group": "orc-g"}, "group", ""},
		{cDeleteGroup, fields{"groupName": "orc-fine"}, "groupName", ""},
		{cConsumeStats, fields{"consumerGroup": "orc-g"}, "consumerGroup", ""},
		{cResetOffset, reset, "topic group", "timestamp"},
	} {
		for _, f := range strings.Fields(x.texts + " " + x.numbers) {
			o.ask(step{name: fmt.Sprintf("%d without %s", x.code, f), code: x.code, ext: merged(x.ext, f, "-")})
		}
		for _, f := range strings.Fields(x.numbers) {
			o.ask(step{name: fmt.Sprintf("%d with a %s that is none", x.code, f), code: x.code, ext: merged(x.ext, f, "one")})
		}
	}
	o.ask(step{name: "105 without topic", conn: "ns", code: cRoute})
	o.ask(step{name: "an unknown code", code: 9999})
	o.ask(step{name: "an unknown code of the name server", conn: "ns", code: 9999})
	o.ask(step{name: "220 to a broker", code: cResetClient, ext: reset})
	o.ask(step{name: "221 to a broker", code: cClientStatus, ext: reset})
}

// 215, 216.
func oracleDeletions(o *oracle) {
	o.ask(step{name: "deletion of a topic", code: cDeleteTopic, ext: fields{"topic": "orc-t"}})
	o.ask(step{name: "deletion of it by the name server", conn: "ns", code: cDeleteTopicNS, ext: fields{"topic": "orc-t"}})
	o.ask(step{name: "route of a topic deleted", conn: "ns", code: cRoute, ext: fields{"topic": "orc-t"}, until: is(17)})
	o.ask(step{name: "config of a topic deleted", code: cGetTopic, ext: fields{"topic": "orc-t"}})
	o.ask(step{name: "pull of a topic deleted", code: cPull, ext: pullAt("orc-t", 0, "0")})
	o.ask(step{name: "send to a topic deleted", code: cSendV2, ext: merged(shortSend("orc-t", 0), "c", "-"), body: "x"})
	o.ask(step{name: "deletion of it again", code: cDeleteTopic, ext: fields{"topic": "orc-t"}})
	o.ask(step{name: "deletion of the broker's topic", code: cDeleteTopic, ext: fields{"topic": "TBW102"}})
	o.ask(step{name: "deletion of no topic", code: cDeleteTopic, ext: fields{"topic": "orc-none"}})
}
