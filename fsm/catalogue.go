package fsm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"raftmq/message"
)

// Refusals of the catalogue.
var (
	ErrExists       = errors.New("fsm: exists already")
	ErrNotFound     = errors.New("fsm: not found")
	ErrBootstrapped = errors.New("fsm: the cluster was founded already")
	ErrInvalid      = errors.New("fsm: invalid")
)

// Node is a member of the cluster in one of its lives.
type Node struct {
	Name        string
	Incarnation uint64
}

// Slot is one of the cluster's fixed shares.
type Slot struct {
	ID       int
	Replicas []string // node names, the preferred leader first
}

// Partition is a topic's part in one slot.
type Partition struct {
	ID     uint64 // of its Raft group; from 1, never used again
	Topic  string
	Slot   int
	Number uint32 // within the slot, in physical offsets; from 1, never used again
	Voters []Node // at creation
}

// Topic is a named set of partitions, at most one per slot. Values are shared:
// not to be changed.
type Topic struct {
	Name        string
	ReadQueues  int32 // per partition
	WriteQueues int32
	Perm        int32
	Order       bool
	SysFlag     int32
	Attributes  map[string]string
	Partitions  []Partition // by slot
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
	Attributes  map[string]string
	Slots       []int // that get a partition; none: all. Not looked at by an update
}

// Group is a consumer group.
type Group struct {
	GroupSpec
	Topics []string // it ever subscribed to, sorted
	// Retry numbers the group's retry queues: queue j of slot s lies in partition
	// Retry[s][j]. Numbers are only appended; 0 is a hole whose topic is gone.
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

// CatalogueResult answers every catalogue command. Err is a refusal that all
// replicas reach alike.
type CatalogueResult struct {
	Err     error
	Version uint64
	Topic   Topic
}

const (
	kindBootstrap kind = iota + 64
	kindCreateTopic
	kindUpdateTopic
	kindDeleteTopic
	kindPutGroup
	kindDeleteGroup
	kindSubscribe
	kindPutKV
	kindDeleteKV
	kindPutNode
	kindPutSlot
	kindFeatureLevel
)

// Limits of the catalogue.
const (
	MaxTopics    = 100_000
	MaxGroups    = 100_000
	MaxQueues    = 65536
	maxKVBytes   = 64 << 10
	maxPartition = message.MaxPartitionNumber
)

type bootstrap struct {
	Cluster string
	Slots   []Slot
	Nodes   []Node
}

type subscribe struct {
	Group  string
	Topics []string
}

type kv struct{ Namespace, Key, Value string }

type named struct{ Name string }

type level struct{ Level uint64 }

func encodeJSON(dst []byte, k kind, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	return append(append(dst, byte(k), commandVersion), b...)
}

func EncodeBootstrap(dst []byte, cluster string, slots []Slot, nodes []Node) []byte {
	return encodeJSON(dst, kindBootstrap, bootstrap{cluster, slots, nodes})
}
func EncodeCreateTopic(dst []byte, t TopicSpec) []byte { return encodeJSON(dst, kindCreateTopic, t) }
func EncodeUpdateTopic(dst []byte, t TopicSpec) []byte { return encodeJSON(dst, kindUpdateTopic, t) }
func EncodeDeleteTopic(dst []byte, name string) []byte {
	return encodeJSON(dst, kindDeleteTopic, named{name})
}
func EncodePutGroup(dst []byte, g GroupSpec) []byte { return encodeJSON(dst, kindPutGroup, g) }
func EncodeDeleteGroup(dst []byte, name string) []byte {
	return encodeJSON(dst, kindDeleteGroup, named{name})
}
func EncodePutNode(dst []byte, n Node) []byte { return encodeJSON(dst, kindPutNode, n) }
func EncodePutSlot(dst []byte, s Slot) []byte { return encodeJSON(dst, kindPutSlot, s) }
func EncodeFeatureLevel(dst []byte, level_ uint64) []byte {
	return encodeJSON(dst, kindFeatureLevel, level{level_})
}

// EncodeSubscribe makes the group if need be and numbers its retry queues in the
// topics' partitions.
func EncodeSubscribe(dst []byte, group string, topics []string) []byte {
	return encodeJSON(dst, kindSubscribe, subscribe{group, topics})
}

func EncodePutKV(dst []byte, namespace, key, value string) []byte {
	return encodeJSON(dst, kindPutKV, kv{namespace, key, value})
}

func EncodeDeleteKV(dst []byte, namespace, key string) []byte {
	return encodeJSON(dst, kindDeleteKV, kv{namespace, key, ""})
}

// catalogueState is everything the catalogue decides.
type catalogueState struct {
	Cluster       string
	Slots         []Slot
	Nodes         []Node
	Topics        map[string]Topic
	Groups        map[string]Group
	KV            map[string]map[string]string
	LastPartition uint64
	LastNumber    map[int]uint32
	Feature       uint64
	Version       uint64
	Index, Term   uint64
}

// Catalogue is the machine of the cluster's decisions, in memory.
type Catalogue struct {
	mu      sync.RWMutex
	s       catalogueState
	byID    map[uint64]Partition
	changed chan struct{}
}

// OpenCatalogue opens it as of a checkpoint's state; nil is an empty one.
func OpenCatalogue(state []byte) (*Catalogue, error) {
	c := &Catalogue{changed: make(chan struct{})}
	return c, c.load(state)
}

func (c *Catalogue) load(state []byte) error {
	c.s = catalogueState{Topics: make(map[string]Topic), Groups: make(map[string]Group), KV: make(map[string]map[string]string), LastNumber: make(map[int]uint32)}
	c.byID = make(map[uint64]Partition)
	if len(state) == 0 {
		return nil
	}
	if state[0] != stateVersion {
		return fmt.Errorf("%w: catalogue version %d, this program knows %d", ErrState, state[0], stateVersion)
	}
	if err := json.Unmarshal(state[1:], &c.s); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	for _, t := range c.s.Topics {
		for _, p := range t.Partitions {
			c.byID[p.ID] = p
		}
	}
	return nil
}

// Apply implements raftlog.Machine.
func (c *Catalogue) Apply(entries []*raft.Log) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	results := make([]any, len(entries))
	for i, l := range entries {
		if l.Type == raft.LogCommand {
			res, err := c.apply(l.Data)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", l.Index, err)
			}
			results[i] = res
		}
		c.s.Index, c.s.Term = l.Index, l.Term
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return results, nil
}

func decodeAs[T any](b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return v, nil
}

// as decodes a command and applies it.
func as[T any](b []byte, f func(T) (Topic, error)) (Topic, error, error) {
	v, err := decodeAs[T](b)
	if err != nil {
		return Topic{}, nil, err
	}
	t, refusal := f(v)
	return t, refusal, nil
}

func (c *Catalogue) apply(b []byte) (CatalogueResult, error) {
	if len(b) < 2 {
		return CatalogueResult{}, fmt.Errorf("%w: %d bytes", ErrCommand, len(b))
	}
	var topic Topic
	var refusal, err error
	k, body := kind(b[0]), b[2:]
	if b[1] != commandVersion {
		k = 0
	}
	c.s.Version++
	switch k {
	case kindBootstrap:
		topic, refusal, err = as(body, c.bootstrap)
	case kindCreateTopic:
		topic, refusal, err = as(body, c.createTopic)
	case kindUpdateTopic:
		topic, refusal, err = as(body, c.updateTopic)
	case kindDeleteTopic:
		topic, refusal, err = as(body, c.deleteTopic)
	case kindPutGroup:
		topic, refusal, err = as(body, c.putGroup)
	case kindDeleteGroup:
		topic, refusal, err = as(body, c.deleteGroup)
	case kindSubscribe:
		topic, refusal, err = as(body, c.subscribe)
	case kindPutKV:
		topic, refusal, err = as(body, c.putKV)
	case kindDeleteKV:
		topic, refusal, err = as(body, c.deleteKV)
	case kindPutNode:
		topic, refusal, err = as(body, c.putNode)
	case kindPutSlot:
		topic, refusal, err = as(body, c.putSlot)
	case kindFeatureLevel:
		topic, refusal, err = as(body, func(l level) (Topic, error) {
			c.s.Feature = max(c.s.Feature, l.Level)
			return Topic{}, nil
		})
	default:
		return CatalogueResult{}, fmt.Errorf("%w: kind %d version %d", ErrUnknownCommand, b[0], b[1])
	}
	return CatalogueResult{Err: refusal, Version: c.s.Version, Topic: topic}, err
}

func (c *Catalogue) bootstrap(b bootstrap) (Topic, error) {
	if len(c.s.Slots) > 0 {
		return Topic{}, ErrBootstrapped
	}
	if len(b.Slots) == 0 || len(b.Nodes) == 0 {
		return Topic{}, fmt.Errorf("%w: a cluster needs slots and nodes", ErrInvalid)
	}
	c.s.Cluster, c.s.Slots, c.s.Nodes = b.Cluster, b.Slots, b.Nodes
	return Topic{}, nil
}

func checkSpec(t TopicSpec) error {
	if err := message.CheckTopic(t.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if t.ReadQueues < 0 || t.WriteQueues < 0 || t.ReadQueues > MaxQueues || t.WriteQueues > MaxQueues || t.ReadQueues+t.WriteQueues == 0 {
		return fmt.Errorf("%w: %d read and %d write queues", ErrInvalid, t.ReadQueues, t.WriteQueues)
	}
	return nil
}

func (c *Catalogue) createTopic(t TopicSpec) (Topic, error) {
	if err := checkSpec(t); err != nil {
		return Topic{}, err
	}
	if old, ok := c.s.Topics[t.Name]; ok {
		return old, ErrExists
	}
	if len(c.s.Topics) >= MaxTopics {
		return Topic{}, fmt.Errorf("%w: %d topics, no more are possible", ErrInvalid, MaxTopics)
	}
	slots := slices.Clone(t.Slots)
	if len(slots) == 0 {
		for _, s := range c.s.Slots {
			slots = append(slots, s.ID)
		}
	}
	slices.Sort(slots)
	slots = slices.Compact(slots)
	out := Topic{Name: t.Name, ReadQueues: t.ReadQueues, WriteQueues: t.WriteQueues, Perm: t.Perm, Order: t.Order, SysFlag: t.SysFlag, Attributes: t.Attributes, Version: c.s.Version}
	for _, id := range slots {
		i := slices.IndexFunc(c.s.Slots, func(s Slot) bool { return s.ID == id })
		if i < 0 {
			return Topic{}, fmt.Errorf("%w: there is no slot %d", ErrInvalid, id)
		}
		if c.s.LastNumber[id] >= maxPartition {
			return Topic{}, fmt.Errorf("%w: slot %d has had %d partitions, no more are possible", ErrInvalid, id, maxPartition)
		}
		out.Partitions = append(out.Partitions, Partition{Topic: t.Name, Slot: id, Voters: c.voters(c.s.Slots[i])})
	}
	for i := range out.Partitions {
		p := &out.Partitions[i]
		c.s.LastPartition++
		c.s.LastNumber[p.Slot]++
		p.ID, p.Number = c.s.LastPartition, c.s.LastNumber[p.Slot]
		c.byID[p.ID] = *p
	}
	c.s.Topics[t.Name] = out
	return out, nil
}

// voters are the nodes of a slot's replica set in their present lives.
func (c *Catalogue) voters(s Slot) []Node {
	var vs []Node
	for _, name := range s.Replicas {
		for _, n := range c.s.Nodes {
			if n.Name == name {
				vs = append(vs, n)
			}
		}
	}
	return vs
}

func (c *Catalogue) updateTopic(t TopicSpec) (Topic, error) {
	if err := checkSpec(t); err != nil {
		return Topic{}, err
	}
	old, ok := c.s.Topics[t.Name]
	if !ok {
		return Topic{}, ErrNotFound
	}
	old.ReadQueues, old.WriteQueues, old.Perm, old.Order, old.SysFlag = t.ReadQueues, t.WriteQueues, t.Perm, t.Order, t.SysFlag
	if t.Attributes != nil {
		old.Attributes = t.Attributes
	}
	old.Version = c.s.Version
	c.s.Topics[t.Name] = old
	return old, nil
}

func (c *Catalogue) deleteTopic(n named) (Topic, error) {
	old, ok := c.s.Topics[n.Name]
	if !ok {
		return Topic{}, ErrNotFound
	}
	delete(c.s.Topics, n.Name)
	for _, p := range old.Partitions {
		delete(c.byID, p.ID)
	}
	for name, g := range c.s.Groups {
		changed := false
		retry := make(map[int][]uint64, len(g.Retry))
		for slot, ids := range g.Retry {
			ids = slices.Clone(ids)
			for i, id := range ids {
				if slices.ContainsFunc(old.Partitions, func(p Partition) bool { return p.ID == id }) {
					ids[i], changed = 0, true
				}
			}
			retry[slot] = ids
		}
		if changed {
			g.Retry, g.Version = retry, c.s.Version
			g.Topics = slices.DeleteFunc(slices.Clone(g.Topics), func(t string) bool { return t == n.Name })
			c.s.Groups[name] = g
		}
	}
	return old, nil
}

func (c *Catalogue) putGroup(g GroupSpec) (Topic, error) {
	if err := message.CheckGroup(g.Name); err != nil {
		return Topic{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	old, ok := c.s.Groups[g.Name]
	if !ok && len(c.s.Groups) >= MaxGroups {
		return Topic{}, fmt.Errorf("%w: %d groups, no more are possible", ErrInvalid, MaxGroups)
	}
	old.GroupSpec, old.Version = g, c.s.Version
	c.s.Groups[g.Name] = old
	return Topic{}, nil
}

func (c *Catalogue) deleteGroup(n named) (Topic, error) {
	if _, ok := c.s.Groups[n.Name]; !ok {
		return Topic{}, ErrNotFound
	}
	delete(c.s.Groups, n.Name)
	return Topic{}, nil
}

func (c *Catalogue) subscribe(s subscribe) (Topic, error) {
	g, ok := c.s.Groups[s.Group]
	if !ok {
		if _, err := c.putGroup(NewGroup(s.Group)); err != nil {
			return Topic{}, err
		}
		g = c.s.Groups[s.Group]
	}
	retry := make(map[int][]uint64, len(g.Retry))
	for slot, ids := range g.Retry {
		retry[slot] = slices.Clone(ids)
	}
	topics := slices.Clone(g.Topics)
	for _, name := range s.Topics {
		t, ok := c.s.Topics[name]
		if !ok || slices.Contains(topics, name) {
			continue
		}
		topics = append(topics, name)
		for _, p := range t.Partitions {
			if !slices.Contains(retry[p.Slot], p.ID) {
				retry[p.Slot] = append(retry[p.Slot], p.ID)
			}
		}
	}
	slices.Sort(topics)
	g.Topics, g.Retry, g.Version = topics, retry, c.s.Version
	c.s.Groups[s.Group] = g
	return Topic{}, nil
}

func (c *Catalogue) putKV(v kv) (Topic, error) {
	if len(v.Namespace)+len(v.Key)+len(v.Value) > maxKVBytes || v.Namespace == "" || v.Key == "" {
		return Topic{}, fmt.Errorf("%w: namespace, key and value must be 1 to %d bytes together", ErrInvalid, maxKVBytes)
	}
	ns := maps.Clone(c.s.KV[v.Namespace])
	if ns == nil {
		ns = make(map[string]string)
	}
	ns[v.Key] = v.Value
	c.s.KV[v.Namespace] = ns
	return Topic{}, nil
}

func (c *Catalogue) deleteKV(v kv) (Topic, error) {
	ns := maps.Clone(c.s.KV[v.Namespace])
	if _, ok := ns[v.Key]; !ok {
		return Topic{}, ErrNotFound
	}
	delete(ns, v.Key)
	c.s.KV[v.Namespace] = ns
	return Topic{}, nil
}

func (c *Catalogue) putNode(n Node) (Topic, error) {
	nodes := slices.DeleteFunc(slices.Clone(c.s.Nodes), func(o Node) bool { return o.Name == n.Name })
	nodes = append(nodes, n)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	c.s.Nodes = nodes
	return Topic{}, nil
}

func (c *Catalogue) putSlot(s Slot) (Topic, error) {
	slots := slices.DeleteFunc(slices.Clone(c.s.Slots), func(o Slot) bool { return o.ID == s.ID })
	slots = append(slots, s)
	slices.SortFunc(slots, func(a, b Slot) int { return cmp.Compare(a.ID, b.ID) })
	c.s.Slots = slots
	return Topic{}, nil
}

// Applied implements raftlog.Machine.
func (c *Catalogue) Applied() (index, term uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Index, c.s.Term
}

// Checkpoint implements raftlog.Machine. JSON sorts its maps, so equal states are
// equal bytes.
func (c *Catalogue) Checkpoint() (state []byte, sync func() error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b, err := json.Marshal(c.s)
	if err != nil {
		panic(err) // maps and structs of strings and numbers
	}
	return append([]byte{stateVersion}, b...), func() error { return nil }
}

// Floor implements raftlog.Machine; Raft keeps the catalogue's snapshots.
func (c *Catalogue) Floor() ([]byte, uint64, uint64, error) { return nil, 0, 0, nil }

// Restore implements raftlog.Machine.
func (c *Catalogue) Restore(state []byte, index, term uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(state); err != nil {
		return err
	}
	if c.s.Index != index {
		return fmt.Errorf("%w: catalogue of entry %d holds entry %d", ErrState, index, c.s.Index)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// Changed returns a channel that closes at the next change.
func (c *Catalogue) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Version counts commands.
func (c *Catalogue) Version() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Version
}

// Slots returns the slots by id; none before the cluster was founded.
func (c *Catalogue) Slots() []Slot {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Slots
}

// Nodes returns the members by name.
func (c *Catalogue) Nodes() []Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Nodes
}

func (c *Catalogue) Topic(name string) (Topic, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.s.Topics[name]
	return t, ok
}

// Topics returns all topics by name.
func (c *Catalogue) Topics() []Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.s.Topics), func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
}

func (c *Catalogue) Partition(id uint64) (Partition, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, ok := c.byID[id]
	return p, ok
}

// Partitions returns all partitions by id.
func (c *Catalogue) Partitions() []Partition {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.byID), func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
}

func (c *Catalogue) Group(name string) (Group, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g, ok := c.s.Groups[name]
	return g, ok
}

// Groups returns all groups by name.
func (c *Catalogue) Groups() []Group {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.s.Groups), func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
}

// KV returns the values of a namespace.
func (c *Catalogue) KV(namespace string) map[string]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.KV[namespace]
}

// FeatureLevel is the level that all nodes have reached.
func (c *Catalogue) FeatureLevel() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Feature
}
