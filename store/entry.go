package store

import (
	"errors"
	"sort"
)

// headsAtOnce is how many bytes are read to hop over frames.
const headsAtOnce = 64 << 10

// Term returns the term of the entry at index, or of the one just before the
// oldest retained; ErrNotFound and ErrDamaged like Entry.
func (s *Store) Term(index uint64) (uint64, error) {
	if m := s.First(); index == m.Index {
		return m.Term, nil
	}
	if m := s.Last(); index == m.Index {
		return m.Term, nil
	}
	e, err := s.Entry(index)
	return e.Term, err
}

// Entry returns the entry at index, its data a copy as it lies in the log;
// ErrNotFound outside of what is retained, ErrDamaged if it fails its checksum.
// Entries in a row are found without a search.
func (s *Store) Entry(index uint64) (e Entry, err error) {
	s.mu.RLock()
	segments, last := s.segments, s.last
	i := sort.Search(len(segments), func(i int) bool { return segments[i].prev.Index >= index })
	if i == 0 || index > last.Index {
		s.mu.RUnlock()
		return Entry{}, s.gone(ErrNotFound)
	}
	g := segments[i-1]
	end := g.end
	at := g.nearest(func(p place) bool { return p.index <= index })
	s.mu.RUnlock()
	s.hintMu.Lock()
	if s.hint.index <= index && s.hint.index > at.index && s.hint.pos >= g.start && s.hint.pos < end {
		at = s.hint
	}
	s.hintMu.Unlock()
	var passed []place
	err = g.read(s.files, func(r *reader) error {
		if at.index < index {
			if at, passed, err = r.hop(at, end, func(next place) bool { return next.index > index }); err != nil {
				return err
			}
		}
		e, err = r.entry(at, end)
		return err
	})
	if errors.Is(err, errGone) {
		return Entry{}, s.gone(ErrNotFound)
	}
	if err != nil {
		return Entry{}, s.tell(err)
	}
	s.hintMu.Lock()
	s.hint = place{index + 1, at.pos + Position(frameSize(len(e.Data)))}
	s.hintMu.Unlock()
	if len(passed) > 0 {
		s.mu.Lock()
		g.remember(passed)
		s.mu.Unlock()
	}
	return e, nil
}

// nearest returns the last remembered frame that is within, else the first one.
// Store.mu is held.
func (g *segment) nearest(within func(place) bool) place {
	n := sort.Search(len(g.sparse), func(i int) bool { return !within(g.sparse[i]) })
	if n == 0 {
		return g.firstFrame()
	}
	return g.sparse[n-1]
}

func (g *segment) firstFrame() place { return place{g.prev.Index + 1, g.start + segmentHead} }

// remember adds frames to the sparse ones, unless others are as close.
func (g *segment) remember(passed []place) {
	for _, p := range passed {
		i := sort.Search(len(g.sparse), func(i int) bool { return g.sparse[i].pos >= p.pos })
		if i > 0 && p.pos-g.sparse[i-1].pos < sparseBytes || i < len(g.sparse) && g.sparse[i].pos-p.pos < sparseBytes/2 {
			continue
		}
		g.sparse = append(g.sparse, place{})
		copy(g.sparse[i+1:], g.sparse[i:])
		g.sparse[i] = p
	}
}

// hop goes from the frame at a place to the first one whose next is past, and
// returns places at some distance that it came by.
func (r *reader) hop(at place, end Position, past func(next place) bool) (place, []place, error) {
	var passed []place
	var buf []byte
	var from, to Position // what buf holds
	mark := at.pos
	for {
		if at.pos+frameHead > end {
			return at, nil, r.noFrame(at)
		}
		if at.pos < from || at.pos+frameHead > to {
			want := min(headsAtOnce, int64(end-at.pos))
			if at.pos >= to+headsAtOnce {
				want = frameHead // frames are large: there is only one head to see
			}
			if int64(cap(buf)) < want {
				buf = make([]byte, headsAtOnce)
			}
			buf = buf[:want]
			if err := r.at(buf, at.pos); err != nil {
				return at, nil, err
			}
			from, to = at.pos, at.pos+Position(want)
		}
		f := decodeFrame(buf[at.pos-from:])
		if !f.fits(at, end) {
			return at, nil, r.noFrame(at)
		}
		next := place{at.index + 1, at.pos + f.size()}
		if past(next) {
			return at, passed, nil
		}
		at = next
		if at.pos-mark >= sparseBytes {
			passed = append(passed, at)
			mark = at.pos
		}
	}
}

// entry reads the frame at a place whole.
func (r *reader) entry(at place, end Position) (Entry, error) {
	var head [frameHead]byte
	if at.pos+frameHead > end {
		return Entry{}, r.noFrame(at)
	}
	if err := r.at(head[:], at.pos); err != nil {
		return Entry{}, err
	}
	f := decodeFrame(head[:])
	if !f.fits(at, end) {
		return Entry{}, r.noFrame(at)
	}
	b := make([]byte, frameHead+f.bytes)
	if err := r.at(b, at.pos); err != nil {
		return Entry{}, err
	}
	if !f.check(b) {
		return Entry{}, r.badFrame(at)
	}
	f.entry.Data = b[frameHead:]
	return f.entry, nil
}

func (r *reader) noFrame(at place) error {
	return damaged(r.g.name, int64(at.pos-r.g.start), "no frame of entry %d", at.index)
}

func (r *reader) badFrame(at place) error {
	return damaged(r.g.name, int64(at.pos-r.g.start), "entry %d fails its checksum", at.index)
}
