package remoting

import "math"

// SendHeader is the header of SendMessage (long names), SendMessageV2 and
// SendBatchMessage (letters).
type SendHeader struct {
	ProducerGroup         string
	Topic                 string
	DefaultTopic          string // template of automatic creation: TBW102
	DefaultTopicQueueNums int32
	QueueID               int32 // negative: the server chooses
	SysFlag               int32
	BornTimestamp         int64 // unix ms
	Flag                  int32
	Properties            string // raw
	ReconsumeTimes        int32
	UnitMode              bool
	MaxReconsumeTimes     int32 // -1: not given
	Batch                 bool
	BrokerName            string // Java 5 and later only
}

// Decode reads either form: letters unless producerGroup or topic is there.
func (h *SendHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	_, long := ext["producerGroup"]
	if !long {
		_, long = ext["topic"]
	}
	k := &sendLetters
	if long {
		k = &sendNames
	}
	*h = SendHeader{
		ProducerGroup:         f.must(k.group),
		Topic:                 f.must(k.topic),
		DefaultTopic:          f.text(k.template),
		DefaultTopicQueueNums: f.int32(k.templateQueues, 0),
		QueueID:               f.mustInt32(k.queue),
		SysFlag:               f.mustInt32(k.sysFlag),
		BornTimestamp:         f.mustInt64(k.born),
		Flag:                  f.mustInt32(k.flag),
		Properties:            f.text(k.properties),
		ReconsumeTimes:        int32(f.int(k.reconsume, false, 0, 0, math.MaxInt32)),
		UnitMode:              f.bool(k.unit, false),
		MaxReconsumeTimes:     f.int32(k.maxReconsume, -1),
		Batch:                 f.bool(k.batch, false),
		BrokerName:            f.text(k.broker),
	}
	return f.err
}

// Encode gives the letters.
func (h SendHeader) Encode() map[string]string { return h.encode(&sendLetters) }

// EncodeV1 gives the long names, for SendMessage.
func (h SendHeader) EncodeV1() map[string]string { return h.encode(&sendNames) }

func (h *SendHeader) encode(k *sendKeys) map[string]string {
	m := make(map[string]string, 20)
	m[k.group] = h.ProducerGroup
	m[k.topic] = h.Topic
	m[k.template] = h.DefaultTopic
	m[k.templateQueues] = i32(h.DefaultTopicQueueNums)
	m[k.queue] = i32(h.QueueID)
	m[k.sysFlag] = i32(h.SysFlag)
	m[k.born] = i64(h.BornTimestamp)
	m[k.flag] = i32(h.Flag)
	m[k.properties] = h.Properties
	m[k.reconsume] = i32(h.ReconsumeTimes)
	m[k.unit] = tf(h.UnitMode)
	if h.MaxReconsumeTimes >= 0 {
		m[k.maxReconsume] = i32(h.MaxReconsumeTimes)
	}
	m[k.batch] = tf(h.Batch)
	optional(m, k.broker, h.BrokerName)
	return m
}

// PlaceSend has a send's fields name another queue, in the form that they are in.
func PlaceSend(ext map[string]string, queue int32, broker string) {
	k := &sendLetters
	if _, long := ext[sendNames.topic]; long {
		k = &sendNames
	}
	ext[k.queue], ext[k.broker] = i32(queue), broker
}

type sendKeys struct {
	group, topic, template, templateQueues, queue, sysFlag, born, flag, properties, reconsume, unit, maxReconsume, batch, broker string
}

var (
	sendLetters = sendKeys{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"}
	sendNames   = sendKeys{"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp",
		"flag", "properties", "reconsumeTimes", "unitMode", "maxReconsumeTimes", "batch", "bname"}
)

// SendReply answers a send that is stored. Region and Trace are always
// written: Java fails without them.
type SendReply struct {
	MsgID         string // offset id, 32 hex digits; of a batch all, joined by commas
	QueueID       int32
	QueueOffset   int64 // of a batch the first
	TransactionID string
	BatchUniqID   string
	Region        string // empty: DefaultRegion
	Trace         bool
	Duplicate     bool // ext dup=1: the message was stored by an earlier send
}

func (h *SendReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = SendReply{
		MsgID:         f.must("msgId"),
		QueueID:       f.mustInt32("queueId"),
		QueueOffset:   f.mustInt64("queueOffset"),
		TransactionID: f.text("transactionId"),
		BatchUniqID:   f.text("batchUniqId"),
		Region:        f.text("MSG_REGION"),
		Trace:         f.bool("TRACE_ON", false),
		Duplicate:     ext["dup"] == "1",
	}
	return f.err
}

func (h SendReply) Encode() map[string]string {
	m := map[string]string{"msgId": h.MsgID, "queueId": i32(h.QueueID), "queueOffset": i64(h.QueueOffset),
		"MSG_REGION": h.Region, "TRACE_ON": tf(h.Trace)}
	if h.Region == "" {
		m["MSG_REGION"] = "DefaultRegion"
	}
	optional(m, "transactionId", h.TransactionID)
	optional(m, "batchUniqId", h.BatchUniqID)
	if h.Duplicate {
		m["dup"] = "1"
	}
	return m
}
