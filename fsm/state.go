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
//	     0     1  version 1; 2 if it has sections
//	     1     4  CRC-32C of all that follows
//	     5     8  T, Unix ms
//	    13        producers' windows   (dedup.encode)
//	              groups' offsets      (offsets.encode)
//	              locks                (locks.encode)
//	           4  of version 2: number of sections, then each, by tag: tag (1),
//	              length (4), and as many bytes, at least one
//	           4  length of the store's state, then that state
//
// All but the store's state is at most 4 MiB. Sections hold what came after version 1;
// a part of the state that is empty has none, so that a partition which does not use
// it has the same state, and digest, as in the program before.
const (
	stateVersion = 2
	stateHead    = 1 + 4
)

// Tags of sections.
const sectionTimers = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is a decoded one.
type state struct {
	now     int64
	dedup   dedup
	offsets offsets
	locks   locks
	timers  timers
	store   []byte
}

// sections returns the encodings of what is in sections, by tag; empty ones have none.
func (m *PartitionMachine) sections() []section {
	var all []section
	for _, s := range []section{{sectionTimers, m.timers.encode()}} {
		if len(s.b) > 0 {
			all = append(all, s)
		}
	}
	return all
}

type section struct {
	tag byte
	b   []byte
}

// decodeSections reads what sections gave.
func (st *state) decodeSections(r *reader) {
	n, last := r.count(6), byte(0)
	if n == 0 {
		r.fail("no section in a state that has some")
	}
	for range n {
		tag := r.u8()
		in := &reader{b: r.take(uint64(r.u32()))}
		if r.err == nil && (tag <= last || len(in.b) == 0) {
			r.fail("section %d of %d bytes after section %d", tag, len(in.b), last)
		}
		if r.err != nil {
			return
		}
		switch last = tag; tag {
		case sectionTimers:
			st.timers.decode(in)
		default:
			in.fail("section %d", tag)
		}
		if r.err = in.end(); r.err != nil {
			return
		}
	}
}

// encode is the state now, with the store's.
func (m *PartitionMachine) encode(storeState []byte) []byte {
	b := make([]byte, stateHead, stateHead+8+m.dedup.size+m.offsets.size+m.locks.size+16+len(storeState))
	if b[0] = 1; len(m.sections()) > 0 {
		b[0] = stateVersion
	}
	b = m.appendSmall(b)
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
	all := m.sections()
	if len(all) == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	for _, s := range all {
		b = binary.BigEndian.AppendUint32(append(b, s.tag), uint32(len(s.b)))
		b = append(b, s.b...)
	}
	return b
}

func decodeState(b []byte) (state, error) {
	st := state{dedup: newDedup(), offsets: newOffsets(), locks: newLocks()}
	if len(b) == 0 {
		return st, nil
	}
	if b[0] < 1 || b[0] > stateVersion {
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
	if b[0] > 1 {
		st.decodeSections(r)
	}
	st.store = r.take(uint64(r.u32()))
	if err := r.end(); err != nil {
		return st, errors.Join(ErrState, err)
	}
	return st, nil
}

func (m *PartitionMachine) setState(st state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.dedup, m.offsets, m.locks, m.timers, m.digests = st.now, st.dedup, st.offsets, st.locks, st.timers, nil
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
