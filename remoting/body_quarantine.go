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
