package fsm

import (
	"encoding/json"
	"fmt"
	"hash/crc64"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// catalogueState is everything the catalogue decides; its JSON, behind one byte
// of version, is the checkpoint. JSON sorts its maps, so equal states are equal
// bytes.
type catalogueState struct {
	Cluster       string
	Slots         []Slot          // by id
	Nodes         []Node          // by name
	Lives         map[string]Life `json:",omitempty"` // of nodes that were replaced; a value never changes
	Topics        map[string]Topic
	Groups        map[string]Group
	Deleted       map[string]deletedGroup `json:",omitempty"` // groups
	KV            map[string]map[string]string
	LastPartition uint64
	LastNumber    map[int]uint32
	Feature       uint64
	Version       uint64 // counts changes
	Index, Term   uint64
}

const catalogueVersion = 1

// Catalogue is the machine of the cluster's decisions, in memory. Values that it
// returns are shared and never change: they are not to be written to.
type Catalogue struct {
	mu      sync.RWMutex
	s       catalogueState
	byID    map[uint64]Partition
	kvs     int
	changed chan struct{}
}

// CatalogueResult answers every catalogue command.
type CatalogueResult struct {
	Err     error  // a refusal
	Version uint64 // of the catalogue
	Changed bool   // false: refused, or so it was already
	Topic   Topic  // of the commands on topics, if there is one by that name
}

// OpenCatalogue opens it as of a checkpoint's state; nil is an empty one.
func OpenCatalogue(state []byte) (*Catalogue, error) {
	c := &Catalogue{changed: make(chan struct{})}
	return c, c.load(state)
}

// load replaces the state, if it can be read.
func (c *Catalogue) load(state []byte) error {
	var s catalogueState
	if len(state) > 0 {
		if state[0] != catalogueVersion {
			return fmt.Errorf("%w: catalogue version %d, this program knows %d", ErrStateVersion, state[0], catalogueVersion)
		}
		if err := decodeJSON(state[1:], &s); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	if s.Topics == nil {
		s.Topics = make(map[string]Topic)
	}
	if s.Groups == nil {
		s.Groups = make(map[string]Group)
	}
	if s.Deleted == nil {
		s.Deleted = make(map[string]deletedGroup)
	}
	if s.KV == nil {
		s.KV = make(map[string]map[string]string)
	}
	if s.LastNumber == nil {
		s.LastNumber = make(map[int]uint32)
	}
	byID := make(map[uint64]Partition)
	for _, t := range s.Topics {
		for _, p := range t.Partitions {
			byID[p.ID] = p
		}
	}
	c.kvs = 0
	for _, ns := range s.KV {
		c.kvs += len(ns)
	}
	c.s, c.byID = s, byID
	return nil
}

// Apply implements raftlog.Machine.
func (c *Catalogue) Apply(entries []*raft.Log) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	results := make([]any, len(entries))
	before := c.s.Version
	for i, l := range entries {
		if l.Index != c.s.Index+1 {
			return nil, fmt.Errorf("entry %d: %w: the last applied is %d", l.Index, ErrOrder, c.s.Index)
		}
		if l.Type == raft.LogCommand {
			res, err := c.apply(l.Data)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", l.Index, err)
			}
			results[i] = res
		}
		c.s.Index, c.s.Term = l.Index, l.Term
	}
	if c.s.Version != before {
		c.wake()
	}
	return results, nil
}

func (c *Catalogue) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// apply decides one command. Deciders see the version that a change would have,
// and say whether they changed anything.
func (c *Catalogue) apply(b []byte) (CatalogueResult, error) {
	if len(b) < 2 {
		return CatalogueResult{}, fmt.Errorf("%w: %d bytes", ErrCommand, len(b))
	}
	k, fields := kind(b[0]), b[2:]
	if b[1] != commandVersion {
		k = 0
	}
	var changed bool
	var topic Topic
	var refusal, err error
	switch k {
	case kindBootstrap:
		changed, refusal, err = decide(fields, c.bootstrap)
	case kindCreateTopic:
		changed, refusal, err = decide(fields, func(t TopicSpec) (bool, error) { return c.createTopic(t, &topic) })
	case kindUpdateTopic:
		changed, refusal, err = decide(fields, func(t TopicSpec) (bool, error) { return c.updateTopic(t, &topic) })
	case kindDeleteTopic:
		changed, refusal, err = decide(fields, func(n named) (bool, error) { return c.deleteTopic(n, &topic) })
	case kindPutGroup:
		changed, refusal, err = decide(fields, c.putGroup)
	case kindDeleteGroup:
		changed, refusal, err = decide(fields, c.deleteGroup)
	case kindSubscribe:
		changed, refusal, err = decide(fields, c.subscribe)
	case kindPutKV:
		changed, refusal, err = decide(fields, c.putKV)
	case kindDeleteKV:
		changed, refusal, err = decide(fields, c.deleteKV)
	case kindPutNode:
		changed, refusal, err = decide(fields, c.putNode)
	case kindReplaceNode:
		changed, refusal, err = decide(fields, c.replaceNode)
	case kindSettleNode:
		changed, refusal, err = decide(fields, c.settleNode)
	case kindPutSlot:
		changed, refusal, err = decide(fields, c.putSlot)
	case kindFeatureLevel:
		changed, refusal, err = decide(fields, c.raiseLevel)
	default:
		return CatalogueResult{}, fmt.Errorf("%w: kind %d version %d", ErrUnknownCommand, b[0], b[1])
	}
	if err != nil {
		return CatalogueResult{}, err
	}
	if changed {
		c.s.Version++
	}
	return CatalogueResult{Err: refusal, Version: c.s.Version, Changed: changed, Topic: topic}, nil
}

func decide[T any](fields []byte, f func(T) (bool, error)) (changed bool, refusal, err error) {
	var v T
	if err := decodeJSON(fields, &v); err != nil {
		return false, nil, err
	}
	changed, refusal = f(v)
	return changed, refusal, nil
}

// next is the version that a change gets.
func (c *Catalogue) next() uint64 { return c.s.Version + 1 }

// Applied implements raftlog.Machine.
func (c *Catalogue) Applied() (index, term uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.s.Index, c.s.Term
}

// Checkpoint implements raftlog.Machine.
func (c *Catalogue) Checkpoint() (state []byte, sync func() error) {
	_, state = c.State()
	return state, func() error { return nil }
}

// State is the last entry applied, and the state then: equal ones are equal bytes on all
// replicas.
func (c *Catalogue) State() (index uint64, state []byte) {
	c.mu.RLock()
	s := c.s
	// Values are never written to, the maps that hold them are.
	s.Topics, s.Groups, s.KV, s.LastNumber = maps.Clone(s.Topics), maps.Clone(s.Groups), maps.Clone(s.KV), maps.Clone(s.LastNumber)
	s.Deleted = maps.Clone(s.Deleted)
	c.mu.RUnlock()
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode the catalogue: %v", err)) // maps and structs of texts and numbers
	}
	return s.Index, append([]byte{catalogueVersion}, b...)
}

// Digest is the last entry applied, and the digest of the state then.
func (c *Catalogue) Digest() (index, digest uint64) {
	index, state := c.State()
	return index, crc64.Checksum(state, crc64Table)
}

// Mend replaces the state by what another replica has at the same entry, and with that digest.
// ErrOrder, ErrState: nothing was changed, since it is of another entry, or another state.
func (c *Catalogue) Mend(state []byte, index, digest uint64) error {
	if sum := crc64.Checksum(state, crc64Table); sum != digest {
		return fmt.Errorf("%w: catalogue with digest %016x, not %016x", ErrState, sum, digest)
	}
	fresh, err := OpenCatalogue(state)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if fresh.s.Index != index || c.s.Index != index {
		return fmt.Errorf("mend the catalogue of entry %d: %w: the last applied is %d, the other's %d", index, ErrOrder, c.s.Index, fresh.s.Index)
	}
	c.s, c.byID, c.kvs = fresh.s, fresh.byID, fresh.kvs
	c.wake()
	return nil
}

// Floor implements raftlog.Machine; Raft keeps the catalogue's snapshots.
func (c *Catalogue) Floor() ([]byte, uint64, uint64, error) { return nil, 0, 0, nil }

// Restore implements raftlog.Machine. A state that cannot be read changes
// nothing.
func (c *Catalogue) Restore(state []byte, index, term uint64) error {
	fresh, err := OpenCatalogue(state)
	if err != nil {
		return err
	}
	if fresh.s.Index != index || fresh.s.Term != term {
		return fmt.Errorf("%w: catalogue of entry %d, term %d, holds entry %d, term %d", ErrState, index, term, fresh.s.Index, fresh.s.Term)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s, c.byID, c.kvs = fresh.s, fresh.byID, fresh.kvs
	c.wake()
	return nil
}
