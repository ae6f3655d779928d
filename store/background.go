package store

import (
	"errors"
	"slices"

	"raftmq/internal/vfs"
)

// background grows the active segment ahead of the appender, makes the next one,
// paces write-back, writes queue entries and keys, and lets go of what is sealed.
func (s *Store) background() {
	for {
		select {
		case <-s.work:
			s.round.Lock()
			s.lookAround()
			s.round.Unlock()
		case <-s.stop:
			return
		}
	}
}

func (s *Store) lookAround() {
	s.mu.RLock()
	segments := s.segments
	ends := make([]Position, len(segments))
	for i, g := range segments {
		ends[i] = g.end
	}
	closed := s.closed
	s.mu.RUnlock()
	if closed || s.failed() != nil {
		return
	}
	g := segments[len(segments)-1]
	used := int64(ends[len(ends)-1] - g.start)
	g.ahead(used, s.o.SegmentBytes)
	if s.spareDue(used) {
		s.prepare()
	}
	for i, x := range segments {
		x.writeBack(ends[i])
	}
	s.flushing.Lock()
	err := s.flush(false)
	s.flushing.Unlock()
	s.mergeTimersSoon()
	full := errors.Is(err, vfs.ErrNoSpace)
	switch {
	case full && !s.full:
		s.log.Warn("queues and keys wait in memory", "error", err)
	case err != nil && !full:
		s.log.Error("write queues and keys", "error", err)
	}
	s.full = full
	for i, x := range segments[:len(segments)-1] {
		if err := x.seal(ends[i]); err != nil {
			s.log.Warn("seal segment", "file", x.name, "error", err)
		}
		s.mu.RLock()
		synced := x.synced >= x.end
		s.mu.RUnlock()
		if synced {
			if err := x.release(); err != nil {
				s.log.Warn("close segment", "file", x.name, "error", err)
			}
		}
	}
}

// prepare makes the next segment's file, if that is not done. If it cannot, the
// appender meets the error itself when it needs the file.
func (s *Store) prepare() {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	if s.spare != nil {
		return
	}
	g, err := s.makeFile()
	if err != nil {
		s.log.Warn("prepare the next segment", "error", err)
		return
	}
	s.spare = g
}

// flushNow is for the appender, when the background does not keep up.
func (s *Store) flushNow() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	return s.flush(true)
}

// flush writes queue entries, keys and timers that are in memory only: what is much, or
// all. s.flushing is held. Whatever an error leaves unwritten stays in memory.
func (s *Store) flush(all bool) error {
	if err := s.failed(); err != nil {
		return err
	}
	type tail struct {
		q    *queue
		b    []byte
		from int64
	}
	type keys struct {
		g       *segment
		mem     []keyPlace
		through Position
	}
	var tails []tail
	var runs []keys
	s.mu.RLock()
	timers := all || len(s.timers.mem) >= timerFlush
	all = all || s.pending > maxPending/16
	for _, q := range s.queues {
		if n := len(q.tail); n > 0 && (all || n >= tailBytes) {
			tails = append(tails, tail{q: q, b: q.tail})
		}
	}
	for i, g := range s.segments {
		k, n := g.keys, len(g.keys.mem)
		sealed := i < len(s.segments)-1
		if !k.loaded || k.lost != nil || k.through >= g.end {
			continue
		}
		if sealed || n >= maxKeyRun || all && g.end-k.through >= keySpan {
			runs = append(runs, keys{g, k.mem, g.end})
		}
	}
	s.mu.RUnlock()
	for _, t := range tails {
		if err := s.writeTail(t.q, t.q.written, t.b); err != nil {
			return s.local(err)
		}
		s.mu.Lock()
		q := t.q
		s.pending -= len(t.b)
		q.written += offsets(len(t.b))
		q.tail = q.tail[:copy(q.tail, q.tail[len(t.b):])]
		if all && len(q.tail) == 0 || cap(q.tail) > 4*tailBytes {
			q.tail = slices.Clone(q.tail)
		}
		s.mu.Unlock()
		if s.files.dirtyCount() > maxOpen { // more may not stay open
			if err := s.files.syncDirty(); err != nil {
				return s.fail(err)
			}
		}
	}
	for _, r := range runs {
		if err := s.flushKeys(r.g, r.mem, r.through); err != nil {
			return s.local(err)
		}
	}
	if timers {
		if err := s.flushTimers(); err != nil {
			return s.local(err)
		}
	}
	return nil
}

// local decides what a failed write means: a full disk may get room again, and
// nothing is lost; damage that it met in a file is for the owner to repair, and what was
// to be written there stays in memory; all else is final.
func (s *Store) local(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) || errors.Is(s.tell(err), ErrDamaged) {
		return err
	}
	return s.fail(err)
}
