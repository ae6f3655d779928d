package remoting

import "math"

// UnregisterHeader is the header of UnregisterClient.
type UnregisterHeader struct {
	ClientID, ProducerGroup, ConsumerGroup string

	// Joined is of clients of ours: since when it was a member of the consumer group. It has
	// left that everywhere, whichever nodes it told before. 0: not said.
	Joined int64
}

func (h *UnregisterHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = UnregisterHeader{f.must("clientID"), f.text("producerGroup"), f.text("consumerGroup"), f.int("joined", false, 0, 0, math.MaxInt64)}
	return f.err
}

func (h UnregisterHeader) Encode() map[string]string {
	m := map[string]string{"clientID": h.ClientID}
	optional(m, "producerGroup", h.ProducerGroup)
	optional(m, "consumerGroup", h.ConsumerGroup)
	if h.Joined > 0 {
		m["joined"] = i64(h.Joined)
	}
	return m
}

// ConsumerGroupHeader is the header of 38, 40 and 203.
type ConsumerGroupHeader struct{ ConsumerGroup string }

func (h *ConsumerGroupHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.ConsumerGroup = f.must("consumerGroup")
	return f.err
}

func (h ConsumerGroupHeader) Encode() map[string]string {
	return map[string]string{"consumerGroup": h.ConsumerGroup}
}

// ConsumerListHeader is the header of 38. Stock clients send the group alone.
type ConsumerListHeader struct {
	ConsumerGroup string
	Strategy      string // as in ConsumerData; "": the asker is no member of ours
	Joined        int64
}

func (h *ConsumerListHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ConsumerListHeader{f.must("consumerGroup"), f.text("strategy"), f.int("joined", false, 0, 0, math.MaxInt64)}
	return f.err
}

func (h ConsumerListHeader) Encode() map[string]string {
	m := map[string]string{"consumerGroup": h.ConsumerGroup}
	optional(m, "strategy", h.Strategy)
	if h.Joined > 0 {
		m["joined"] = i64(h.Joined)
	}
	return m
}

// ProducerGroupHeader is the header of GetProducerConnectionList.
type ProducerGroupHeader struct{ ProducerGroup string }

func (h *ProducerGroupHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.ProducerGroup = f.must("producerGroup")
	return f.err
}

func (h ProducerGroupHeader) Encode() map[string]string {
	return map[string]string{"producerGroup": h.ProducerGroup}
}

// RouteHeader is the header of GetRouteByTopic.
type RouteHeader struct {
	Topic                  string
	AcceptStandardJSONOnly bool
}

func (h *RouteHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = RouteHeader{f.must("topic"), f.bool("acceptStandardJsonOnly", false)}
	return f.err
}

func (h RouteHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic}
	if h.AcceptStandardJSONOnly {
		m["acceptStandardJsonOnly"] = "true"
	}
	return m
}

// TopicHeader is the header of requests that name a topic only: 202, 215,
// 216, 300, 351.
type TopicHeader struct{ Topic string }

func (h *TopicHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Topic = f.must("topic")
	return f.err
}

func (h TopicHeader) Encode() map[string]string { return map[string]string{"topic": h.Topic} }

// CreateTopicHeader is the header of UpdateAndCreateTopic.
type CreateTopicHeader struct {
	Topic           string
	DefaultTopic    string
	ReadQueueNums   int32 // per partition, 0 to 65536
	WriteQueueNums  int32
	Perm            int32 // bits 4 read, 2 write, 1 inherit
	TopicFilterType string
	TopicSysFlag    int32
	Order           bool
	Attributes      string // "+k=v,-k"
	Partitions      int32  // ours: how many slots to use; 0: not given
}

func (h *CreateTopicHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = CreateTopicHeader{f.must("topic"), f.text("defaultTopic"), int32(f.bounded("readQueueNums", 0, 65536)),
		int32(f.bounded("writeQueueNums", 0, 65536)), int32(f.bounded("perm", 0, 15)), f.text("topicFilterType"),
		f.int32("topicSysFlag", 0), f.bool("order", false), f.text("attributes"), int32(f.int("partitions", false, 0, 0, 65536))}
	switch h.TopicFilterType {
	case "", "SINGLE_TAG", "MULTI_TAG":
	default:
		f.failValue("topicFilterType", "is not SINGLE_TAG or MULTI_TAG")
	}
	return f.err
}

func (h CreateTopicHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "defaultTopic": h.DefaultTopic, "readQueueNums": i32(h.ReadQueueNums),
		"writeQueueNums": i32(h.WriteQueueNums), "perm": i32(h.Perm), "topicFilterType": h.TopicFilterType,
		"topicSysFlag": i32(h.TopicSysFlag), "order": tf(h.Order)}
	if h.TopicFilterType == "" {
		m["topicFilterType"] = "SINGLE_TAG"
	}
	if h.DefaultTopic == "" {
		m["defaultTopic"] = "TBW102"
	}
	optional(m, "attributes", h.Attributes)
	if h.Partitions > 0 {
		m["partitions"] = i32(h.Partitions)
	}
	return m
}

// DeleteGroupHeader is the header of DeleteSubscriptionGroup.
type DeleteGroupHeader struct {
	GroupName   string
	CleanOffset bool
}

func (h *DeleteGroupHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = DeleteGroupHeader{f.must("groupName"), f.bool("cleanOffset", false)}
	return f.err
}

func (h DeleteGroupHeader) Encode() map[string]string {
	return map[string]string{"groupName": h.GroupName, "cleanOffset": tf(h.CleanOffset)}
}

// ConsumeStatsHeader is the header of GetConsumeStats.
type ConsumeStatsHeader struct {
	ConsumerGroup string
	Topic         string // empty: every topic of the group
}

func (h *ConsumeStatsHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ConsumeStatsHeader{f.must("consumerGroup"), f.text("topic")}
	return f.err
}

func (h ConsumeStatsHeader) Encode() map[string]string {
	m := map[string]string{"consumerGroup": h.ConsumerGroup}
	optional(m, "topic", h.Topic)
	return m
}

// ResetOffsetHeader is the header of 222 and 220.
type ResetOffsetHeader struct {
	Topic     string
	Group     string
	Timestamp int64 // unix ms; -1: the end
	Force     bool  // go back too
	QueueID   int32 // -1: all
	Offset    int64 // -1: by Timestamp
}

func (h *ResetOffsetHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ResetOffsetHeader{f.must("topic"), f.must("group"), f.mustInt64("timestamp"), f.bool("isForce", false),
		int32(f.int("queueId", false, -1, -1, 1<<31-1)), f.int("offset", false, -1, -1, 1<<63-1)}
	return f.err
}

func (h ResetOffsetHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "group": h.Group, "timestamp": i64(h.Timestamp), "isForce": tf(h.Force), "queueId": i32(h.QueueID)}
	if h.Offset >= 0 {
		m["offset"] = i64(h.Offset)
	}
	return m
}

// KVHeader is the header of 100, 101 and 102, which carry no value but 100.
type KVHeader struct{ Namespace, Key, Value string }

func (h *KVHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = KVHeader{f.must("namespace"), f.must("key"), f.text("value")}
	return f.err
}

func (h KVHeader) Encode() map[string]string {
	return map[string]string{"namespace": h.Namespace, "key": h.Key, "value": h.Value}
}

// NamespaceHeader is the header of GetKVListByNamespace.
type NamespaceHeader struct{ Namespace string }

func (h *NamespaceHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Namespace = f.must("namespace")
	return f.err
}

func (h NamespaceHeader) Encode() map[string]string {
	return map[string]string{"namespace": h.Namespace}
}

// GroupHeader is the header of GetSubscriptionGroup.
type GroupHeader struct{ Group string }

func (h *GroupHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Group = f.must("group")
	return f.err
}

func (h GroupHeader) Encode() map[string]string { return map[string]string{"group": h.Group} }

// KVReply answers GetKVConfig.
type KVReply struct{ Value string }

func (h *KVReply) Decode(ext map[string]string) error {
	h.Value = ext["value"]
	return nil
}

func (h KVReply) Encode() map[string]string { return map[string]string{"value": h.Value} }

// ClusterHeader is the header of GetTopicsByCluster.
type ClusterHeader struct{ Cluster string }

func (h *ClusterHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Cluster = f.must("cluster")
	return f.err
}

func (h ClusterHeader) Encode() map[string]string { return map[string]string{"cluster": h.Cluster} }
