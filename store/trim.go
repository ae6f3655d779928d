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

// Trim drops whole segments below before, and raises the queues' minimums to what
// is left. It depends on what was appended only. The files go at a later Sync.
func (s *Store) Trim(before Position) error {
	if err := s.failed(); err != nil {
		return err
	}
	segments := s.segments
	keep := 0
	for keep+1 < len(segments) && segments[keep+1].start <= before {
		keep++
	}
	if keep == 0 {
		return nil
	}
	starts, err := s.starts(segments[keep].start)
	if errors.Is(s.tell(err), ErrDamaged) {
		starts, err = s.searchStarts(segments[keep].start)
	}
	if err != nil {
		return s.tell(fmt.Errorf("trim below %d: %w", before, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		lo := max(q.min, starts[q.name])
		q.min = lo
		for len(q.bases) > 1 && q.bases[1] <= lo {
			s.discardLocked(queueName(s.dir, q.name, q.bases[0]))
			q.bases = q.bases[1:]
		}
	}
	for _, g := range segments[:keep] {
		for _, kind := range []string{"log", "keys", "floor"} {
			s.discardLocked(segmentName(s.dir, g.start, kind))
		}
		s.pending -= len(g.keys.mem) * keyEntry
		g.keys.mem = nil
		g.trimmed = true
	}
	s.trimmed = append(s.trimmed, segments[:keep]...)
	s.segments = append([]*segment(nil), segments[keep:]...)
	return nil
}

// Trimmed reports whether files that a trim or a Reset left wait for a Sync, or
// two, to remove them.
func (s *Store) Trimmed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.trash) > 0
}

// searchStarts is starts by the queues' own files.
func (s *Store) searchStarts(p Position) (map[message.Queue]message.Offset, error) {
	starts := make(map[message.Queue]message.Offset, len(s.queues))
	for name, q := range s.queues {
		lo, hi := s.bounds(q)
		lo, err := s.search(q, lo, hi, func(x queuePlace) bool { return x.pos >= p })
		if err != nil {
			return nil, err
		}
		starts[name] = lo
	}
	return starts, nil
}

// TrimBefore returns the position to give to Trim so that only entries go that were
// stored before ms (Unix), as many as whole segments allow: First().Position if
// none. It depends on what was appended only.
func (s *Store) TrimBefore(ms int64) Position {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.segments[0].start
	for _, g := range s.segments[1:] {
		if g.lastMs >= ms {
			break
		}
		p = g.start
	}
	return p
}

// Retained is one segment of what is kept.
type Retained struct {
	Start, End Position
	LastMs     int64 // store time of its last entry, or before; Unix ms
}

// Retained returns the segments that are kept, oldest first; the last is still
// appended to. Trim goes to where one starts.
func (s *Store) Retained() []Retained {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rs := make([]Retained, len(s.segments))
	for i, g := range s.segments {
		rs[i] = Retained{g.start, g.end, s.lastMs}
		if i > 0 {
			rs[i-1].LastMs = g.lastMs
		}
	}
	return rs
}

// The trim file says below which position files may be missing:
//
//	0  4  magic "rqTR"      8  8  position
//	4  4  version 1        16  4  CRC-32C of the above
const (
	cutMagic = "rqTR"
	cutName  = "trim"
)

func encodeCut(p Position) []byte {
	b := append(make([]byte, 0, 20), cutMagic...)
	b = be.AppendUint32(b, formatVersion)
	b = be.AppendUint64(b, uint64(p))
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (s *Store) writeCut(p Position) error {
	if err := vfs.WriteFile(s.disk, filepath.Join(s.dir, cutName), encodeCut(p)); err != nil {
		return fmt.Errorf("write the trim file: %w", err)
	}
	s.cut = p
	return nil
}

func (s *Store) readCut() (Position, error) {
	name := filepath.Join(s.dir, cutName)
	b, err := vfs.ReadFile(s.disk, name, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, unread(name, 0, err)
	}
	return decodeCut(name, b)
}

func decodeCut(name string, b []byte) (Position, error) {
	if err := checkFormat(name, b, cutMagic, 16); err != nil {
		return 0, err
	}
	return Position(be.Uint64(b[8:])), nil
}
