package remoting

// What EndTransaction decides.
const (
	TransactionUnknown  = 0 // the producer does not know yet
	TransactionCommit   = 2 << 2
	TransactionRollback = 3 << 2
)

// EndTransactionHeader is the header of EndTransaction. StateTableOffset and
// CommitLogOffset name the half: they are the queueOffset and the physical offset of
// its send's reply, or those of the check that is answered.
type EndTransactionHeader struct {
	ProducerGroup    string
	StateTableOffset int64
	CommitLogOffset  int64
	Decision         int32
	FromCheck        bool   // a check is answered
	MsgID            string // the unique key
	TransactionID    string
	Topic            string // Java 5 and later only
	BrokerName       string // Java 5 and later only
	Operator         bool   // ours: an operator decides; then the group may be missing
}

func (h *EndTransactionHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = EndTransactionHeader{
		ProducerGroup:    f.text("producerGroup"),
		StateTableOffset: f.bounded("tranStateTableOffset", 0, 1<<63-1),
		CommitLogOffset:  f.bounded("commitLogOffset", 0, 1<<63-1),
		Decision:         f.mustInt32("commitOrRollback"),
		FromCheck:        f.bool("fromTransactionCheck", false),
		MsgID:            f.text("msgId"),
		TransactionID:    f.text("transactionId"),
		Topic:            f.text("topic"),
		BrokerName:       f.text("bname"),
		Operator:         f.bool("operator", false),
	}
	if h.ProducerGroup == "" && !h.Operator {
		f.must("producerGroup")
	}
	switch h.Decision {
	case TransactionUnknown, TransactionCommit, TransactionRollback:
	default:
		f.failValue("commitOrRollback", "is not 0, 8 or 12")
	}
	return f.err
}

func (h EndTransactionHeader) Encode() map[string]string {
	m := map[string]string{"producerGroup": h.ProducerGroup, "tranStateTableOffset": i64(h.StateTableOffset), "commitLogOffset": i64(h.CommitLogOffset),
		"commitOrRollback": i32(h.Decision), "fromTransactionCheck": tf(h.FromCheck), "msgId": h.MsgID}
	optional(m, "transactionId", h.TransactionID)
	optional(m, "topic", h.Topic)
	optional(m, "bname", h.BrokerName)
	if h.Operator {
		m["operator"] = "true"
	}
	return m
}

// EndTransactionReply says which decision holds. Stock clients ask for no reply.
type EndTransactionReply struct {
	Decision    int32
	By          string // producer, check or operator
	Before      bool   // an earlier request had decided
	QueueID     int32  // of the message that was committed; -1: none was
	QueueOffset int64
	MsgID       string // offset id of that message
}

func (h *EndTransactionReply) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = EndTransactionReply{Decision: f.mustInt32("commitOrRollback"), By: f.text("by"), Before: f.bool("before", false),
		QueueID: f.int32("queueId", -1), QueueOffset: f.int64("queueOffset", 0), MsgID: f.text("msgId")}
	return f.err
}

func (h EndTransactionReply) Encode() map[string]string {
	m := map[string]string{"commitOrRollback": i32(h.Decision), "by": h.By, "before": tf(h.Before)}
	if h.QueueID >= 0 {
		m["queueId"], m["queueOffset"] = i32(h.QueueID), i64(h.QueueOffset)
	}
	optional(m, "msgId", h.MsgID)
	return m
}

// CheckTransactionHeader is the header of CheckTransactionState: the server asks a
// producer what became of a transaction. The half's record is the body; the answer
// is an EndTransaction with the two offsets.
type CheckTransactionHeader struct {
	StateTableOffset int64
	CommitLogOffset  int64
	MsgID            string // the unique key
	TransactionID    string
	OffsetMsgID      string
	Topic            string
	BrokerName       string
}

func (h *CheckTransactionHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = CheckTransactionHeader{f.bounded("tranStateTableOffset", 0, 1<<63-1), f.bounded("commitLogOffset", 0, 1<<63-1),
		f.text("msgId"), f.text("transactionId"), f.text("offsetMsgId"), f.text("topic"), f.text("bname")}
	return f.err
}

func (h CheckTransactionHeader) Encode() map[string]string {
	m := map[string]string{"tranStateTableOffset": i64(h.StateTableOffset), "commitLogOffset": i64(h.CommitLogOffset)}
	optional(m, "msgId", h.MsgID)
	optional(m, "transactionId", h.TransactionID)
	optional(m, "offsetMsgId", h.OffsetMsgID)
	optional(m, "topic", h.Topic)
	optional(m, "bname", h.BrokerName)
	return m
}

// MaxTransactions is how many a list has at most: they fit a frame, however long their groups' names are.
const MaxTransactions = 1 << 14

// ListTransactionsHeader is the header of ListTransactions.
type ListTransactionsHeader struct {
	Topic  string
	Parked bool  // only those that are asked about no more
	Max    int32 // at most, and at most MaxTransactions; 0: 1000
	Slot   int32 // with Offset, one transaction; else -1
	Offset int64 // physical
}

func (h *ListTransactionsHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ListTransactionsHeader{Topic: f.text("topic"), Parked: f.bool("parked", false), Max: int32(f.int("max", false, 0, 0, MaxTransactions)),
		Slot: int32(f.int("slot", false, -1, -1, 1<<15-1)), Offset: f.int("offset", false, 0, 0, 1<<63-1)}
	if h.Slot < 0 {
		h.Topic = f.must("topic")
	}
	return f.err
}

func (h ListTransactionsHeader) Encode() map[string]string {
	m := map[string]string{"parked": tf(h.Parked), "max": i32(h.Max), "slot": i32(h.Slot), "offset": i64(h.Offset)}
	optional(m, "topic", h.Topic)
	return m
}
