package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// A floor's file:
//
//	0  4  magic "rqFL"          8  4  CRC-32C of the bytes that Roll was given
//	4  4  version 1            12  4  CRC-32C of the above
//	                           16     the bytes
const (
	floorMagic = "rqFL"
	floorHead  = 16
	// maxFloor is the largest floor that is read: a partition's state is smaller.
	maxFloor = 64 << 20
)

func encodeFloor(b []byte) []byte {
	out := append(make([]byte, 0, floorHead+len(b)), floorMagic...)
	out = be.AppendUint32(out, formatVersion)
	out = be.AppendUint32(out, crc32.Checksum(b, castagnoli))
	out = be.AppendUint32(out, crc32.Checksum(out, castagnoli))
	return append(out, b...)
}

// writeFloor keeps b beside the segment at p. Sync makes it durable.
func (s *Store) writeFloor(p Position, b []byte) error {
	name := segmentName(s.dir, p, "floor")
	s.files.forget(name)
	s.keep(name)
	if err := s.removeFile(name); err != nil {
		return err
	}
	f, _, err := s.files.get(name, 0, anyHead, encodeFloor(b))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.files.put(f)
	s.mu.Lock()
	s.names = true
	s.mu.Unlock()
	return nil
}

// Floor returns what Roll kept for the oldest retained segment; nothing, and a
// zero mark, while the log goes back to its start.
func (s *Store) Floor() (b []byte, m Mark, err error) {
	m = s.First()
	if m.Index == 0 {
		return nil, Mark{}, nil
	}
	name := segmentName(s.dir, m.Position, "floor")
	b, err = vfs.ReadFile(s.disk, name, maxFloor)
	if err != nil {
		return nil, Mark{}, fmt.Errorf("%w: read %s: %w", ErrDamaged, name, err)
	}
	if len(b) < floorHead {
		return nil, Mark{}, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, name, len(b))
	}
	if err := checkFormat(name, b, floorMagic, 12); err != nil {
		return nil, Mark{}, err
	}
	if be.Uint32(b[8:]) != crc32.Checksum(b[floorHead:], castagnoli) {
		return nil, Mark{}, fmt.Errorf("%w: %s fails its checksum", ErrDamaged, name)
	}
	return b[floorHead:], m, nil
}

// KeepFloor keeps b beside the oldest segment, as Roll does; after Reset.
func (s *Store) KeepFloor(b []byte) error { return s.writeFloor(s.First().Position, b) }

// Reset empties the store and starts it at a floor's state: nothing before it is
// retained. Until the state of the Sync after it was kept, the state from before
// Reset can be opened, unless the floor lies below what was there. Appends must
// not run meanwhile; readers may.
func (s *Store) Reset(storeState []byte) error {
	if err := s.failed(); err != nil {
		return err
	}
	st, err := decodeState(storeState)
	if err != nil {
		return fmt.Errorf("reset %s: %w", s.dir, err)
	}
	st.first, st.frame = st.mark, 0
	s.round.Lock()
	defer s.round.Unlock()
	s.sync.Lock()
	defer s.sync.Unlock()
	if err := s.dropCut(st.first.Position); err != nil {
		return s.local(err)
	}
	have, err := s.list()
	if err != nil {
		return s.fail(fmt.Errorf("reset %s: %w", s.dir, err))
	}
	s.mu.Lock()
	old, oldQueues := s.segments, s.queues
	for _, start := range have.starts {
		s.discardLocked(1, segmentName(s.dir, start, "log"))
	}
	for n := range have.other {
		s.discardLocked(1, filepath.Join(s.dir, n))
	}
	for q, bases := range have.bases {
		for _, base := range bases {
			s.discardLocked(1, queueName(s.dir, q, base))
		}
	}
	s.mu.Unlock()
	g, err := s.createSegment(st.first)
	if err != nil {
		return s.local(fmt.Errorf("reset %s: %w", s.dir, err))
	}
	s.mu.Lock()
	s.segments = []*segment{g}
	s.queues = make(map[message.Queue]*queue, len(st.bounds))
	for _, b := range st.bounds {
		s.queues[b.queue] = &queue{name: b.queue, min: b.max, max: b.max, written: b.max}
	}
	s.last = Mark{st.mark.Index, st.mark.Term, g.end}
	s.frame, s.lastMs, s.digest, s.names, s.pending = 0, st.lastMs, st.digest, true, 0
	s.mu.Unlock()
	s.hintMu.Lock()
	s.hint = place{}
	s.hintMu.Unlock()
	var touched []*queue
	for _, q := range oldQueues {
		touched = append(touched, q)
	}
	s.wake(touched)
	for _, x := range old {
		s.files.forget(x.name)
		if err := x.close(); err != nil {
			s.log.Warn("close segment", "file", x.name, "error", err)
		}
	}
	// A queue's file may be at hand under a name that will be written again.
	for q, bases := range have.bases {
		for _, base := range bases {
			if x := s.queues[q]; x != nil && x.max == base {
				name := queueName(s.dir, q, base)
				s.files.forget(name)
				err = errors.Join(err, s.removeFile(name))
			}
		}
	}
	if err != nil {
		return s.local(fmt.Errorf("reset %s: %w", s.dir, err))
	}
	return nil
}

// dropCut removes a trim file that speaks of what lies above first.
func (s *Store) dropCut(first Position) error {
	if s.cut <= first {
		return nil
	}
	if err := s.removeFile(filepath.Join(s.dir, cutName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the trim file: %w", err)
	}
	if err := s.disk.SyncDir(s.dir); err != nil {
		return fmt.Errorf("sync %s: %w", s.dir, err)
	}
	s.cut = 0
	return nil
}

// Trim drops whole segments below before, and raises the queues' minimums to what
// is left. It depends on what was appended only. The files go at a later Sync.
func (s *Store) Trim(before Position) error {
	segments := s.segments
	keep := 0
	for keep+1 < len(segments) && segments[keep+1].start <= before {
		keep++
	}
	if keep == 0 {
		return nil
	}
	floor := segments[keep].start
	mins := make(map[*queue]message.Offset, len(s.queues))
	for _, q := range s.queues {
		lo, hi := s.bounds(q)
		lo, err := s.search(q, lo, hi, func(p queuePlace) bool { return p.pos >= floor })
		if err != nil {
			return fmt.Errorf("trim below %d: %w", before, err)
		}
		mins[q] = lo
	}
	s.sync.Lock() // what is being synced is not closed
	defer s.sync.Unlock()
	s.mu.Lock()
	for q, lo := range mins {
		q.min = lo
		for len(q.bases) > 1 && q.bases[1] <= lo {
			s.discardLocked(0, queueName(s.dir, q.name, q.bases[0]))
			q.bases = q.bases[1:]
		}
	}
	for _, g := range segments[:keep] {
		for _, kind := range []string{"log", "keys", "floor"} {
			s.discardLocked(0, segmentName(s.dir, g.start, kind))
		}
		s.pending -= len(g.keys.mem) * keyEntry
	}
	s.segments = append([]*segment(nil), segments[keep:]...)
	s.mu.Unlock()
	for _, g := range segments[:keep] {
		s.files.forget(g.name)
		if err := g.close(); err != nil {
			s.log.Warn("close segment", "file", g.name, "error", err)
		}
	}
	return nil
}
