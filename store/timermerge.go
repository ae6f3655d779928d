package store

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
)

// loadTimers opens the runs by their numbers; those that say nothing of the log from
// first on, and all if fresh, are removed.
func (s *Store) loadTimers(numbers []uint64, first Position, fresh bool) error {
	slices.Sort(numbers)
	for _, n := range numbers {
		s.timers.next = max(s.timers.next, n+1)
		if fresh {
			if err := s.removeFile(timerName(s.dir, n)); err != nil {
				return err
			}
			continue
		}
		r, err := openTimerRun(s.disk, s.dir, n)
		if err != nil {
			return err
		}
		if r.last < first {
			if err := s.removeFile(r.name); err != nil {
				return err
			}
			continue
		}
		s.timers.runs = append(s.timers.runs, r)
	}
	return nil
}

// flushTimers writes what is in memory as a run. s.flushing is held.
func (s *Store) flushTimers() error {
	s.mu.RLock()
	mem := s.timers.mem
	life := s.timers.life
	s.mu.RUnlock()
	if len(mem) == 0 {
		return nil
	}
	sorted := slices.Clone(mem)
	slices.SortFunc(sorted, compareTimers)
	r, err := s.writeTimers(timerTmp, func(put func(Timer) error) error {
		for _, t := range sorted {
			if err := put(t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.nameTimers(timerTmp, r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timers.life != life {
		s.discardLocked(r.name)
		return nil
	}
	s.timers.runs = append(slices.Clone(s.timers.runs), r)
	s.timers.mem = slices.Clone(s.timers.mem[len(mem):])
	s.pending -= len(mem) * timerEntry
	s.names = true
	return nil
}

// nameTimers gives a run that is durable its number and name. s.flushing is held.
func (s *Store) nameTimers(tmp string, r *timerRun) error {
	r.number = s.timers.next
	s.timers.next++
	r.name = timerName(s.dir, r.number)
	s.keep(r.name)
	return s.disk.Rename(filepath.Join(s.dir, tmp), r.name)
}

// writeTimers writes a run to a file of that name, durably.
func (s *Store) writeTimers(tmp string, each func(put func(Timer) error) error) (*timerRun, error) {
	name := filepath.Join(s.dir, tmp)
	if err := s.removeFile(name); err != nil {
		return nil, err
	}
	w, err := newTimerWriter(s.disk, name)
	if err != nil {
		return nil, err
	}
	if err := each(w.put); err != nil {
		return nil, errors.Join(err, w.f.Close(), s.removeFile(name))
	}
	if err := w.finish(); err != nil {
		return nil, errors.Join(err, s.removeFile(name))
	}
	return &timerRun{count: w.run.count, last: w.run.last}, nil
}

// mergeDue chooses the runs to be merged into one: those of the smallest size that has
// timerFan of them.
func mergeDue(runs []*timerRun) []*timerRun {
	tiers := make(map[int][]*timerRun)
	most := 0
	for _, r := range runs {
		n := r.tier()
		tiers[n] = append(tiers[n], r)
		most = max(most, n)
	}
	for n := range most + 1 {
		if len(tiers[n]) >= timerFan {
			return tiers[n]
		}
	}
	return nil
}

// mergeTimersSoon starts a merge if one is due and none runs.
func (s *Store) mergeTimersSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.timers.merging || mergeDue(s.timers.runs) == nil {
		return
	}
	s.timers.merging = true
	s.wg.Go(func() {
		err := s.mergeRuns()
		s.mu.Lock()
		s.timers.merging = false
		s.mu.Unlock()
		if err == nil {
			s.kick() // for the next
		} else if !errors.Is(err, errGone) {
			s.log.Warn("merge timers", "error", s.tell(err)) // again when there are more
		}
	})
}

// mergeRuns replaces the runs that are due by one. What is passed, or lies in what is
// trimmed, is left out. That something was taken back is kept until both is true: a
// power cut may bring any of the old runs back, and who asks again is answered alike as
// long as the log knows (see TimerOf).
func (s *Store) mergeRuns() error {
	s.mu.RLock()
	olds, life := mergeDue(s.timers.runs), s.timers.life
	passed, first := s.timers.passed, s.segments[0].start
	s.mu.RUnlock()
	var sources []timerSource
	for _, r := range olds {
		c, err := r.seek(s.files, TimerKey{})
		if err != nil {
			return err
		}
		sources = append(sources, c)
	}
	r, err := s.writeTimers(timerMergeTmp, func(put func(Timer) error) error {
		n := 0
		return mergeTimers(sources, func(t Timer) (bool, error) {
			if n++; n%timerFlush == 0 && s.stopping() {
				return false, errGone
			}
			trimmed, over := t.At < first, t.Compare(passed) <= 0
			if trimmed && over || (trimmed || over) && t.Size > 0 {
				return true, nil
			}
			return true, put(t)
		})
	})
	if err != nil {
		return err
	}
	return s.replaceRuns(olds, r, life)
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// replaceRuns puts r, which is durable, in the place of olds.
func (s *Store) replaceRuns(olds []*timerRun, r *timerRun, life int) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.RLock()
	over := s.timers.life != life || s.closed
	s.mu.RUnlock()
	if over {
		return errGone
	}
	if r.count == 0 {
		if err := s.removeFile(filepath.Join(s.dir, timerMergeTmp)); err != nil {
			return err
		}
	} else if err := s.nameTimers(timerMergeTmp, r); err != nil {
		return err
	}
	if err := s.disk.SyncDir(s.dir); err != nil {
		return s.fail(err)
	}
	s.mu.Lock()
	rest := slices.DeleteFunc(slices.Clone(s.timers.runs), func(x *timerRun) bool { return slices.Contains(olds, x) })
	if r.count > 0 {
		rest = append(rest, r)
		slices.SortFunc(rest, func(a, b *timerRun) int { return cmp.Compare(a.number, b.number) })
	}
	s.timers.runs = rest
	s.mu.Unlock()
	for _, x := range olds {
		x.leave()
		s.files.forget(x.name)
		if err := s.removeFile(x.name); err != nil {
			s.log.Warn("remove", "file", x.name, "error", err) // it says nothing wrong
		}
	}
	return nil
}

// leave ends the run's use by readers, who get errGone.
func (r *timerRun) leave() {
	r.use.Lock()
	defer r.use.Unlock()
	r.gone = true
}
