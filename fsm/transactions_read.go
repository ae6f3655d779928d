package fsm

import (
	"slices"

	"raftmq/message"
	"raftmq/store"
)

// HalfInfo is a pending half.
type HalfInfo struct {
	Position  store.Position
	Number    uint64
	Group     string
	Born      int64 // T, Unix ms
	NextCheck int64 // T, Unix ms
	Checks    uint32
	Parked    bool
	Bytes     uint32 // of the record

	at  store.Position
	crc uint32
}

func (h *half) info() HalfInfo {
	return HalfInfo{h.pos, h.number, h.group, h.born, h.next, h.checks, h.parked, h.size, h.at, h.crc}
}

// Half returns the half that is pending under a position.
func (m *PartitionMachine) Half(pos store.Position) (HalfInfo, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if h := m.txs.byPos[pos]; h != nil {
		return h.info(), true
	}
	return HalfInfo{}, false
}

// DecisionOf returns the decision about the half of a position, if it is remembered.
func (m *PartitionMachine) DecisionOf(pos store.Position) (Decision, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if d := m.txs.decided[pos]; d != nil {
		return d.Decision, true
	}
	return Decision{}, false
}

// DecidedHalf is a half that has its decision.
type DecidedHalf struct {
	Position store.Position
	Decision
}

// RolledBack returns the halves of which it is remembered that they were rolled back, the
// last decided first.
func (m *PartitionMachine) RolledBack() (all []DecidedHalf) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, d := range slices.Backward(m.txs.decisions) {
		if d.Verdict == Rollback {
			all = append(all, DecidedHalf{d.pos, d.Decision})
		}
	}
	return all
}

// Halves returns the first max pending halves, by position, that want chooses; nil
// chooses all. It is called with the machine locked.
func (m *PartitionMachine) Halves(max int, want func(*HalfInfo) bool) []HalfInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []HalfInfo
	for h := m.txs.oldest; h != nil && len(all) < max; h = h.newer {
		if x := h.info(); want == nil || want(&x) {
			all = append(all, x)
		}
	}
	return all
}

// HalvesBelow returns the first max halves whose records lie below before: those to
// be carried before it is trimmed.
func (m *PartitionMachine) HalvesBelow(before store.Position, max int) []HalfInfo {
	return m.Halves(max, func(h *HalfInfo) bool { return h.at < before })
}

// HalfCounts returns how many halves are pending, how many of them are parked, and
// the bytes of their records.
func (m *PartitionMachine) HalfCounts() (pending, parked int, bytes int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.txs.byPos), m.txs.parked, m.txs.bytes
}

// HalfRecord returns a copy of a half's record, as it was sent, its checksum checked:
// store.ErrNotFound if it was carried or decided and trimmed meanwhile,
// store.ErrDamaged.
func (m *PartitionMachine) HalfRecord(h HalfInfo) (message.Record, error) {
	b, err := m.store.Bytes(h.at, int(h.Bytes), h.crc)
	if err != nil {
		return nil, err
	}
	return message.ParseRecord(b)
}

// PhysicalOffset is how clients name a position of this partition, within its slot.
func (m *PartitionMachine) PhysicalOffset(pos store.Position) int64 {
	return message.PhysicalOffset(m.number, int64(pos))
}
