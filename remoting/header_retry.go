package remoting

import (
	"fmt"
	"math"
	"strconv"
)

// ExtNotKept, "1" in a refusal to a client of ours, says that the message that it names by its place is not kept any more.
const ExtNotKept = "notKept"

// SendBackHeader is the header of ConsumerSendMessageBack.
type SendBackHeader struct {
	Group             string
	Offset            int64 // physical offset of the message
	DelayLevel        int32 // 0: by the times it was consumed; below 0: to the dead letters
	OriginMsgID       string
	OriginTopic       string
	MaxReconsumeTimes int32 // -1: the group's
	BrokerName        string

	// Of clients of ours.
	DelayMs  int64  // -1: by DelayLevel
	Reason   string // why it failed, for the dead letters
	Delivery uint64 // the same if it is asked again for one delivery; 0: not said
}

func (h *SendBackHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = SendBackHeader{
		Group:             f.must("group"),
		Offset:            f.bounded("offset", 0, math.MaxInt64),
		DelayLevel:        f.mustInt32("delayLevel"),
		OriginMsgID:       f.text("originMsgId"),
		OriginTopic:       f.text("originTopic"),
		MaxReconsumeTimes: f.int32("maxReconsumeTimes", -1),
		BrokerName:        f.text("brokerName"),
		DelayMs:           f.int("delayMs", false, -1, -1, math.MaxInt64),
		Reason:            f.text("reason"),
	}
	if s := f.text("delivery"); s != "" && f.err == nil {
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			return fmt.Errorf("%w: delivery %q is no 64 bits in hex", ErrHeader, s)
		}
		h.Delivery = n
	}
	return f.err
}

func (h SendBackHeader) Encode() map[string]string {
	m := map[string]string{"group": h.Group, "offset": i64(h.Offset), "delayLevel": i32(h.DelayLevel), "unitMode": "false", "maxReconsumeTimes": i32(h.MaxReconsumeTimes)}
	optional(m, "originMsgId", h.OriginMsgID)
	optional(m, "originTopic", h.OriginTopic)
	optional(m, "brokerName", h.BrokerName)
	optional(m, "reason", h.Reason)
	if h.DelayMs >= 0 {
		m["delayMs"] = i64(h.DelayMs)
	}
	if h.Delivery != 0 {
		m["delivery"] = Delivery(h.Delivery)
	}
	return m
}

// Delivery is how SendBackHeader.Delivery is sent.
func Delivery(n uint64) string { return fmt.Sprintf("%016x", n) }
