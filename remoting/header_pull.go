package remoting

import (
	"math"
	"time"
)

// Bits of PullHeader.SysFlag.
const (
	PullCommit       int32 = 1  // commit CommitOffset
	PullSuspend      int32 = 2  // may be held
	PullSubscription int32 = 4  // Subscription is valid
	PullClassFilter  int32 = 8  // not supported
	PullLite         int32 = 16 // no meaning
)

// PullHeader is the header of PullMessage and LitePullMessage.
type PullHeader struct {
	ConsumerGroup  string
	Topic          string
	QueueID        int32
	QueueOffset    int64
	MaxMsgNums     int32
	SysFlag        int32
	CommitOffset   int64
	SuspendTimeout time.Duration // whole ms on the wire
	SubVersion     int64
	Subscription   string
	ExpressionType string // empty: TAG
	MaxMsgBytes    int32  // 0: not given
	BrokerName     string
	// Ours: who pulls, under which epoch of the queue's lock; 0: it names none. A pull
	// that names one is answered to the holder only.
	Owner string
	Epoch uint64
	Part  uint32 // ours: of which partition the place is; 0: not said
}

func (h *PullHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = PullHeader{
		ConsumerGroup:  f.must("consumerGroup"),
		Topic:          f.must("topic"),
		QueueID:        f.queue("queueId"),
		QueueOffset:    f.mustInt64("queueOffset"),
		MaxMsgNums:     f.mustInt32("maxMsgNums"),
		SysFlag:        f.mustInt32("sysFlag"),
		CommitOffset:   f.mustInt64("commitOffset"),
		SuspendTimeout: time.Duration(f.int("suspendTimeoutMillis", true, 0, 0, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond,
		SubVersion:     f.mustInt64("subVersion"),
		Subscription:   f.text("subscription"),
		ExpressionType: f.text("expressionType"),
		MaxMsgBytes:    int32(f.int("maxMsgBytes", false, 0, math.MinInt32, math.MaxInt32)),
		BrokerName:     f.text("bname"),
		Owner:          f.text("owner"),
		Epoch:          f.epoch(),
		Part:           f.part(),
	}
	return f.err
}

// Commit is the offset to commit on the way, if there is one.
func (h *PullHeader) Commit() (offset int64, ok bool) {
	return h.CommitOffset, h.SysFlag&PullCommit != 0 && h.CommitOffset >= 0
}

func (h PullHeader) Encode() map[string]string {
	m := make(map[string]string, 16)
	m["consumerGroup"] = h.ConsumerGroup
	m["topic"] = h.Topic
	m["queueId"] = i32(h.QueueID)
	m["queueOffset"] = i64(h.QueueOffset)
	m["maxMsgNums"] = i32(h.MaxMsgNums)
	m["sysFlag"] = i32(h.SysFlag)
	m["commitOffset"] = i64(h.CommitOffset)
	m["suspendTimeoutMillis"] = i64(h.SuspendTimeout.Milliseconds())
	m["subVersion"] = i64(h.SubVersion)
	m["subscription"] = h.Subscription
	optional(m, "expressionType", h.ExpressionType)
	if h.MaxMsgBytes > 0 {
		m["maxMsgBytes"] = i32(h.MaxMsgBytes)
	}
	holder(m, h.Owner, h.Epoch)
	inPart(m, h.Part)
	optional(m, "bname", h.BrokerName)
	return m
}

// PullReply goes with every reply to a pull that is not an error; clients
// take a missing offset for 0.
type PullReply struct {
	SuggestWhichBrokerID int64
	NextBeginOffset      int64
	MinOffset            int64
	MaxOffset            int64
}

func (h *PullReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = PullReply{f.mustInt64("suggestWhichBrokerId"), f.mustInt64("nextBeginOffset"), f.mustInt64("minOffset"), f.mustInt64("maxOffset")}
	return f.err
}

func (h PullReply) Encode() map[string]string {
	return map[string]string{"suggestWhichBrokerId": i64(h.SuggestWhichBrokerID), "nextBeginOffset": i64(h.NextBeginOffset),
		"minOffset": i64(h.MinOffset), "maxOffset": i64(h.MaxOffset)}
}
