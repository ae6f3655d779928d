package remoting

// QueryOffsetHeader is the header of QueryConsumerOffset.
type QueryOffsetHeader struct {
	ConsumerGroup     string
	Topic             string
	QueueID           int32
	SetZeroIfNotFound bool // absent: true
	BrokerName        string
}

func (h *QueryOffsetHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = QueryOffsetHeader{f.must("consumerGroup"), f.must("topic"), f.queue("queueId"), f.bool("setZeroIfNotFound", true), f.text("bname")}
	return f.err
}

// Queue names the queue; broker is empty unless the client is Java 5 or later.
func (h *QueryOffsetHeader) Queue() (topic string, id int32, broker string) {
	return h.Topic, h.QueueID, h.BrokerName
}

func (h QueryOffsetHeader) Encode() map[string]string {
	m := map[string]string{"consumerGroup": h.ConsumerGroup, "topic": h.Topic, "queueId": i32(h.QueueID),
		"setZeroIfNotFound": tf(h.SetZeroIfNotFound)}
	optional(m, "bname", h.BrokerName)
	return m
}

// UpdateOffsetHeader is the header of UpdateConsumerOffset.
type UpdateOffsetHeader struct {
	ConsumerGroup string
	Topic         string
	QueueID       int32
	CommitOffset  int64 // not negative
	BrokerName    string
	// Ours: who commits, under which epoch of the queue's lock; 0: it names none.
	Owner string
	Epoch uint64
	Part  uint32 // ours: of which partition the offset is; 0: not said
}

func (h *UpdateOffsetHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = UpdateOffsetHeader{f.must("consumerGroup"), f.must("topic"), f.queue("queueId"), f.bounded("commitOffset", 0, 1<<63-1), f.text("bname"), f.text("owner"), f.epoch(), f.part()}
	return f.err
}

// Queue names the queue; broker is empty unless the client is Java 5 or later.
func (h *UpdateOffsetHeader) Queue() (topic string, id int32, broker string) {
	return h.Topic, h.QueueID, h.BrokerName
}

func (h UpdateOffsetHeader) Encode() map[string]string {
	m := map[string]string{"consumerGroup": h.ConsumerGroup, "topic": h.Topic, "queueId": i32(h.QueueID), "commitOffset": i64(h.CommitOffset)}
	optional(m, "bname", h.BrokerName)
	holder(m, h.Owner, h.Epoch)
	inPart(m, h.Part)
	return m
}

// SearchOffsetHeader is the header of SearchOffsetByTimestamp.
type SearchOffsetHeader struct {
	Topic      string
	QueueID    int32
	Timestamp  int64 // unix ms
	Upper      bool  // boundaryType UPPER; absent: LOWER
	BrokerName string
}

func (h *SearchOffsetHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = SearchOffsetHeader{Topic: f.must("topic"), QueueID: f.queue("queueId"), Timestamp: f.mustInt64("timestamp"), BrokerName: f.text("bname")}
	switch b := f.text("boundaryType"); b {
	case "", "LOWER", "lower":
	case "UPPER", "upper":
		h.Upper = true
	default:
		f.failValue("boundaryType", "is not LOWER or UPPER")
	}
	return f.err
}

// Queue names the queue; broker is empty unless the client is Java 5 or later.
func (h *SearchOffsetHeader) Queue() (topic string, id int32, broker string) {
	return h.Topic, h.QueueID, h.BrokerName
}

func (h SearchOffsetHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "queueId": i32(h.QueueID), "timestamp": i64(h.Timestamp), "boundaryType": "LOWER"}
	if h.Upper {
		m["boundaryType"] = "UPPER"
	}
	optional(m, "bname", h.BrokerName)
	return m
}

// QueueHeader is the header of GetMaxOffset, GetMinOffset and
// GetEarliestMessageTime.
type QueueHeader struct {
	Topic      string
	QueueID    int32
	BrokerName string
}

func (h *QueueHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = QueueHeader{f.must("topic"), f.queue("queueId"), f.text("bname")}
	return f.err
}

// Queue names the queue; broker is empty unless the client is Java 5 or later.
func (h *QueueHeader) Queue() (topic string, id int32, broker string) {
	return h.Topic, h.QueueID, h.BrokerName
}

func (h QueueHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "queueId": i32(h.QueueID)}
	optional(m, "bname", h.BrokerName)
	return m
}

// OffsetReply answers 14, 29, 30 and 31.
type OffsetReply struct{ Offset int64 }

func (h *OffsetReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Offset = f.mustInt64("offset")
	return f.err
}

func (h OffsetReply) Encode() map[string]string { return map[string]string{"offset": i64(h.Offset)} }

// TimestampReply answers GetEarliestMessageTime.
type TimestampReply struct{ Timestamp int64 } // unix ms

func (h *TimestampReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	h.Timestamp = f.mustInt64("timestamp")
	return f.err
}

func (h TimestampReply) Encode() map[string]string {
	return map[string]string{"timestamp": i64(h.Timestamp)}
}

// ViewMessageHeader is the header of ViewMessageByID.
type ViewMessageHeader struct {
	Offset int64 // physical, not negative
	Topic  string
}

func (h *ViewMessageHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ViewMessageHeader{f.bounded("offset", 0, 1<<63-1), f.text("topic")}
	return f.err
}

func (h ViewMessageHeader) Encode() map[string]string {
	m := map[string]string{"offset": i64(h.Offset)}
	optional(m, "topic", h.Topic)
	return m
}

// QueryMessageHeader is the header of QueryMessage.
type QueryMessageHeader struct {
	Topic          string
	Key            string
	MaxNum         int32
	BeginTimestamp int64 // unix ms
	EndTimestamp   int64
	Unique         bool // Key is a unique id (ext _UNIQUE_KEY_QUERY)
}

func (h *QueryMessageHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = QueryMessageHeader{f.must("topic"), f.must("key"), int32(f.bounded("maxNum", 1, 1<<31-1)), f.mustInt64("beginTimestamp"),
		f.mustInt64("endTimestamp"), f.bool("_UNIQUE_KEY_QUERY", false)}
	return f.err
}

func (h QueryMessageHeader) Encode() map[string]string {
	m := map[string]string{"topic": h.Topic, "key": h.Key, "maxNum": i32(h.MaxNum), "beginTimestamp": i64(h.BeginTimestamp),
		"endTimestamp": i64(h.EndTimestamp)}
	if h.Unique {
		m["_UNIQUE_KEY_QUERY"] = "true"
	}
	return m
}

// QueryMessageReply goes with the records found.
type QueryMessageReply struct {
	IndexLastUpdateTimestamp int64
	IndexLastUpdatePhyoffset int64
}

func (h *QueryMessageReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = QueryMessageReply{f.mustInt64("indexLastUpdateTimestamp"), f.mustInt64("indexLastUpdatePhyoffset")}
	return f.err
}

func (h QueryMessageReply) Encode() map[string]string {
	return map[string]string{"indexLastUpdateTimestamp": i64(h.IndexLastUpdateTimestamp), "indexLastUpdatePhyoffset": i64(h.IndexLastUpdatePhyoffset)}
}
