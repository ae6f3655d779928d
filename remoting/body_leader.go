package remoting

// PartitionLeader is who leads a partition, as the node that answers knows.
type PartitionLeader struct {
	Partition uint64   `json:"partition"` // 0: the catalogue, which has no topic
	Topic     string   `json:"topic"`
	Slot      int      `json:"slot"`
	Leader    string   `json:"leader"` // "": none is known
	Voters    []string `json:"voters"` // in order of their names
}

// PartitionLeaders is the answer to ListLeaders, in order of partitions.
type PartitionLeaders struct {
	Partitions []PartitionLeader `json:"partitions"`
}

// MoveLeaderHeader is the header of MoveLeader: Node is to lead Partition; 0: the catalogue.
type MoveLeaderHeader struct {
	Partition int64
	Node      string
}

func (h *MoveLeaderHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = MoveLeaderHeader{f.mustInt64("partition"), f.must("node")}
	return f.err
}

func (h MoveLeaderHeader) Encode() map[string]string {
	return map[string]string{"partition": i64(h.Partition), "node": h.Node}
}
