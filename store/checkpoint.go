package store

import (
	"fmt"
	"maps"
	"slices"

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
// runs beside Append. An error is final unless it is ErrNoSpace of the disk, or
// ErrDamaged: nothing is known of what reached it, and every later call says the same.
//
// It takes the state of the Sync before for kept, and removes files below a trim
// that both states can do without.
func (s *Store) Sync(m Mark) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if err := s.flushNow(); err != nil {
		return err
	}
	s.mu.Lock()
	names := s.names
	s.names = false
	segments, trimmed := s.segments, s.trimmed
	due := slices.Collect(maps.Keys(s.trash)) // not what is trimmed from here on: readers are not told of that below
	var late []*segment
	var ends []Position
	for _, g := range slices.Concat(trimmed, segments) { // a state may still name what was trimmed
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
	s.mu.Lock()
	s.trimmed = s.trimmed[len(trimmed):]
	s.mu.Unlock()
	s.closeSegments(trimmed)
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
	if first := segments[0].start; first < s.prevSync.Position { // else that state names nothing of what is left
		if err := s.sweep(first, due); err != nil {
			return s.local(err)
		}
	}
	s.prevSync = m
	return nil
}

// sweep removes files whose time has come: the log starts at first. s.syncing is held.
func (s *Store) sweep(first Position, due []string) error {
	if len(due) == 0 {
		return nil
	}
	if first > s.cut {
		if err := s.writeCut(first); err != nil {
			return err
		}
	}
	s.flushing.Lock()
	defer s.flushing.Unlock()
	for _, name := range due {
		if !s.keep(name) {
			continue // it is in use again
		}
		s.files.forget(name)
		if err := s.removeFile(name); err != nil {
			s.log.Warn("remove", "file", name, "error", err) // Open does it again
		}
	}
	return nil
}
