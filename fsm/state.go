package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"

	"raftmq/store"
)

// A partition's state, big-endian:
//
//	offset  size  field
//	     0     1  version: 2 if there are sections, else 1
//	     1     4  CRC-32C of all that follows
//	     5     8  T, Unix ms
//	    13        producers' windows   (dedup.encode)
//	              groups' offsets      (offsets.encode)
//	              locks                (locks.encode)
//	           1  number of sections; this and they are there in version 2 only
//	              sections, by rising id: id uint8, length uint32, its bytes
//	           4  length of the store's state, then that state
//
// A section is there only while it holds something: a partition that never had any
// has the bytes, and the digest, that a program of version 1 gives it.
//
// All but the store's state is at most 4 MiB, and what the sections' owners say.
const (
	stateVersion    = 2
	oldStateVersion = 1
	stateHead       = 1 + 4
)

// Ids of sections.
const (
	sectionTransactions = 1
	sectionTimers       = 2
	sectionBuried       = 3
	sectionPutBacks     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is a decoded one.
type state struct {
	now      int64
	dedup    dedup
	offsets  offsets
	locks    locks
	txs      transactions
	timers   timers
	buried   buried
	putBacks putBacks
	store    []byte
}

// encode is the state now, with the store's.
func (m *PartitionMachine) encode(storeState []byte) []byte {
	b := make([]byte, stateHead, stateHead+8+m.dedup.size+m.offsets.size+m.locks.size+m.txs.size+m.putBacks.size+64+len(storeState))
	b = m.appendSmall(b)
	b[0] = oldStateVersion
	if m.sections() > 0 {
		b[0] = stateVersion
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(storeState)))
	return sealed(append(b, storeState...))
}

// sealed puts in the checksum.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[stateHead:], castagnoli))
	return b
}

// appendSmall appends what is ours of the state.
func (m *PartitionMachine) appendSmall(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(m.now))
	b = m.locks.encode(m.offsets.encode(m.dedup.encode(b)))
	if n := m.sections(); n > 0 {
		b = append(b, n)
		if !m.txs.empty() {
			b = appendSection(b, sectionTransactions, m.txs.encode)
		}
		if !m.timers.empty() {
			b = appendSection(b, sectionTimers, m.timers.encode)
		}
		if !m.buried.empty() {
			b = appendSection(b, sectionBuried, m.buried.encode)
		}
		if !m.putBacks.empty() {
			b = appendSection(b, sectionPutBacks, m.putBacks.encode)
		}
	}
	return b
}

// sections is how many there are.
func (m *PartitionMachine) sections() (n byte) {
	if !m.txs.empty() {
		n++
	}
	if !m.timers.empty() {
		n++
	}
	if !m.buried.empty() {
		n++
	}
	if !m.putBacks.empty() {
		n++
	}
	return n
}

// appendSection appends what encode appends, as a section.
func appendSection(b []byte, id byte, encode func([]byte) []byte) []byte {
	b = append(b, id, 0, 0, 0, 0)
	at := len(b)
	b = encode(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

// sections reads those of a state of version 2.
func (st *state) sections(r *reader) {
	last := byte(0)
	n := r.u8()
	if n == 0 {
		r.fail("no sections")
	}
	for range n {
		id := r.u8()
		section := &reader{b: r.take(uint64(r.u32()))}
		if r.err != nil {
			return
		}
		if id <= last {
			r.fail("section %d after %d", id, last)
			return
		}
		last = id
		switch id {
		case sectionTransactions:
			st.txs.decode(section)
		case sectionTimers:
			st.timers.decode(section)
		case sectionBuried:
			st.buried.decode(section)
		case sectionPutBacks:
			st.putBacks.decode(section)
		default:
			r.err = fmt.Errorf("%w: section %d", ErrStateVersion, id)
			return
		}
		if err := section.end(); err != nil {
			r.err = err
			return
		}
	}
}

func decodeState(b []byte) (state, error) {
	st := state{dedup: newDedup(), offsets: newOffsets(), locks: newLocks(), txs: newTransactions(), buried: newBuried(), putBacks: newPutBacks()}
	if len(b) == 0 {
		return st, nil
	}
	if b[0] != stateVersion && b[0] != oldStateVersion {
		return st, fmt.Errorf("%w: partition state version %d, this program knows %d", ErrStateVersion, b[0], stateVersion)
	}
	if len(b) < stateHead || binary.BigEndian.Uint32(b[1:]) != crc32.Checksum(b[stateHead:], castagnoli) {
		return st, fmt.Errorf("%w: checksum of %d bytes", ErrState, len(b))
	}
	r := &reader{b: b[stateHead:]}
	st.now = int64(r.u64())
	st.dedup.decode(r)
	st.offsets.decode(r)
	st.locks.decode(r)
	if b[0] == stateVersion {
		st.sections(r)
	}
	st.store = r.take(uint64(r.u32()))
	switch err := r.end(); {
	case errors.Is(err, ErrStateVersion):
		return st, fmt.Errorf("partition state: %w", err)
	case err != nil:
		return st, errors.Join(ErrState, err)
	}
	return st, nil
}

func (m *PartitionMachine) setState(st state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.dedup, m.offsets, m.locks, m.txs, m.timers, m.buried, m.putBacks, m.digests = st.now, st.dedup, st.offsets, st.locks, st.txs, st.timers, st.buried, st.putBacks, nil
	m.store.ForgetTimers(st.timers.cursor)
}

// DigestResult is a replica's digest: of the log through Mark, and of the state
// there.
type DigestResult struct {
	Mark  store.Mark
	Log   uint64
	State uint64
}

// keptDigests is how many a replica remembers, for the others to ask about.
const keptDigests = 8

// EncodeDigest asks each replica for its digest through the entry before this.
func EncodeDigest(dst []byte, atMs int64) []byte { return appendCommand(dst, kindDigest, atMs) }

var crc64Table = crc64.MakeTable(crc64.ECMA)

func (m *PartitionMachine) digest() DigestResult {
	mark, log := m.store.Digest()
	d := DigestResult{mark, log, crc64.Checksum(m.appendSmall(nil), crc64Table)}
	if len(m.digests) == keptDigests {
		m.digests = append(m.digests[:0], m.digests[1:]...)
	}
	m.digests = append(m.digests, d)
	return d
}

// DigestAt returns this replica's digest through entry index, if one of the last
// eight digest commands applied since it was opened came right after it.
func (m *PartitionMachine) DigestAt(index uint64) (DigestResult, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, d := range m.digests {
		if d.Mark.Index == index {
			return d, true
		}
	}
	return DigestResult{}, false
}
