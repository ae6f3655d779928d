package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sort"

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
	maxExamined = 8192
	// spanSlack is how many bytes of other queues are read along, so that records
	// that lie close are read at once.
	spanSlack = 256 << 10
)

// Bounds returns the first retained offset of q and the next to be written.
func (s *Store) Bounds(q message.Queue) (min, max message.Offset) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.queues[q]; x != nil {
		return x.min, x.max
	}
	return 0, 0
}

// Queues returns every queue that was ever written, sorted.
func (s *Store) Queues() []message.Queue {
	s.mu.RLock()
	qs := make([]message.Queue, 0, len(s.queues))
	for q, x := range s.queues {
		if x.max > 0 { // else somebody waits for its first message
			qs = append(qs, q)
		}
	}
	s.mu.RUnlock()
	sort.Slice(qs, func(i, j int) bool {
		return qs[i].Topic < qs[j].Topic || qs[i].Topic == qs[j].Topic && qs[i].ID < qs[j].ID
	})
	return qs
}

// Appended returns a channel that closes when q next grows. Take it before Read:
// an append between the two then closes it, so that no wake-up is lost.
func (s *Store) Appended(q message.Queue) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.queues[q]
	if x == nil {
		x = &queue{name: q}
		s.queues[q] = x
	}
	if x.wake == nil {
		x.wake = make(chan struct{})
	}
	return x.wake
}

// placesLocked returns the entries [from, from+n) of q.
func (s *Store) placesLocked(q *queue, from message.Offset, n int) ([]queuePlace, error) {
	b := make([]byte, n*queueEntry)
	if from < q.written {
		k := min(n, int(q.written-from))
		if _, err := q.file.ReadAt(b[:k*queueEntry], q.at(from)); err != nil {
			return nil, fmt.Errorf("%w: read %s: %w", ErrDamaged, q.file.Name(), err)
		}
		if k < n {
			copy(b[k*queueEntry:], q.tail)
		}
	} else {
		copy(b, q.tail[(from-q.written)*queueEntry:])
	}
	ps := make([]queuePlace, n)
	for i := range ps {
		var err error
		if ps[i], err = q.decodePlace(from+message.Offset(i), b[i*queueEntry:(i+1)*queueEntry]); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

func (s *Store) placeLocked(q *queue, off message.Offset) (queuePlace, error) {
	ps, err := s.placesLocked(q, off, 1)
	if err != nil {
		return queuePlace{}, err
	}
	return ps[0], nil
}

// Read returns whole records of q from offset from, those whose tag matches (nil:
// all): at most maxMessages of them and about maxBytes, but at least one if there
// is one within the 8192 that it examines. ErrOffset, with the bounds, if from is
// not in the queue. Records' checksums are checked. The bytes are a copy.
func (s *Store) Read(q message.Queue, from message.Offset, maxMessages, maxBytes int, match func(tag int32) bool) (Batch, error) {
	s.mu.RLock()
	x := s.queues[q]
	if x == nil {
		s.mu.RUnlock()
		return Batch{}, ErrOffset
	}
	out := Batch{Next: from, Min: x.min, Max: x.max}
	if from < x.min || from >= x.max {
		s.mu.RUnlock()
		return out, ErrOffset
	}
	n := min(maxMessages, int(x.max-from))
	if match != nil {
		n = min(maxExamined, int(x.max-from))
	}
	places, err := s.placesLocked(x, from, n)
	segments := s.segments
	s.mu.RUnlock()
	if err != nil {
		return out, err
	}
	var chosen []queuePlace
	var offsets []message.Offset
	bytes := 0
	for i, p := range places {
		if match == nil || match(p.tag) {
			if len(chosen) > 0 && (bytes+int(p.size) > maxBytes || len(chosen) == maxMessages) {
				break
			}
			chosen = append(chosen, p)
			offsets = append(offsets, from+message.Offset(i))
			bytes += int(p.size)
		}
		out.Next = from + message.Offset(i) + 1
	}
	out.Records = make([]byte, 0, bytes)
	for i := 0; i < len(chosen); {
		g := segmentOf(segments, chosen[i].pos)
		if g == nil {
			return out, fmt.Errorf("%w: queue %s %d: no segment holds %d", ErrDamaged, q.Topic, q.ID, chosen[i].pos)
		}
		j, want := i+1, int64(chosen[i].size)
		for ; j < len(chosen) && segmentOf(segments, chosen[j].pos) == g; j++ {
			span := int64(chosen[j].pos-chosen[i].pos) + int64(chosen[j].size)
			if span > want+int64(chosen[j].size)+spanSlack {
				break
			}
			want += int64(chosen[j].size)
		}
		buf := make([]byte, int64(chosen[j-1].pos-chosen[i].pos)+int64(chosen[j-1].size))
		if err := g.readAt(buf, chosen[i].pos); err != nil {
			return out, err
		}
		for k := i; k < j; k++ {
			at := chosen[k].pos - chosen[i].pos
			r := buf[at : at+Position(chosen[k].size)]
			if crc32.Checksum(r, castagnoli) != chosen[k].crc {
				return out, fmt.Errorf("%w: %s: record of %s %d offset %d at position %d fails its checksum", ErrDamaged, g.file.Name(), q.Topic, q.ID, offsets[k], chosen[k].pos)
			}
			out.Records = append(out.Records, r...)
		}
		i = j
	}
	out.Count = len(chosen)
	return out, nil
}

// segmentOf returns the segment that holds pos.
func segmentOf(segments []*segment, pos Position) *segment {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].start > pos })
	if i == 0 {
		return nil
	}
	return segments[i-1]
}

// SeekTime returns the smallest offset stored at ms or later, the end if there is
// none; with upper, the largest stored at ms or earlier, the minimum if there is
// none.
func (s *Store) SeekTime(q message.Queue, ms int64, upper bool) (message.Offset, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.queues[q]
	if x == nil {
		return 0, nil
	}
	lo, hi := x.min, x.max
	for lo < hi {
		mid := lo + (hi-lo)/2
		p, err := s.placeLocked(x, mid)
		if err != nil {
			return 0, err
		}
		if p.time >= ms && !upper || p.time > ms {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if upper && lo > x.min {
		lo--
	}
	return lo, nil
}

// Record returns a copy of the record at p; ErrNotFound if none starts there.
func (s *Store) Record(p Position) (message.Record, error) {
	s.mu.RLock()
	segments, end := s.segments, s.last.Position
	s.mu.RUnlock()
	g := segmentOf(segments, p)
	if g == nil || p+message.MinRecord > end {
		return nil, ErrNotFound
	}
	head := make([]byte, 4)
	if err := g.readAt(head, p); err != nil {
		return nil, ErrNotFound
	}
	size := Position(binary.BigEndian.Uint32(head))
	if size < message.MinRecord || size > MaxEntry || p+size > end {
		return nil, ErrNotFound
	}
	b := make([]byte, size)
	if err := g.readAt(b, p); err != nil {
		return nil, ErrNotFound
	}
	r, err := message.ParseRecord(b)
	if err != nil || r.PhysicalOffset() != message.PhysicalOffset(s.o.Number, int64(p)) {
		return nil, ErrNotFound
	}
	if err := r.Verify(); err != nil {
		return nil, fmt.Errorf("%w: %s at %d: %w", ErrDamaged, g.file.Name(), p-g.start, err)
	}
	return r, nil
}

// Lookup returns records of topic with key among their keys or as their unique
// key, stored in [begin, end] (Unix ms), newest first, at most max.
func (s *Store) Lookup(topic, key string, max int, begin, end int64) ([]message.Record, error) {
	hash := keyHash([]byte(topic), []byte(key))
	s.mu.RLock()
	segments := s.segments
	s.mu.RUnlock()
	var found []message.Record
	for i := len(segments) - 1; i >= 0 && len(found) < max; i-- {
		k := segments[i].keys
		s.mu.RLock()
		runs, mem := k.runs, append([]keyPlace(nil), k.mem...)
		s.mu.RUnlock()
		at, err := k.find(hash, runs, mem)
		if err != nil {
			return nil, err
		}
		for _, p := range at {
			r, err := s.Record(p)
			if err != nil {
				continue
			}
			if r.Topic() == topic && hasKey(r, key) && r.StoreTimestamp() >= begin && (end <= 0 || r.StoreTimestamp() <= end) && len(found) < max {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

func hasKey(r message.Record, key string) bool {
	if u, _ := r.Property(message.PropUniqueKey); u == key {
		return true
	}
	ks, _ := r.Property(message.PropKeys)
	for ks != "" {
		i := 0
		for i < len(ks) && ks[i] != ' ' {
			i++
		}
		if ks[:i] == key {
			return true
		}
		if i == len(ks) {
			break
		}
		ks = ks[i+1:]
	}
	return false
}

// Entry returns the entry at index, its data a copy as it lies in the log;
// ErrNotFound outside of what is retained, ErrDamaged if it fails its checksum.
func (s *Store) Entry(index uint64) (Entry, error) {
	s.mu.RLock()
	segments, last, cursor := s.segments, s.last, s.cursor
	i := sort.Search(len(segments), func(i int) bool { return segments[i].prev.Index >= index })
	if i == 0 || index > last.Index {
		s.mu.RUnlock()
		return Entry{}, ErrNotFound
	}
	g := segments[i-1]
	end := g.end
	at := place{g.prev.Index + 1, g.start + segmentHead}
	if n := sort.Search(len(g.sparse), func(i int) bool { return g.sparse[i].index > index }); n > 0 {
		at = g.sparse[n-1]
	}
	s.mu.RUnlock()
	if cursor.index <= index && cursor.index > at.index && cursor.pos >= g.start && cursor.pos < end {
		at = cursor
	}
	head := make([]byte, frameHead)
	for steps := 0; at.pos < end; steps++ {
		if err := g.readAt(head, at.pos); err != nil {
			return Entry{}, err
		}
		f := decodeFrame(head)
		if f.entry.Index != at.index || f.bytes > MaxEntry || at.pos+Position(frameSize(f.bytes)) > end {
			return Entry{}, fmt.Errorf("%w: %s at %d: no frame of entry %d", ErrDamaged, g.file.Name(), at.pos-g.start, at.index)
		}
		if at.index == index {
			b := make([]byte, frameHead+f.bytes)
			if err := g.readAt(b, at.pos); err != nil {
				return Entry{}, err
			}
			if crc32.Checksum(b[4:], castagnoli) != f.crc {
				return Entry{}, fmt.Errorf("%w: %s at %d: entry %d fails its checksum", ErrDamaged, g.file.Name(), at.pos-g.start, index)
			}
			f.entry.Data = b[frameHead:]
			s.mu.Lock()
			s.cursor = place{index + 1, at.pos + Position(frameSize(f.bytes))}
			s.mu.Unlock()
			return f.entry, nil
		}
		at = place{at.index + 1, at.pos + Position(frameSize(f.bytes))}
	}
	return Entry{}, fmt.Errorf("%w: %s ends before entry %d", ErrDamaged, g.file.Name(), index)
}
