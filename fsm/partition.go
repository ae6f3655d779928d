package fsm

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"raftmq/message"
	"raftmq/store"
)

// PartitionOptions are how a partition is opened. Store.SegmentBytes must be the
// same on all replicas.
type PartitionOptions struct{ Store store.Options }

// PartitionMachine applies a partition's entries, in order, to its store. Apply,
// Checkpoint and Restore exclude each other, which raftlog sees to; everything else
// may run beside them.
type PartitionMachine struct {
	number uint32
	store  *store.Store
	dedup  dedup

	// Room of the entry that is applied.
	items  []parsedItem
	places []store.Place
	ends   map[message.Queue]message.Offset
	topics map[string]string

	mu       sync.RWMutex // written by Apply and Restore only, which read without it
	now      int64        // T, Unix ms
	offsets  offsets
	locks    locks
	timers   timers
	buried   buried
	txs      transactions
	putBacks putBacks
	digests  []DigestResult // of the last digest entries, oldest first
}

// OpenPartition opens the partition as of a checkpoint's state; nil is an empty
// one. What was appended above the state is dropped, to be applied again.
// ErrStateVersion if a later program wrote the state.
func OpenPartition(dir string, o PartitionOptions, state []byte) (*PartitionMachine, error) {
	m := &PartitionMachine{number: o.Store.Number, topics: make(map[string]string), ends: make(map[message.Queue]message.Offset)}
	st, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	if m.store, err = store.Open(dir, o.Store, st.store); err != nil {
		return nil, err
	}
	m.setState(st)
	return m, nil
}

// Store is for reading.
func (m *PartitionMachine) Store() *store.Store { return m.store }

// Close closes the store. It does not sync.
func (m *PartitionMachine) Close() error { return m.store.Close() }

// Apply implements raftlog.Machine.
func (m *PartitionMachine) Apply(entries []*raft.Log) ([]any, error) {
	results := make([]any, len(entries))
	for i, l := range entries {
		var err error
		if results[i], err = m.apply(l); err != nil {
			return results[:i], fmt.Errorf("entry %d: %w", l.Index, err)
		}
	}
	return results, nil
}

func (m *PartitionMachine) apply(l *raft.Log) (any, error) {
	if last := m.store.Last().Index; l.Index != last+1 {
		return nil, fmt.Errorf("%w: the last applied is %d", ErrOrder, last)
	}
	if m.store.NeedsRoll(len(l.Data)) {
		if err := m.store.Roll(m.encode); err != nil {
			return nil, err
		}
	}
	if err := m.store.Reserve(len(l.Data)); err != nil { // before any state changes, so that the entry can be applied again
		return nil, err
	}
	e := store.Entry{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data}
	if !l.AppendedAt.IsZero() {
		e.AppendedAt = l.AppendedAt.UnixNano()
	}
	if l.Type != raft.LogCommand {
		_, err := m.store.Append(e, m.now, nil)
		return nil, err
	}
	if len(l.Data) < commandHead {
		return nil, fmt.Errorf("%w: %d bytes", ErrCommand, len(l.Data))
	}
	k := kind(l.Data[0])
	if l.Data[1] != commandVersion || k < kindAppend || k >= kindEnd {
		return nil, fmt.Errorf("%w: kind %d version %d", ErrUnknownCommand, k, l.Data[1])
	}
	if at := int64(binary.BigEndian.Uint64(l.Data[2:])); at > m.now {
		m.mu.Lock()
		m.now = at
		m.mu.Unlock()
	}
	switch k {
	case kindAppend:
		return m.append(e)
	case kindDelay:
		return m.delay(e)
	case kindFire:
		return m.fire(e)
	case kindKeep:
		return m.keep(e)
	case kindRecall:
		return m.recall(e)
	case kindUnearth:
		return m.unearth(e)
	case kindPutBack:
		return m.putBack(e)
	case kindHalf:
		return m.half(e)
	case kindDecide:
		return m.decide(e)
	case kindCarry:
		return m.carry(e)
	}
	res, err := m.small(k, l)
	if err != nil {
		return nil, err
	}
	_, err = m.store.Append(e, m.now, nil)
	return res, err
}

// small applies commands that store no records.
func (m *PartitionMachine) small(k kind, l *raft.Log) (any, error) {
	r := &reader{b: l.Data[commandHead:]}
	if k == kindTrim {
		before := store.Position(r.u64())
		if err := r.end(); err != nil {
			return nil, err
		}
		return nil, m.store.Trim(min(before, m.txs.lowest()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch k {
	case kindCommit:
		return m.commit(r)
	case kindReset:
		return m.reset(r)
	case kindResetTold:
		return nil, m.resetTold(r)
	case kindLock:
		return m.lock(r, l.Index)
	case kindUnlock:
		return nil, m.unlock(r)
	case kindDropGroup:
		group := r.text()
		if err := r.end(); err != nil {
			return nil, err
		}
		m.locks.dropGroup(group)
		m.buried.dropGroup(group)
		m.putBacks.dropGroup(group)
		return m.offsets.dropGroup(group), nil
	case kindCheck:
		return m.check(r)
	case kindDigest:
		if err := r.end(); err != nil {
			return nil, err
		}
		return m.digest(), nil
	}
	panic(fmt.Sprintf("fsm: kind %d", k))
}

// StoresMessages reports whether a command, whole or not, is one that stores
// messages: not those that only store again what a trim would take.
func StoresMessages(cmd []byte) bool {
	if len(cmd) == 0 {
		return false
	}
	switch kind(cmd[0]) {
	case kindAppend, kindDelay, kindFire, kindHalf, kindPutBack:
		return true
	}
	return false
}

// EncodeTrim drops whole segments of the log below before, and below what is still
// pending.
func EncodeTrim(dst []byte, atMs int64, before store.Position) []byte {
	return binary.BigEndian.AppendUint64(appendCommand(dst, kindTrim, atMs), uint64(before))
}

// Applied implements raftlog.Machine.
func (m *PartitionMachine) Applied() (index, term uint64) {
	last := m.store.Last()
	return last.Index, last.Term
}

// Checkpoint implements raftlog.Machine.
func (m *PartitionMachine) Checkpoint() (state []byte, sync func() error) {
	storeState, mark := m.store.Checkpoint()
	return m.encode(storeState), func() error { return m.store.Sync(mark) }
}

// Floor implements raftlog.Machine.
func (m *PartitionMachine) Floor() (state []byte, index, term uint64, err error) {
	b, mark, err := m.store.Floor()
	return b, mark.Index, mark.Term, err
}

// Restore implements raftlog.Machine. A state that cannot be read changes
// nothing, and neither does a full disk.
func (m *PartitionMachine) Restore(state []byte, index, term uint64) error {
	st, err := decodeState(state)
	if err != nil {
		return err
	}
	if err := m.store.Reset(st.store, state); err != nil {
		return err
	}
	m.setState(st)
	if last := m.store.Last(); last.Index != index || last.Term != term {
		return fmt.Errorf("%w: floor of entry %d, term %d, holds entry %d, term %d", ErrState, index, term, last.Index, last.Term)
	}
	return nil
}

// Now is T, Unix ms: the largest time that a command carried.
func (m *PartitionMachine) Now() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.now
}

// Committed returns a group's offset in a queue.
func (m *PartitionMachine) Committed(group string, q message.Queue) (message.Offset, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.offsets.get(groupQueue{group, q})
	return o.offset, ok
}

// PendingReset returns the offset that an operator set and from which no client has
// read yet.
func (m *PartitionMachine) PendingReset(group string, q message.Queue) (message.Offset, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, _ := m.offsets.get(groupQueue{group, q})
	return o.offset, o.reset
}

// LockOwner returns who held a queue for the group last, and until when (Unix ms
// of T).
func (m *PartitionMachine) LockOwner(group string, q message.Queue) (client string, epoch uint64, expiresMs int64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok := m.locks.get(groupQueue{group, q})
	return l.client, l.epoch, l.expires, ok
}

// Knows reports whether anything is kept here of a group that EncodeDropGroup
// drops.
func (m *PartitionMachine) Knows(group string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.offsets.knows(group) || m.locks.knows(group) || m.buried.knows(group) || m.putBacks.knows(group)
}

// Groups returns the groups that have an offset here, sorted.
func (m *PartitionMachine) Groups() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var gs []string
	for _, r := range m.offsets.rows {
		if n := len(gs); n == 0 || gs[n-1] != r.key.group {
			gs = append(gs, r.key.group)
		}
	}
	return gs
}
