package store

import (
	"errors"
	"fmt"
	"hash/crc32"
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
)

var spans = sync.Pool{New: func() any { return new([]byte) }}

// Read returns whole records of q from offset from, those whose tag matches (nil:
// all): at most maxMessages of them and maxBytes, but at least one if there is
// one within the 8192 that it examines. ErrOffset, with the bounds, if from is
// not in the queue. Records' checksums are checked. The bytes are the caller's.
func (s *Store) Read(q message.Queue, from message.Offset, maxMessages, maxBytes int, match func(tag int32) bool) (Batch, error) {
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
	chosen, next, err := s.choose(x, from, out.Max, min(maxMessages, maxExamined), maxBytes, match)
	if err == nil {
		out.Records, err = s.records(segments, chosen)
	}
	if errors.Is(err, errGone) {
		out.Min, out.Max = s.Bounds(q)
		return out, s.gone(ErrOffset)
	}
	if err != nil {
		return out, s.tell(fmt.Errorf("read %s %d at %d: %w", q.Topic, q.ID, from, err))
	}
	out.Count, out.Next = len(chosen), next
	return out, nil
}

// choose returns the places to read in [from, end), and the offset after the last
// one examined.
func (s *Store) choose(q *queue, from, end message.Offset, maxMessages, maxBytes int, match func(tag int32) bool) (chosen []queuePlace, next message.Offset, err error) {
	bytes := 0
	end = min(end, from+maxExamined)
	for next = from; next < end && len(chosen) < maxMessages; {
		step := maxMessages
		if match != nil {
			step = examineStep
		}
		places, err := s.places(q, next, min(step, int(end-next)))
		if err != nil {
			return nil, next, err
		}
		if match == nil {
			chosen = places
			for i, p := range places {
				if bytes += int(p.size); i > 0 && bytes > maxBytes {
					chosen = places[:i]
					break
				}
			}
			return chosen, next + message.Offset(len(chosen)), nil
		}
		for _, p := range places {
			if match(p.tag) {
				if len(chosen) == maxMessages || len(chosen) > 0 && bytes+int(p.size) > maxBytes {
					return chosen, next, nil
				}
				chosen = append(chosen, p)
				bytes += int(p.size)
			}
			next++
		}
	}
	return chosen, next, nil
}

// records returns a copy of the records at places, which are in order.
func (s *Store) records(segments []*segment, places []queuePlace) ([]byte, error) {
	bytes := 0
	for _, p := range places {
		bytes += int(p.size)
	}
	out := make([]byte, 0, bytes)
	for i := 0; i < len(places); {
		g := segmentOf(segments, places[i].pos)
		if g == nil {
			return nil, errGone
		}
		j := i + 1
		for j < len(places) && segmentOf(segments, places[j].pos) == g {
			j++
		}
		err := g.read(s.files, func(r *reader) (err error) {
			if r.mapped != nil {
				out, err = r.copy(out, places[i:j])
			} else {
				out, err = r.spans(out, places[i:j])
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		i = j
	}
	return out, nil
}

// copy appends records from the map.
func (r *reader) copy(out []byte, places []queuePlace) ([]byte, error) {
	for _, p := range places {
		n := len(out)
		out = out[:n+int(p.size)]
		if err := r.at(out[n:], p.pos); err != nil {
			return out, err
		}
		if crc32.Checksum(out[n:], castagnoli) != p.crc {
			return out, r.bad(p)
		}
	}
	return out, nil
}

// spans appends records from the file; neighbours are read at once.
func (r *reader) spans(out []byte, places []queuePlace) ([]byte, error) {
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
			var err error
			if out, err = r.copy(out, places[i:j]); err != nil {
				return out, err
			}
			i = j
			continue
		}
		if cap(*buf) < int(end-start) {
			*buf = make([]byte, maxSpan)
		}
		b := (*buf)[:end-start]
		if err := r.at(b, start); err != nil {
			return out, err
		}
		for _, p := range places[i:j] {
			rec := b[p.pos-start:][:p.size]
			if crc32.Checksum(rec, castagnoli) != p.crc {
				return out, r.bad(p)
			}
			out = append(out, rec...)
		}
		i = j
	}
	return out, nil
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
