package remoting

import "math"

// StatsHeader is the header of ViewBrokerStats.
type StatsHeader struct{ Name, Key string }

func (h *StatsHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = StatsHeader{f.must("statsName"), f.must("statsKey")}
	return f.err
}

func (h StatsHeader) Encode() map[string]string {
	return map[string]string{"statsName": h.Name, "statsKey": h.Key}
}

// BrokerConsumeStatsHeader is the header of GetBrokerConsumeStats.
type BrokerConsumeStatsHeader struct {
	Ordered bool // topics that are ordered only
}

func (h *BrokerConsumeStatsHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Ordered = f.bool("isOrder", false)
	return f.err
}

func (h BrokerConsumeStatsHeader) Encode() map[string]string {
	return map[string]string{"isOrder": tf(h.Ordered)}
}

// ConsumeQueueHeader is the header of QueryConsumeQueue.
type ConsumeQueueHeader struct {
	Topic         string
	QueueID       int32
	Index         int64 // the first offset that is asked for
	Count         int32
	ConsumerGroup string // its filter is tried; empty: none is
	BrokerName    string
}

func (h *ConsumeQueueHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ConsumeQueueHeader{f.must("topic"), f.queue("queueId"), f.bounded("index", 0, math.MaxInt64), int32(f.bounded("count", 0, math.MaxInt32)), f.text("consumerGroup"), f.text("bname")}
	return f.err
}

// Queue names the queue; broker is empty unless the client is Java 5 or later.
func (h *ConsumeQueueHeader) Queue() (topic string, id int32, broker string) {
	return h.Topic, h.QueueID, h.BrokerName
}

func (h ConsumeQueueHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "queueId": i32(h.QueueID), "index": i64(h.Index), "count": i32(h.Count)}
	optional(m, "consumerGroup", h.ConsumerGroup)
	optional(m, "bname", h.BrokerName)
	return m
}

// TopicOfGroupHeader is the header of QueryConsumeTimeSpan and QuerySubscriptionOfGroup.
type TopicOfGroupHeader struct{ Topic, Group string }

func (h *TopicOfGroupHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = TopicOfGroupHeader{f.must("topic"), f.must("group")}
	return f.err
}

func (h TopicOfGroupHeader) Encode() map[string]string {
	return map[string]string{"topic": h.Topic, "group": h.Group}
}

// MemberHeader is the header of GetConsumerRunningInfo and ConsumeMessageDirectly, which a
// member of a group is asked. The rest of their fields is the member's to read.
type MemberHeader struct {
	ConsumerGroup string
	ClientID      string
	Topic         string // of ConsumeMessageDirectly
	MsgID         string // an offset id
}

func (h *MemberHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = MemberHeader{f.must("consumerGroup"), f.text("clientId"), f.text("topic"), f.text("msgId")}
	return f.err
}

func (h MemberHeader) Encode() map[string]string {
	m := map[string]string{"consumerGroup": h.ConsumerGroup}
	optional(m, "clientId", h.ClientID)
	optional(m, "topic", h.Topic)
	optional(m, "msgId", h.MsgID)
	return m
}

// VersionReply answers GetBrokerConfig, whose body has the settings.
type VersionReply struct{ Version string }

func (h *VersionReply) Decode(ext map[string]string) error {
	h.Version = ext["version"]
	return nil
}

func (h VersionReply) Encode() map[string]string { return map[string]string{"version": h.Version} }
