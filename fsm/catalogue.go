package fsm

import (
	"errors"
	"maps"
	"slices"

	"raftmq/message"
)

// Refusals of the catalogue: all replicas reach them alike, and nothing changed.
var (
	ErrExists       = errors.New("fsm: exists already, and differs")
	ErrNotFound     = errors.New("fsm: not found")
	ErrBootstrapped = errors.New("fsm: the cluster was founded already")
	ErrInvalid      = errors.New("fsm: invalid")
	ErrLimit        = errors.New("fsm: no more are possible")
	// ErrConflict: it was changed since it was read; read it again.
	ErrConflict = errors.New("fsm: changed meanwhile")
)

// Limits of the catalogue.
const (
	MaxTopics       = 100_000
	MaxGroups       = 100_000
	MaxQueues       = 65536 // per topic and partition
	MaxSlots        = 1024
	MaxNodes        = 1024
	maxReplicas     = 7
	maxRetryQueues  = 65536 // per group and slot, holes included
	maxKVs          = 16_384
	maxKVBytes      = 64 << 10 // namespace, key and value together
	maxAttributes   = 256
	maxAttribute    = 4 << 10 // name and value together
	maxPartition    = message.MaxPartitionNumber
	maxNode         = 127
	maxClusterBytes = 255
)

// Node is a member of the cluster in one of its lives.
type Node struct {
	Name        string
	Incarnation uint64 // from 1; a node that lost its disk comes back with a higher one
}

// Life is what is known of a node that was replaced: on another data folder than
// the one that it had when the cluster was founded.
type Life struct {
	Incarnation uint64
	Folder      uint64 // that the incarnation lives on
	Settled     bool   // it votes again wherever its earlier life did
}

// Slot is one of the cluster's fixed shares.
type Slot struct {
	ID       int      // from 0, without holes
	Replicas []string // node names, the preferred leader first
	Version  uint64   // of the catalogue when the slot changed last
}

// Partition is a topic's part in one slot.
type Partition struct {
	ID     uint64 // of its Raft group; from 1, never used again
	Topic  string
	Slot   int
	Number uint32 // within the slot, in physical offsets; from 1, never used again
	Voters []Node // at creation
}

// Topic is a named set of partitions, at most one per slot.
type Topic struct {
	Name        string
	ReadQueues  int32 // per partition
	WriteQueues int32
	Perm        int32
	Order       bool
	SysFlag     int32
	Attributes  map[string]string
	Partitions  []Partition // by slot; they never change
	Version     uint64
}

// TopicSpec is what a topic is made of, or changed to.
type TopicSpec struct {
	Name        string
	ReadQueues  int32
	WriteQueues int32
	Perm        int32
	Order       bool
	SysFlag     int32
	Attributes  map[string]string // nil in an update: as they are
	Slots       []int             // that get a partition; none: all. Not looked at by an update
}

// Group is a consumer group.
type Group struct {
	GroupSpec
	Topics []string // it ever subscribed to, sorted
	// Retry numbers the group's retry queues: queue j of slot s lies in partition
	// Retry[s][j]. Numbers are only appended; 0 is a hole whose topic is gone, or
	// that was an earlier group's of this name.
	Retry   map[int][]uint64
	Version uint64
}

// GroupSpec is a group's settings; the names are RocketMQ's.
type GroupSpec struct {
	Name                   string
	ConsumeEnable          bool
	ConsumeFromMinEnable   bool
	ConsumeBroadcastEnable bool
	ConsumeMessageOrderly  bool
	RetryMaxTimes          int32
	ConsumeTimeoutMinute   int32
	Attributes             map[string]string
}

// NewGroup is a group with RocketMQ's defaults.
func NewGroup(name string) GroupSpec {
	return GroupSpec{Name: name, ConsumeEnable: true, ConsumeFromMinEnable: true, ConsumeBroadcastEnable: true, RetryMaxTimes: 16, ConsumeTimeoutMinute: 15}
}

// Default reports whether the group has the settings that it is made with when somebody consumes.
func (g GroupSpec) Default() bool { return g.equal(NewGroup(g.Name)) }

// equal: an absent map is an empty one.
func (g GroupSpec) equal(o GroupSpec) bool {
	return g.Name == o.Name && g.ConsumeEnable == o.ConsumeEnable && g.ConsumeFromMinEnable == o.ConsumeFromMinEnable &&
		g.ConsumeBroadcastEnable == o.ConsumeBroadcastEnable && g.ConsumeMessageOrderly == o.ConsumeMessageOrderly &&
		g.RetryMaxTimes == o.RetryMaxTimes && g.ConsumeTimeoutMinute == o.ConsumeTimeoutMinute && maps.Equal(g.Attributes, o.Attributes)
}

// settings are what an update may change of t.
func (t Topic) settings() TopicSpec {
	return TopicSpec{Name: t.Name, ReadQueues: t.ReadQueues, WriteQueues: t.WriteQueues, Perm: t.Perm, Order: t.Order, SysFlag: t.SysFlag, Attributes: t.Attributes}
}

// sameSettings compares all but the slots.
func (s TopicSpec) sameSettings(o TopicSpec) bool {
	return s.Name == o.Name && s.ReadQueues == o.ReadQueues && s.WriteQueues == o.WriteQueues && s.Perm == o.Perm &&
		s.Order == o.Order && s.SysFlag == o.SysFlag && maps.Equal(s.Attributes, o.Attributes)
}

func (t Topic) slots() []int {
	ids := make([]int, len(t.Partitions))
	for i, p := range t.Partitions {
		ids[i] = p.Slot
	}
	return ids
}

func (t Topic) has(partition uint64) bool {
	return slices.ContainsFunc(t.Partitions, func(p Partition) bool { return p.ID == partition })
}
