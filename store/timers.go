package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"raftmq/message"
)

// TimerKey orders records that wait for their time: by it, then by identity.
type TimerKey struct {
	DueMs int64    // Unix ms
	ID    Position // where the record lay first
}

// Compare orders keys.
func (k TimerKey) Compare(o TimerKey) int {
	return cmp.Or(cmp.Compare(k.DueMs, o.DueMs), cmp.Compare(k.ID, o.ID))
}

// Timer is a record that waits in the log, in no queue.
type Timer struct {
	TimerKey
	At   Position // where its bytes are now
	Size uint32   // 0: it was taken back by the entry at At
	CRC  uint32   // CRC-32C of the record
}

// TimerOp is what an entry does to a timer: it puts the record at Start of its data
// in, or, as ID says, elsewhere; or takes it back.
type TimerOp struct {
	DueMs       int64
	ID          Position // 0: where the record will lie
	Start, Size int      // Size 0: it is taken back
}

// timerFlush is how many timers wait in memory before they are written.
const timerFlush = 16 << 10

// timers is the index of a store's timers: sorted runs on disk, and what came since
// in memory. Of several that it has of a key the one that lies last in the log
// counts, so that a run may hold what was indexed before, and a crash may leave any
// run whole: what is indexed comes from committed entries only, which a store that
// was cut back is given again.
//
// It is derived from the log. What of it still waits lies in what is retained: see
// the owner, who appends it again before it trims.
type timers struct {
	// Guarded by Store.mu.
	mem     []Timer
	runs    []*timerRun // by number
	passed  TimerKey    // what is not above waits no more
	life    int         // raised by Reset
	added   int64       // the earliest time that came in since it was asked for, Unix ms
	merging bool

	next uint64 // number of the next run; guarded by Store.flushing
}

// waiting is the queue offset of a record that waits.
const waiting message.Offset = -1

// stampTimers stamps the records of ops in an entry's data at pos, and returns what is
// to be indexed.
func (s *Store) stampTimers(ops []TimerOp, data []byte, pos Position, storeMs int64) []Timer {
	out := make([]Timer, len(ops))
	for i, op := range ops {
		t := Timer{TimerKey: TimerKey{op.DueMs, op.ID}, At: pos + Position(op.Start), Size: uint32(op.Size)}
		if op.ID == 0 {
			t.ID = t.At
		}
		if op.Size > 0 {
			r := message.Record(data[op.Start : op.Start+op.Size])
			message.Stamp(r, waiting, message.PhysicalOffset(s.o.Number, int64(t.At)), storeMs)
			t.CRC = crc32.Checksum(r, castagnoli)
		}
		out[i] = t
	}
	return out
}

// ForgetTimers says that no timer up to and with k waits any more.
func (s *Store) ForgetTimers(k TimerKey) {
	s.mu.Lock()
	s.timers.passed = k
	s.mu.Unlock()
}

// Timers gives the timers behind after that are due at untilMs at the latest, in
// order, to visit, until that returns false. Those taken back are passed over, and so are
// those that lie in what is trimmed: what waits was appended again before, and the run that
// says that one was taken back may be gone with what it lay in.
// ErrDamaged if the index cannot be read; it can be built again from the log.
func (s *Store) Timers(after TimerKey, untilMs int64, visit func(Timer) bool) error {
	first := s.First().Position
	return s.timersOf(after, untilMs, func(t Timer) bool { return t.Size == 0 || t.At < first || visit(t) })
}

// TakenBack gives what was taken back, as far as the index has it, to visit, in order, among
// the first most that are indexed. all: there are no more. ErrDamaged like Timers.
func (s *Store) TakenBack(most int, visit func(Timer)) (all bool, err error) {
	n := 0
	err = s.timersOf(TimerKey{}, math.MaxInt64, func(t Timer) bool {
		if n++; n > most {
			return false
		}
		if t.Size == 0 {
			visit(t)
		}
		return true
	})
	return n <= most, err
}

// timersOf is Timers with those that were taken back.
func (s *Store) timersOf(after TimerKey, untilMs int64, visit func(Timer) bool) error {
	for {
		err := s.visitTimers(after, untilMs, func(t Timer) bool {
			after = t.TimerKey
			return visit(t)
		})
		if errors.Is(err, errGone) && s.failed() == nil {
			continue // runs were merged meanwhile
		}
		if errors.Is(err, errGone) {
			return s.gone(s.failed())
		}
		return s.tell(err)
	}
}

// visitTimers gives for each key the timer that lies last.
func (s *Store) visitTimers(after TimerKey, untilMs int64, visit func(Timer) bool) error {
	s.mu.RLock()
	runs := s.timers.runs
	var mem []Timer
	for _, t := range s.timers.mem {
		if t.DueMs <= untilMs && t.Compare(after) > 0 {
			mem = append(mem, t)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(mem, compareTimers)
	sources := []timerSource{&timerSlice{mem}}
	for _, r := range runs {
		c, err := r.seek(s.files, after)
		if err != nil {
			return err
		}
		sources = append(sources, c)
	}
	return mergeTimers(sources, func(t Timer) (bool, error) {
		return t.DueMs <= untilMs && visit(t), nil
	})
}

// EarliestTimer returns the earliest time of the timers that were appended since it was
// called before; math.MaxInt64 if none was.
func (s *Store) EarliestTimer() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.timers.added
	s.timers.added = math.MaxInt64
	return at
}

// TimerAdded has EarliestTimer answer that time at the latest.
func (s *Store) TimerAdded(dueMs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timers.added = min(s.timers.added, dueMs)
}

// TimerOf returns what is indexed under a key, with Size 0 if it was taken back;
// ErrNotFound if nothing is. All that is retained of the log counts, also after the time
// of the key: what lay behind First when TimerOf had returned, and is not found or not
// taken back, was not taken back before.
func (s *Store) TimerOf(k TimerKey) (t Timer, err error) {
	err = s.timersOf(TimerKey{k.DueMs, k.ID - 1}, k.DueMs, func(x Timer) bool {
		t = x
		return false
	})
	if err == nil && t.TimerKey != k {
		err = ErrNotFound
	}
	return t, err
}

// TimerCount is how many timers are indexed, those that were taken back or are passed
// and not cleared away yet among them.
func (s *Store) TimerCount() (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n = len(s.timers.mem)
	for _, r := range s.timers.runs {
		n += r.count
	}
	return n
}

// TimerRecord returns a copy of a timer's record, as it was appended. ErrNotFound if
// the log is trimmed beyond it, ErrDamaged if it is not what was written.
func (s *Store) TimerRecord(t Timer) (message.Record, error) {
	s.mu.RLock()
	g, end := segmentOf(s.segments, t.At), Position(0)
	if g != nil {
		end = g.end
	}
	s.mu.RUnlock()
	if g == nil || t.At+Position(t.Size) > end {
		return nil, s.gone(ErrNotFound)
	}
	b := make([]byte, t.Size)
	err := g.read(s.files, func(r *reader) error {
		if err := r.at(b, t.At); err != nil {
			return err
		}
		if crc32.Checksum(b, castagnoli) != t.CRC {
			return damaged(g.name, int64(t.At-g.start), "a record of %d bytes fails its checksum", t.Size)
		}
		return nil
	})
	if errors.Is(err, errGone) {
		return nil, s.gone(ErrNotFound)
	}
	if err != nil {
		return nil, s.tell(err)
	}
	r, err := message.ParseRecord(b)
	if err != nil {
		return nil, fmt.Errorf("timer at %d: %w", t.At, err)
	}
	return r, nil
}

// compareTimers orders by key, then by place.
func compareTimers(a, b Timer) int {
	return cmp.Or(a.Compare(b.TimerKey), cmp.Compare(a.At, b.At))
}

// timerSource gives timers in order. At its end ok is false.
type timerSource interface {
	peek() (t Timer, ok bool)
	advance() error
}

type timerSlice struct{ rest []Timer }

func (s *timerSlice) peek() (Timer, bool) {
	if len(s.rest) == 0 {
		return Timer{}, false
	}
	return s.rest[0], true
}

func (s *timerSlice) advance() error {
	s.rest = s.rest[1:]
	return nil
}

// mergeTimers gives, of each key that sources have, the timer that lies last in the
// log to visit, in order, until that returns false.
func mergeTimers(sources []timerSource, visit func(Timer) (bool, error)) error {
	live := slices.DeleteFunc(sources, func(s timerSource) bool {
		_, ok := s.peek()
		return !ok
	})
	less := func(a, b timerSource) bool {
		x, _ := a.peek()
		y, _ := b.peek()
		return compareTimers(x, y) < 0
	}
	down := func(i int) {
		for {
			c := 2*i + 1
			if c >= len(live) {
				return
			}
			if c+1 < len(live) && less(live[c+1], live[c]) {
				c++
			}
			if !less(live[c], live[i]) {
				return
			}
			live[i], live[c] = live[c], live[i]
			i = c
		}
	}
	for i := len(live)/2 - 1; i >= 0; i-- {
		down(i)
	}
	var held Timer
	holds := false
	for len(live) > 0 {
		t, _ := live[0].peek()
		if holds && t.TimerKey != held.TimerKey {
			if on, err := visit(held); !on || err != nil {
				return err
			}
		}
		held, holds = t, true
		if err := live[0].advance(); err != nil {
			return err
		}
		if _, ok := live[0].peek(); !ok {
			live[0] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		down(0)
	}
	if holds {
		_, err := visit(held)
		return err
	}
	return nil
}
