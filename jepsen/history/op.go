package history

import "strings"

// Type is what a line says of an operation.
type Type string

const (
	// Invoke: the request has not left yet.
	Invoke Type = "invoke"
	// OK: it was done.
	OK Type = "ok"
	// Fail: it was certainly not done.
	Fail Type = "fail"
	// Info: it may have been done, at any time since; or it is no request, but
	// an event.
	Info Type = "info"
)

// What operations do. A line of any of them may be in one history.
const (
	// Send stores Values, in one queue, together or not at all. Its OK has a
	// Place for each value.
	Send = "send"
	// Read is what a reader without a group was given: Messages, in its order.
	Read = "read"
	// Deliver is what a member of Group was given: Messages. OK: it handled them;
	// Fail: it said that it could not, and they must come again.
	Deliver = "deliver"
	// Committed asks for the offsets of Group; its OK has a Message without a
	// value for each queue in which the group has one.
	Committed = "committed"
	// Resend stores again what was sent, under the same identity: its OK has the
	// Places that the first one has, or gave.
	Resend = "resend"
	// End asks Node for the bounds of Queue; its OK has Range.
	End = "end"
	// Look reads Queue through Node from Range.Min to its end as of then; its OK has
	// Messages. Fail: what lies there is not kept any more; Range.Min is what is.
	Look = "look"
	// Commit raises the offset of Group to that of Places. Fail: it is refused.
	Commit = "commit"
	// Reset moves the offset of Group to that of Places, also back.
	Reset = "reset"
	// Lock asks for Queue for Group; OK: the process holds it. Fail: another does, or
	// it is not known.
	Lock = "lock"
	// Unlock gives Queue back, whoever holds it by then.
	Unlock = "unlock"
	// PutTopic creates Topic with Count queues in each partition, or changes it;
	// DropTopic deletes it; GetTopic asks Node for it: Count is 0 if there is none.
	PutTopic, DropTopic, GetTopic = "put-topic", "drop-topic", "get-topic"
	// Note puts the value of Values into Topic, which comes and goes; the OK of Notes
	// has the Values that are in it.
	Note, Notes = "note", "notes"
	// Prepared: a transaction's message, Values, is stored where nobody sees it, and its
	// local transaction runs. Decide says what is to become of it, Fate; OK: that holds,
	// Fail: the other does. Asked: a producer was asked about it.
	Prepared, Decide, Asked = "prepared", "decide", "asked"
	// Delay stores Values, of which there is one, to come Wait after its Invoke, or later. Recall
	// takes it back; OK: it will not come. Fail: it is too late, it comes or has come.
	Delay, Recall = "delay", "recall"
	// Back puts the message at Places, which has Values and was handed out Count times before,
	// back for Group: to come again, or, with the Fate Burying, to lie among the dead letters. OK:
	// Count is 1 if it was this one that did, 0 if what another did holds.
	Back = "back"
	// TakeOut takes the dead letter of Group at Places, which has Values, out of them: to be
	// handled again, or, with the Fate Dropping, for good. OK: Count is 1 if it was this one
	// that did, 0 if it was gone before.
	TakeOut = "take-out"
	// Letters lists Group's dead letters at the end, as Node says: OK, all of them.
	Letters = "letters"
	// Run describes the run, first in the history.
	Run = "run"
	// Fault is what was done to a node, or undone.
	Fault = "fault"
	// Started: a process of Node is about to begin, and knows what its disk tells.
	Started = "started"
	// Healed: from here on nothing is broken.
	Healed = "healed"
	// Stopped: all nodes ended as they should when told to, OK; or not, Info.
	Stopped = "stopped"
	// Final is a part of a queue as a node reads it at the end, Info; OK: its last
	// part.
	Final = "final"
	// Disk is a part of a queue as it lies on a node's disk when all have stopped, Info;
	// OK: its last part.
	Disk = "disk"
	// Bounds are a queue's first offset and its end at the end, by its leader.
	Bounds = "bounds"
	// Replica is one node's replica of a partition at the end.
	Replica = "replica"
	// Kept is what Node, which leads a partition of Topic, has of its log, in bytes: Range. Its beginning
	// was trimmed.
	Kept = "kept"
	// Settled: none of Topic's transactions waits for a decision, say the leaders of its partitions, and nobody was asked about one of late.
	Settled = "settled"
	// Event is what a node wrote about itself, at the time at which it was read: its own clock
	// may be one that a fault has set. Lag: Node has applied Count entries less than whoever has
	// applied most, over all its partitions.
	Event, Lag = "event", "lag"
	// Drained: Group was given what there is, OK; or was not in time, Info.
	Drained = "drained"
)

// Fates that a Decide asks for, and those of a Back and a TakeOut.
const (
	Committing  = "commit"
	RollingBack = "rollback"
	Burying     = "bury"
	Dropping    = "drop"
)

// Op is one line of a history.
type Op struct {
	Index   int64    `json:"i"` // place in the history: what ended at a lower index than another began was before it
	Time    int64    `json:"t"` // ns since the run began, by a clock that never goes back
	Process string   `json:"p"` // does one operation at a time; after an Info of a request it does no more
	Type    Type     `json:"type"`
	F       string   `json:"f"`
	Values  []string `json:"v,omitempty"` // of a send, each unique in the run
	// Places of a send's values, in their order. Offset -1: that one has none.
	Places   []Place   `json:"at,omitempty"`
	Group    string    `json:"group,omitempty"`
	Topic    string    `json:"topic,omitempty"`
	Count    int       `json:"count,omitempty"`
	Fate     string    `json:"fate,omitempty"`  // one of the Fates; of a deliver that failed: Burying if it is not to come again
	Wait     int64     `json:"wait,omitempty"`  // of a delay, ns
	Loose    bool      `json:"loose,omitempty"` // of a send: the client may store it more than once
	Node     string    `json:"node,omitempty"`
	Queue    string    `json:"k,omitempty"`
	Messages []Message `json:"msgs,omitempty"`
	Range    *Range    `json:"range,omitempty"`
	Fault    *Effect   `json:"fault,omitempty"`
	Replica  *State    `json:"replica,omitempty"`
	Event    *Told     `json:"event,omitempty"`
	Run      *Plan     `json:"run,omitempty"`
	Error    string    `json:"err,omitempty"`
}

// Place is a place in a queue.
type Place struct {
	Queue  string `json:"k"`
	Offset int64  `json:"o"`
}

// Message is what stood in a place. Value is that of the send, or begins with "!"
// if the bytes are not those of any send.
type Message struct {
	Queue  string `json:"k"`
	Offset int64  `json:"o"`
	Value  string `json:"v,omitempty"`
	Times  int    `json:"n,omitempty"` // how often its group was given it before
}

// Range is a queue's first offset, and the one that comes next.
type Range struct {
	Min int64 `json:"min"`
	End int64 `json:"end"`
}

// Effect is a fault and the proof that it had one.
type Effect struct {
	Kind     string `json:"kind"`             // of package run's, or what undoes them: start, resume, heal; exit: the node ended by itself
	PID      int    `json:"pid"`              // of the process that was hit
	Verified bool   `json:"verified"`         // it was seen to have its effect, or all was seen ready again
	Before   string `json:"before,omitempty"` // who led the first partition before the fault
	Lasted   int64  `json:"lasted,omitempty"` // ns, until this line
	After    string `json:"after,omitempty"`  // and who did when the others had gone on; empty: nobody was seen to
	Detail   string `json:"detail,omitempty"` // what exactly was done, in words
	Count    int64  `json:"count,omitempty"`  // how much it did: packets struck, sectors lost, operations failed
}

// Told is a line of a node's event file, or a warning or an error of its log.
type Told struct {
	What      string `json:"what"`
	Partition uint64 `json:"partition,omitempty"` // 0: none, or the catalogue
}

// Differs reports whether a node tells that replicas are not alike, which nodes mend by themselves.
func (t *Told) Differs() bool {
	return strings.HasPrefix(t.What, "error: ") && (strings.Contains(t.What, "replicas of a partition differ") || strings.Contains(t.What, "replicas of the catalogue differ"))
}

// Damage reports whether a node tells that files of its own are damaged, which is repaired.
func (t *Told) Damage() bool {
	return strings.HasPrefix(t.What, "quarantine ") || strings.HasPrefix(t.What, "write-ahead log damaged ")
}

// State is one replica of a partition.
type State struct {
	Partition uint64 `json:"partition"`
	Applied   uint64 `json:"applied"` // Raft index
	Digest    string `json:"digest"`  // of the log through Applied
}

// Plan is what a run was to be.
type Plan struct {
	Seed     uint64   `json:"seed"`
	Workload string   `json:"workload"` // names, joined by commas
	Nemesis  string   `json:"nemesis"`
	Nodes    []string `json:"nodes"`
	Queues   []string `json:"queues"` // whose every replica is read at the end
	// Proves are the properties, by id, that the workloads have the load for, beside
	// those that every run has.
	Proves []string `json:"proves,omitempty"`
	// Groups are the consumer groups and the queues that each must come to the end of;
	// it was there before the first send.
	Groups map[string][]string `json:"groups,omitempty"`
	// Copies are those of Queues that hold what groups put back.
	Copies map[string]CopiesOf `json:"copies,omitempty"`
	// Trims are those of Queues of which messages may go; of the others nothing does.
	Trims []string `json:"trims,omitempty"`
	// Keeps are how many bytes of each partition's log are kept at least, of topics of which messages may go.
	Keeps map[string]int64 `json:"keeps,omitempty"`
	// Retries are how often a group's messages come again at most, and the queues that it consumes.
	Retries map[string]Retries `json:"retries,omitempty"`
	Sends   int                `json:"sends"`            // how many the rate and the time allow
	Faults  int                `json:"faults"`           // how many were planned
	Gentle  bool               `json:"gentle,omitempty"` // none of them takes a leader away for sure
}

// CopiesOf says whose copies are in a queue: to come again, or dead letters.
type CopiesOf struct {
	Group string `json:"group"`
	Dead  bool   `json:"dead,omitempty"`
}

// Retries are a group's.
type Retries struct {
	Most   int      `json:"most"`
	Queues []string `json:"queues"`
}

// Request reports whether op is a line of two, Invoke and an outcome.
func (op *Op) Request() bool {
	switch op.F {
	case Send, Read, Committed, Resend, End, Look, Commit, Reset, Lock, Unlock, PutTopic, DropTopic, GetTopic, Note, Notes, Decide, Delay, Recall, Back, TakeOut:
		return true
	}
	return false
}
