package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"

	"raftmq/internal/vfs"
	"raftmq/message"
)

func offsets(bytes int) message.Offset { return message.Offset(bytes / queueEntry) }

// capture is the state now; by the appender.
func (s *Store) capture() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := state{first: s.segments[0].prev, mark: s.last, frame: s.frame, lastMs: s.lastMs, digest: s.digest}
	for _, q := range s.queues {
		if q.max > 0 {
			st.bounds = append(st.bounds, bound{q.name, q.min, q.max})
		}
	}
	slices.SortFunc(st.bounds, func(a, b bound) int { return compareQueues(a.queue, b.queue) })
	return st.encode()
}

// Checkpoint captures the state at Last, for Open. It costs little and makes
// nothing durable: see Sync. Not to be called beside Append.
func (s *Store) Checkpoint() (state []byte, m Mark) { return s.capture(), s.last }

// Sync makes everything through m durable: segments, queues, floors, names. It
// runs beside Append. An error is final unless it is ErrNoSpace of the disk:
// nothing is known of what reached it, and every later call says the same.
//
// The files below a Trim go at a Sync after one that went through the trim, so
// that the state of at most one Sync that was not kept may be opened.
func (s *Store) Sync(m Mark) error {
	s.sync.Lock()
	defer s.sync.Unlock()
	if err := s.flush(true); err != nil {
		return err
	}
	s.mu.Lock()
	names := s.names
	s.names = false
	segments := s.segments
	var late []*segment
	var ends []Position
	for _, g := range segments {
		if g.synced < g.end {
			late, ends = append(late, g), append(ends, g.end)
		}
	}
	s.mu.Unlock()
	for i, g := range late {
		if err := g.sync(); err != nil {
			return s.fail(err)
		}
		s.mu.Lock()
		g.synced = ends[i]
		s.mu.Unlock()
	}
	if err := s.files.syncDirty(); err != nil {
		return s.fail(err)
	}
	if names {
		if err := s.disk.SyncDir(s.dir); err != nil {
			return s.fail(fmt.Errorf("sync %s: %w", s.dir, err))
		}
	}
	if len(segments) > 1 {
		s.kick() // sealed segments may be let go
	}
	if err := s.sweep(); err != nil {
		return s.local(err)
	}
	s.prevSync = m
	return nil
}

// sweep removes files whose time has come.
func (s *Store) sweep() error {
	s.mu.Lock()
	first := s.segments[0].start
	var due []string
	trimmed := false
	for name, wait := range s.trash {
		switch {
		case wait > 0:
			s.trash[name]--
		case first <= s.prevSync.Position:
			due = append(due, name)
			trimmed = true
			delete(s.trash, name)
		}
	}
	s.mu.Unlock()
	if trimmed && first > s.cut {
		if err := s.writeCut(first); err != nil {
			return err
		}
	}
	for _, name := range due {
		s.files.forget(name)
		if err := s.removeFile(name); err != nil {
			s.log.Warn("remove", "file", name, "error", err) // Open does it again
		}
	}
	return nil
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
		return 0, fmt.Errorf("%w: read %s: %w", ErrDamaged, name, err)
	}
	if err := checkFormat(name, b, cutMagic, 16); err != nil {
		return 0, err
	}
	return Position(be.Uint64(b[8:])), nil
}
