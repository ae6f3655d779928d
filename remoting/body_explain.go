package remoting

// ExplainHeader is the header of ExplainMessage.
type ExplainHeader struct {
	Topic string // empty: ID is an offset id
	ID    string // a unique key, a key, or, without a topic, an offset id
}

func (h *ExplainHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = ExplainHeader{Topic: f.text("topic"), ID: f.must("id")}
	return f.err
}

func (h ExplainHeader) Encode() map[string]string {
	m := map[string]string{"id": h.ID}
	optional(m, "topic", h.Topic)
	return m
}

// What a MessageStep is.
const (
	StepPrepared  = "prepared"    // a transaction without a decision, or one that was rolled back
	StepDecided   = "decided"     // of the transaction that it came from, or that was rolled back
	StepWaiting   = "waiting"     // for its time
	StepWaited    = "waited"      // until it came, or was taken back
	StepTakenBack = "taken back"  // while it waited
	StepStored    = "stored"      // in a queue
	StepRetry     = "retry"       // stored once more, for a group that failed
	StepDead      = "dead letter" // of a group
)

// MessageStep is something that became of a message, as the replicated state has it.
type MessageStep struct {
	What     string `json:"what"`
	MsgID    string `json:"msgId"`
	Topic    string `json:"topic"`
	Group    string `json:"group,omitempty"` // of consumers; of a transaction, of producers
	Slot     int    `json:"slot"`
	Queue    int32  `json:"queue"`
	Offset   int64  `json:"offset"`   // -1: in no queue
	Position int64  `json:"position"` // in the partition's log
	OffsetID string `json:"offsetId,omitempty"`
	Index    uint64 `json:"index,omitempty"` // of the Raft entry that it lies in; 0: not known
	Term     uint64 `json:"term,omitempty"`
	At       int64  `json:"at"`            // Unix ms, by the cluster's time
	Due      int64  `json:"due,omitempty"` // Unix ms, of one that waits, or did
	Times    int32  `json:"times,omitempty"`
	State    string `json:"state,omitempty"` // of a transaction; of a dead letter "taken out"
	By       string `json:"by,omitempty"`    // who decided, or where it was sent from
	Reason   string `json:"reason,omitempty"`
	Keys     string `json:"keys,omitempty"`
	Tag      string `json:"tag,omitempty"`
	Bytes    int    `json:"bytes,omitempty"` // of the body as it is stored
	// Groups are those that consume the queue.
	Groups []MessageGroup `json:"groups,omitempty"`
}

// MessageGroup is how far a group is in the queue of a MessageStep.
type MessageGroup struct {
	Group     string `json:"group"`
	Committed int64  `json:"committed"` // -1: nothing yet
}

// MessageLife is the answer to ExplainMessage.
type MessageLife struct {
	Steps     []MessageStep   `json:"steps"`
	Partition []ExplainedPart `json:"partitions"`
}

// ExplainedPart is a partition that was looked into.
type ExplainedPart struct {
	Partition uint64 `json:"partition"`
	Slot      int    `json:"slot"`
	Node      string `json:"node"`    // that led it and answered
	Applied   uint64 `json:"applied"` // by this entry
	// Unseen is how many messages wait, or are transactions, that were not looked at.
	Unseen int `json:"unseen,omitempty"`
	// UnseenGone is how many transactions that were rolled back, and messages taken back, were
	// not looked at.
	UnseenGone int `json:"unseenGone,omitempty"`
	// UnseenGroups is how many groups consume it besides, whose retries and dead letters were not looked through.
	UnseenGroups int `json:"unseenGroups,omitempty"`
	// UnseenRecords says that more of one topic have the id, or the key, than were looked at: the oldest were not.
	UnseenRecords bool `json:"unseenRecords,omitempty"`
}
