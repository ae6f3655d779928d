package store

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"raftmq/message"
)

// Reset empties the store and starts it at a floor's state, which must lie above
// Last: nothing before it is retained. keep, if not nil, is kept beside it as its
// floor, as Roll does. After ErrNoSpace of the disk nothing was done. Until the state of the Sync after it was
// kept, the state from before Reset can be opened. To start again below, or at,
// Last: Close, and Open without a state. Appends must not run meanwhile; readers
// may.
func (s *Store) Reset(storeState, keep []byte) error {
	if err := s.failed(); err != nil {
		return err
	}
	st, err := decodeState(storeState)
	if err != nil {
		return fmt.Errorf("reset %s: %w", s.dir, err)
	}
	if last := s.Last(); st.mark.Index <= last.Index || st.mark.Position <= last.Position {
		return fmt.Errorf("store: reset %s to entry %d at %d: it has entry %d at %d", s.dir, st.mark.Index, st.mark.Position, last.Index, last.Position)
	}
	s.round.Lock()
	defer s.round.Unlock()
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.flushing.Lock()
	defer s.flushing.Unlock()
	if err := s.flush(true); err != nil { // a state may be about to be synced
		return fmt.Errorf("reset %s: %w", s.dir, err)
	}
	have, err := s.list()
	if err != nil {
		return s.fail(fmt.Errorf("reset %s: %w", s.dir, err))
	}
	if keep != nil { // a full disk is met here and below, before anything is given up
		if err := s.writeFloor(st.mark.Position, st.above().encode(), keep); err != nil {
			return s.local(fmt.Errorf("reset %s: %w", s.dir, err))
		}
	}
	g, err := s.createSegment(origin{prev: st.mark, lastMs: st.lastMs})
	if err != nil {
		return s.local(fmt.Errorf("reset %s: %w", s.dir, err))
	}
	s.mu.Lock()
	old, oldQueues := s.segments, s.queues
	for _, start := range have.starts {
		s.discardLocked(segmentName(s.dir, start, "log"))
	}
	for n := range have.other {
		s.discardLocked(filepath.Join(s.dir, n))
	}
	for _, n := range have.timers {
		s.discardLocked(timerName(s.dir, n))
	}
	for _, r := range s.timers.runs {
		r.leave()
	}
	s.timers.runs, s.timers.mem = nil, nil
	s.timers.life++
	for q, bases := range have.bases {
		for _, base := range bases {
			s.discardLocked(queueName(s.dir, q, base))
		}
	}
	for _, kind := range []string{"log", "keys", "floor"} { // left by an earlier life, and in use again
		delete(s.trash, segmentName(s.dir, st.mark.Position, kind))
	}
	for _, x := range old {
		x.trimmed = true
	}
	s.trimmed = append(s.trimmed, old...)
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
	s.wake(slices.Collect(maps.Values(oldQueues)))
	for _, x := range old {
		x.leave()
	}
	return nil
}
