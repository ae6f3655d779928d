package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"sync"

	"raftmq/message"
)

// Batch is a run of whole records, as they lie on disk and go on the wire.
type Batch struct {
	Records  []byte
	Count    int
	Next     message.Offset // where the next Read goes on
	Min, Max message.Offset // the queue's bounds
}

// Bounds of one Read's work.
const (
	maxExamined = 8192 // entries
	examineStep = 1024 // entries at a time, when only some match
	maxSpan     = 1 << 20
	// spanGap is how many bytes of other queues between two records are read along.
	spanGap = 16 << 10
	// maxSifted is how many bytes of records are looked into; the last may be beyond.
	maxSifted = 4 << 20
)

// Filter says which records are wanted; nil, and a nil function: all.
type Filter struct {
	// Tag is asked first, with the hash of a record's tag.
	Tag func(hash int32) bool
	// Record is asked with each whole record that is left. It does not keep the bytes,
	// and is called with a lock held that the appender may wait for.
	Record func(r []byte) bool
}

var spans = sync.Pool{New: func() any { return new([]byte) }}

// Read returns whole records of q from offset from, those that are wanted: at most
// maxMessages of them and maxBytes, but at least one if there is one within the 8192
// that it examines, or the 4 MiB that the filter looks into. Next is after what was
// examined. ErrOffset, with the bounds, if from is not in the queue. Records' checksums
// are checked, before the filter sees them. The bytes are the caller's.
func (s *Store) Read(q message.Queue, from message.Offset, maxMessages, maxBytes int, want *Filter) (Batch, error) {
	s.mu.RLock()
	x := s.queues[q]
	if x == nil {
		s.mu.RUnlock()
		return Batch{}, s.gone(ErrOffset)
	}
	out := Batch{Next: from, Min: x.min, Max: x.max}
	segments := s.segments
	s.mu.RUnlock()
	if from < out.Min || from >= out.Max {
		return out, s.gone(ErrOffset)
	}
	// Not beyond out.Max: what is appended meanwhile may lie behind segments.
	end := min(out.Max, from+maxExamined)
	maxMessages = min(maxMessages, maxExamined)
	var got Batch
	var err error
	if want == nil || want.Tag == nil && want.Record == nil {
		got, err = s.run(x, segments, from, end, maxMessages, maxBytes)
	} else {
		got, err = s.sift(x, segments, from, end, maxMessages, maxBytes, want)
	}
	if errors.Is(err, errGone) {
		out.Min, out.Max = s.Bounds(q)
		return out, s.gone(ErrOffset)
	}
	if err != nil {
		return out, s.tell(fmt.Errorf("read %s %d at %d: %w", q.Topic, q.ID, from, err))
	}
	out.Records, out.Count, out.Next = got.Records, got.Count, got.Next
	return out, nil
}

// run reads one record after the other.
func (s *Store) run(q *queue, segments []*segment, from, end message.Offset, maxMessages, maxBytes int) (Batch, error) {
	places, err := s.places(q, from, min(maxMessages, int(end-from)))
	if err != nil {
		return Batch{}, err
	}
	places, _ = fit(places, nil, maxMessages, maxBytes, true)
	records, n, err := s.records(segments, nil, places, nil)
	return Batch{Records: records, Count: n, Next: from + message.Offset(len(places))}, err
}

// sift reads what is wanted.
func (s *Store) sift(q *queue, segments []*segment, from, end message.Offset, maxMessages, maxBytes int, want *Filter) (Batch, error) {
	buf := spans.Get().(*[]byte)
	defer spans.Put(buf)
	got, err := s.look(q, segments, Batch{Next: from, Records: (*buf)[:0]}, end, maxMessages, maxBytes, want)
	if c := cap(got.Records); c > cap(*buf) && c <= 2*maxSpan {
		*buf = got.Records
	}
	got.Records = slices.Clone(got.Records) // as long as it is, however much was looked into
	return got, err
}

// look is sift, from got.Next on, into got's bytes.
func (s *Store) look(q *queue, segments []*segment, got Batch, end message.Offset, maxMessages, maxBytes int, want *Filter) (Batch, error) {
	looked := 0 // bytes
	for step := min(maxMessages, examineStep); got.Next < end; step = min(2*step, examineStep) {
		places, err := s.places(q, got.Next, min(step, int(end-got.Next)))
		if err != nil {
			return Batch{}, err
		}
		for len(places) > 0 {
			if got.Count == maxMessages || looked >= maxSifted {
				return got, nil
			}
			// No more than fits if the filter takes all of it.
			chosen, passed := fit(places, want.Tag, maxMessages-got.Count, min(maxBytes-len(got.Records), maxSifted-looked), got.Count == 0)
			if passed == 0 {
				return got, nil
			}
			var n int
			if got.Records, n, err = s.records(segments, got.Records, chosen, want.Record); err != nil {
				return Batch{}, err
			}
			got.Count += n
			got.Next += message.Offset(passed)
			places = places[passed:]
			for _, p := range chosen {
				looked += int(p.size)
			}
		}
	}
	return got, nil
}

// fit returns those of places that match (nil: all), at most maxMessages of them and
// maxBytes, or one with more if always; and how many places it passed.
func fit(places []queuePlace, match func(hash int32) bool, maxMessages, maxBytes int, always bool) (chosen []queuePlace, passed int) {
	bytes := 0
	for i, p := range places {
		if match != nil && !match(p.tag) {
			continue
		}
		bytes += int(p.size)
		if len(chosen) == maxMessages || bytes > maxBytes && !(always && len(chosen) == 0) {
			return chosen, i
		}
		if match == nil {
			chosen = places[:i+1]
		} else {
			chosen = append(chosen, p)
		}
	}
	return chosen, len(places)
}

// records appends a copy of the records at places, which are in order, to out, those
// that keep takes (nil: all), and says how many.
func (s *Store) records(segments []*segment, out []byte, places []queuePlace, keep func([]byte) bool) (_ []byte, kept int, err error) {
	c := copier{out: out, keep: keep}
	if keep == nil {
		bytes := 0
		for _, p := range places {
			bytes += int(p.size)
		}
		c.out = slices.Grow(c.out, bytes)
	}
	for i := 0; i < len(places); {
		g := segmentOf(segments, places[i].pos)
		if g == nil {
			return nil, 0, errGone
		}
		j := i + 1
		for j < len(places) && segmentOf(segments, places[j].pos) == g {
			j++
		}
		err := g.read(s.files, func(r *reader) error {
			if r.mapped != nil {
				return c.each(r, places[i:j])
			}
			return c.spans(r, places[i:j])
		})
		if err != nil {
			return nil, 0, err
		}
		i = j
	}
	return c.out, c.kept, nil
}

// copier appends records to out.
type copier struct {
	out  []byte
	kept int
	keep func([]byte) bool // nil: all
}

// each reads records one by one.
func (c *copier) each(r *reader, places []queuePlace) error {
	for _, p := range places {
		n := len(c.out)
		c.out = slices.Grow(c.out, int(p.size))[:n+int(p.size)]
		rec := c.out[n:]
		if err := r.at(rec, p.pos); err != nil {
			return err
		}
		if crc32.Checksum(rec, castagnoli) != p.crc {
			return r.bad(p)
		}
		if c.keep != nil && !c.keep(rec) {
			c.out = c.out[:n]
			continue
		}
		c.kept++
	}
	return nil
}

// spans reads neighbours at once.
func (c *copier) spans(r *reader, places []queuePlace) error {
	buf := spans.Get().(*[]byte)
	defer spans.Put(buf)
	for i := 0; i < len(places); {
		start, end := places[i].pos, places[i].pos+Position(places[i].size)
		j := i + 1
		for ; j < len(places); j++ {
			p := places[j]
			if p.pos < end || p.pos-end > spanGap || p.pos+Position(p.size)-start > maxSpan {
				break
			}
			end = p.pos + Position(p.size)
		}
		if j == i+1 {
			if err := c.each(r, places[i:j]); err != nil {
				return err
			}
			i = j
			continue
		}
		if cap(*buf) < int(end-start) {
			*buf = make([]byte, maxSpan)
		}
		b := (*buf)[:end-start]
		if err := r.at(b, start); err != nil {
			return err
		}
		for _, p := range places[i:j] {
			rec := b[p.pos-start:][:p.size]
			if crc32.Checksum(rec, castagnoli) != p.crc {
				return r.bad(p)
			}
			if c.keep == nil || c.keep(rec) {
				c.out = append(c.out, rec...)
				c.kept++
			}
		}
		i = j
	}
	return nil
}

func (r *reader) bad(p queuePlace) error {
	return damaged(r.g.name, int64(p.pos-r.g.start), "a record of %d bytes fails its checksum", p.size)
}

// segmentOf returns the segment that holds pos.
func segmentOf(segments []*segment, pos Position) *segment {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].start > pos })
	if i == 0 {
		return nil
	}
	return segments[i-1]
}

// SeekTime returns the smallest offset stored at ms (Unix) or later, the end if
// there is none; with upper, the largest stored at ms or earlier, the minimum if
// there is none.
func (s *Store) SeekTime(q message.Queue, ms int64, upper bool) (message.Offset, error) {
	s.mu.RLock()
	x := s.queues[q]
	s.mu.RUnlock()
	if x == nil {
		return 0, s.gone(nil)
	}
	for range 8 {
		lo, hi := s.bounds(x)
		off, err := s.search(x, lo, hi, func(p queuePlace) bool { return p.time > ms || p.time == ms && !upper })
		if errors.Is(err, errGone) {
			continue // trimmed meanwhile
		}
		if err != nil {
			return 0, s.tell(fmt.Errorf("seek %s %d to %d: %w", q.Topic, q.ID, ms, err))
		}
		if upper && off > lo {
			off--
		}
		return off, nil
	}
	return 0, s.gone(ErrOffset)
}
