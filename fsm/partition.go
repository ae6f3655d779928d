package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/hashicorp/raft"

	"raftmq/message"
	"raftmq/store"
)

// PartitionOptions are how a partition is opened.
type PartitionOptions struct{ Store store.Options }

// PartitionMachine applies a partition's entries, in order, to its store.
type PartitionMachine struct {
	number uint32
	store  *store.Store
	topics map[string]string

	mu      sync.RWMutex // held while an entry is applied
	now     int64        // T, Unix ms
	dedup   dedup
	offsets map[groupQueue]groupOffset
	locks   map[groupQueue]lock
}

// OpenPartition opens the partition as of a checkpoint's state; nil is an empty
// one.
func OpenPartition(dir string, o PartitionOptions, state []byte) (*PartitionMachine, error) {
	m := &PartitionMachine{number: o.Store.Number, topics: make(map[string]string)}
	storeState, err := m.decode(state)
	if err != nil {
		return nil, err
	}
	if m.store, err = store.Open(dir, o.Store, storeState); err != nil {
		return nil, err
	}
	return m, nil
}

// Store is for reading.
func (m *PartitionMachine) Store() *store.Store { return m.store }

func (m *PartitionMachine) Close() error { return m.store.Close() }

// Apply implements raftlog.Machine.
func (m *PartitionMachine) Apply(entries []*raft.Log) ([]any, error) {
	results := make([]any, len(entries))
	for i, l := range entries {
		var err error
		if results[i], err = m.apply(l); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (m *PartitionMachine) apply(l *raft.Log) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := store.Entry{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data}
	if !l.AppendedAt.IsZero() {
		e.AppendedAt = l.AppendedAt.UnixNano()
	}
	if m.store.NeedsRoll(len(l.Data)) {
		if err := m.store.Roll(m.encode); err != nil {
			return nil, err
		}
	}
	if l.Type != raft.LogCommand {
		_, err := m.store.Append(e, m.now, nil)
		return nil, err
	}
	if len(l.Data) < 10 {
		return nil, fmt.Errorf("%w: entry %d: %d bytes", ErrCommand, l.Index, len(l.Data))
	}
	k := kind(l.Data[0])
	if l.Data[1] != commandVersion || k < kindAppend || k > kindDigest {
		return nil, fmt.Errorf("%w: entry %d: kind %d version %d", ErrUnknownCommand, l.Index, k, l.Data[1])
	}
	m.now = max(m.now, int64(binary.BigEndian.Uint64(l.Data[2:])))
	if k == kindAppend {
		res, err := m.append(e, m.now)
		return res, wrap(err, l.Index)
	}
	res, err := m.small(k, l)
	if err != nil {
		return nil, wrap(err, l.Index)
	}
	_, err = m.store.Append(e, m.now, nil)
	return res, wrap(err, l.Index)
}

func wrap(err error, index uint64) error {
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	return nil
}

// small applies commands that store no records.
func (m *PartitionMachine) small(k kind, l *raft.Log) (res any, err error) {
	r := &reader{b: l.Data[10:]}
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
	case kindTrim:
		floor := store.Position(r.u64())
		if err := r.end(); err != nil {
			return nil, err
		}
		return nil, m.store.Trim(floor)
	}
	mark, digest := m.store.Digest()
	return DigestResult{mark, digest}, r.end()
}

// Applied implements raftlog.Machine.
func (m *PartitionMachine) Applied() (index, term uint64) {
	last := m.store.Last()
	return last.Index, last.Term
}

// Checkpoint implements raftlog.Machine.
func (m *PartitionMachine) Checkpoint() (state []byte, sync func() error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	storeState, mark := m.store.Checkpoint()
	return m.encode(storeState), func() error { return m.store.Sync(mark) }
}

// Floor implements raftlog.Machine.
func (m *PartitionMachine) Floor() (state []byte, index, term uint64, err error) {
	b, mark, err := m.store.Floor()
	return b, mark.Index, mark.Term, err
}

// Restore implements raftlog.Machine.
func (m *PartitionMachine) Restore(state []byte, index, term uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	storeState, err := m.decode(state)
	if err != nil {
		return err
	}
	if err := m.store.Reset(storeState); err != nil {
		return err
	}
	if last := m.store.Last(); last.Index != index || last.Term != term {
		return fmt.Errorf("%w: floor of entry %d holds entry %d", ErrState, index, last.Index)
	}
	return m.store.KeepFloor(state)
}

// The state, big-endian: version uint8; T int64; producers, least recently used
// first; offsets and locks, sorted; the store's state.
const stateVersion = 1

func (m *PartitionMachine) encode(storeState []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint64([]byte{stateVersion}, uint64(m.now))
	b = m.dedup.encode(b)
	b = be.AppendUint32(b, uint32(len(m.offsets)))
	for _, k := range sortedKeys(m.offsets) {
		o := m.offsets[k]
		b = appendQueue(appendText(b, k.group), k.queue)
		b = be.AppendUint64(b, uint64(o.offset))
		if o.reset {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	b = be.AppendUint32(b, uint32(len(m.locks)))
	for _, k := range sortedKeys(m.locks) {
		l := m.locks[k]
		b = appendQueue(appendText(b, k.group), k.queue)
		b = appendText(b, l.client)
		b = be.AppendUint64(b, l.epoch)
		b = be.AppendUint64(b, uint64(l.expires))
	}
	b = be.AppendUint32(b, uint32(len(storeState)))
	return append(b, storeState...)
}

// decode sets the state and returns the store's part.
func (m *PartitionMachine) decode(b []byte) (storeState []byte, err error) {
	m.now, m.dedup = 0, newDedup()
	m.offsets, m.locks = make(map[groupQueue]groupOffset), make(map[groupQueue]lock)
	if len(b) == 0 {
		return nil, nil
	}
	r := &reader{b: b}
	if v := r.u8(); v != stateVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrState, v, stateVersion)
	}
	m.now = int64(r.u64())
	m.dedup.decode(r)
	for range r.count(15) {
		k := groupQueue{r.text(), r.queue()}
		m.offsets[k] = groupOffset{message.Offset(r.u64()), r.u8() == 1}
	}
	for range r.count(22) {
		k := groupQueue{r.text(), r.queue()}
		m.locks[k] = lock{r.text(), r.u64(), int64(r.u64())}
	}
	storeState = r.take(uint64(r.u32()))
	if err := r.end(); err != nil {
		return nil, errors.Join(ErrState, err)
	}
	return storeState, nil
}

// Committed returns a group's offset in a queue.
func (m *PartitionMachine) Committed(group string, q message.Queue) (message.Offset, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.offsets[groupQueue{group, q}]
	return o.offset, ok
}

// PendingReset returns the offset that an operator set and no client has been
// told yet.
func (m *PartitionMachine) PendingReset(group string, q message.Queue) (message.Offset, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.offsets[groupQueue{group, q}]
	return o.offset, ok && o.reset
}

// LockOwner returns who holds a queue for the group, and until when (Unix ms of
// T).
func (m *PartitionMachine) LockOwner(group string, q message.Queue) (client string, epoch uint64, expiresMs int64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok := m.locks[groupQueue{group, q}]
	return l.client, l.epoch, l.expires, ok
}

// Groups returns the groups that have an offset here, sorted.
func (m *PartitionMachine) Groups() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	seen := make(map[string]bool)
	var gs []string
	for k := range m.offsets {
		if !seen[k.group] {
			seen[k.group] = true
			gs = append(gs, k.group)
		}
	}
	sort.Strings(gs)
	return gs
}
