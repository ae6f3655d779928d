package membership

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Node is what a member says of itself.
type Node struct {
	Name        string
	Incarnation uint64
	Raft        string   // host:port, as others dial it
	HTTP        string   // host:port
	NameServer  string   // host:port
	Listeners   []string // host:port per slot
	Gossip      string   // host:port; filled by Open
	Version     string
	Level       uint64 `json:",omitempty"` // of the features that its program knows
	// SegmentBytes is how long the segments of its commit logs are; 0: not said.
	SegmentBytes int64 `json:",omitempty"`
	// InitialNodes are the members of a new cluster by its settings, by name; none: not said.
	InitialNodes []string `json:",omitempty"`
	DiskFree     uint64   // bytes
	Disk         DiskLevel
}

// DiskLevel is what a node's disk asks for, by the node's own settings.
type DiskLevel uint8

const (
	DiskFine  DiskLevel = iota
	DiskClean           // delete what has expired
	DiskForce           // delete also what has not
	DiskFull            // besides, take no more messages
)

func (l DiskLevel) String() string {
	switch l {
	case DiskFine:
		return "fine"
	case DiskClean:
		return "clean"
	case DiskForce:
		return "force"
	case DiskFull:
		return "full"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// Lead says that a node leads a partition in a term.
type Lead struct {
	Partition uint64
	Term      uint64
}

// record is what travels: a node's word about itself. Of two, that of the later
// incarnation counts, and of one incarnation the later Seq.
type record struct {
	V     int `json:"v"` // of the format; a later one is not read
	Seq   uint64
	Node  Node
	Leads []Lead `json:",omitempty"`

	bytes int // that it takes in what is passed on
}

// after reports whether r counts, and not o.
func (r record) after(o record) bool {
	if r.Node.Incarnation != o.Node.Incarnation {
		return r.Node.Incarnation > o.Node.Incarnation
	}
	return r.Seq > o.Seq
}

// What a peer can make us remember. memberlist takes no state of more than 20 MiB, and all records travel in one.
const (
	maxRecords      = 1024
	maxRecordsBytes = 12 << 20
)

// recordVersion is the format of records that this program writes, the latest it
// reads.
const recordVersion = 1

var errLater = errors.New("membership: record of a later format")

// decodeRecord reads a record. One of a later format is errLater, and only its
// version and, if it is where it was, its node's name are set.
func decodeRecord(b []byte) (r record, err error) {
	var head struct {
		V    int `json:"v"`
		Node struct{ Name string }
	}
	err = json.Unmarshal(b, &head)
	if head.V > recordVersion {
		r.V, r.Node.Name = head.V, head.Node.Name
		return r, fmt.Errorf("%w: version %d, this program knows %d", errLater, head.V, recordVersion)
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return record{}, fmt.Errorf("membership: record: %w", err)
	}
	return r, nil
}
