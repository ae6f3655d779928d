package membership

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
	DiskFree    uint64 // bytes
}

// Lead says that a node leads a partition in a term.
type Lead struct {
	Partition uint64
	Term      uint64
}

// record is what travels: a node's word about itself. Of two, the later Seq
// counts.
type record struct {
	Seq   uint64
	Node  Node
	Leads []Lead `json:",omitempty"`
}

// maxRecords bounds what a peer can make us remember.
const maxRecords = 1024
