package remoting

// Quarantined is a replica in which damage was found and that is not repaired.
type Quarantined struct {
	Node      string `json:"node"`
	Partition uint64 `json:"partition"`
	Topic     string `json:"topic"`
	Slot      int    `json:"slot"`
	Reason    string `json:"reason"`
}

// QuarantineList is the answer to ListQuarantined. Silent are the nodes that did not
// answer: of theirs nothing is known.
type QuarantineList struct {
	Replicas []Quarantined `json:"replicas"`
	Silent   []string      `json:"silent,omitempty"`
}

// DisputeHeader is the header of SettleDispute. Truth is the node whose replica counts;
// "": only show.
type DisputeHeader struct {
	Partition int64
	Truth     string
}

func (h *DisputeHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = DisputeHeader{f.mustInt64("partition"), f.text("truth")}
	return f.err
}

func (h DisputeHeader) Encode() map[string]string {
	m := map[string]string{"partition": i64(h.Partition)}
	optional(m, "truth", h.Truth)
	return m
}

// ReplicaLook is what a node says of its replica of a partition.
type ReplicaLook struct {
	Node     string `json:"node"`
	Silent   bool   `json:"silent,omitempty"` // it does not answer, or has it not open: the rest is not known
	Applied  uint64 `json:"applied"`
	First    int64  `json:"first"`    // position of the oldest that is kept
	Position int64  `json:"position"` // of the end
	Digest   string `json:"digest"`   // of the log through applied
	Disputed bool   `json:"disputed,omitempty"`
	Whole    bool   `json:"to_be_copied,omitempty"` // in quarantine, and to be copied whole
	Reason   string `json:"reason,omitempty"`       // why it is in quarantine; of a disputed one with the digests that were compared
}

// ReplicaLooks is the answer to SettleDispute.
type ReplicaLooks struct {
	Partition uint64        `json:"partition"`
	Topic     string        `json:"topic"`
	Slot      int           `json:"slot"`
	Replicas  []ReplicaLook `json:"replicas"`
}
