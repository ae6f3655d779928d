package store

import (
	"fmt"
	"hash/crc32"
	"slices"

	"raftmq/message"
)

// maxPending is how many bytes of queue entries and keys may wait in memory; the
// appender writes them itself then. The background begins at a sixteenth.
const maxPending = 16 << 20

// Entry is one Raft entry, of any type.
type Entry struct {
	Index, Term uint64
	Type        uint8 // raft.LogType
	AppendedAt  int64 // Unix ns
	Data        []byte
}

// Place says where a record lies in an entry's data, and to which queue it goes.
type Place struct {
	Queue       message.Queue
	Start, Size int
	Tag         int32
}

// Append stores e as the next frame and gives the records at places the next
// offsets of their queues; the copy in the log is stamped with them, with their
// physical offsets and with storeMs (Unix ms), which never goes back. Readers see
// it on return. It does not sync. first has the offset of each place. An error
// means that nothing was appended; after ErrNoSpace of the disk it may be tried
// again.
//
// e.Index must be Last().Index+1, and NeedsRoll be false.
func (s *Store) Append(e Entry, storeMs int64, places []Place) (first []message.Offset, err error) {
	return s.AppendTimers(e, storeMs, places, nil)
}

// AppendTimers is Append of an entry that also does something to timers. Their
// records are stamped with the offset -1.
func (s *Store) AppendTimers(e Entry, storeMs int64, places []Place, ops []TimerOp) (first []message.Offset, err error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	if s.behind > maxPending {
		if err := s.flushNow(); err != nil {
			return nil, fmt.Errorf("append entry %d: %w", e.Index, err)
		}
	}
	g := s.active()
	if e.Index != s.last.Index+1 {
		panic(fmt.Sprintf("store: entry %d after %d", e.Index, s.last.Index))
	}
	pos := g.end
	at, size := int64(pos-g.start), frameSize(len(e.Data))
	if len(e.Data) > MaxEntry || at+size > s.o.SegmentBytes+overSize {
		return nil, fmt.Errorf("store: entry %d of %d bytes at %d of a segment of %d", e.Index, len(e.Data), at, s.o.SegmentBytes)
	}
	if err := g.ensure(at + size); err != nil {
		return nil, s.local(fmt.Errorf("append entry %d: %w", e.Index, err))
	}
	storeMs = max(storeMs, s.lastMs)
	s.turn++
	s.encoded, s.keyed, s.touched = s.encoded[:0], s.keyed[:0], s.touched[:0]
	first = make([]message.Offset, len(places))
	frame := takeFrame(int(size))
	defer frame.giveBack()
	b := frame.b
	copy(b[frameHead:], e.Data)
	clear(b[frameHead+len(e.Data):])
	data := b[frameHead : frameHead+len(e.Data)]
	var q *queue
	for i, p := range places {
		if q == nil || q.name != p.Queue {
			q = s.turnOf(p.Queue)
		}
		first[i] = q.next
		q.next++
		where := pos + frameHead + Position(p.Start)
		r := message.Record(data[p.Start : p.Start+p.Size])
		message.Stamp(r, first[i], message.PhysicalOffset(s.o.Number, int64(where)), storeMs)
		s.encoded = appendPlace(s.encoded, first[i], queuePlace{pos: where, time: storeMs, size: uint32(p.Size), tag: p.Tag, crc: crc32.Checksum(r, castagnoli)})
		s.keyed = appendKeys(s.keyed, r, where)
	}
	timers := s.stampTimers(ops, data, pos+frameHead, storeMs)
	frameCRC := putFrame(b, &e)
	if _, err := g.file.WriteAt(b, at); err != nil {
		return nil, s.fail(fmt.Errorf("append entry %d to %s at %d: %w", e.Index, g.name, at, err))
	}
	s.behind = s.publish(g, &e, size, storeMs, frameCRC, places, timers)
	s.wake(s.touched)
	used := at + size
	if s.behind > maxPending/16 || at>>20 != used>>20 || g.low(used) || s.spareDue(used) {
		s.kick()
	}
	return first, nil
}

// Reserve takes the room on disk that Append of an entry with so much data needs:
// Append does not meet vfs.ErrNoSpace then. After that error nothing was done, and
// Reserve may be tried again.
func (s *Store) Reserve(dataBytes int) error {
	if err := s.failed(); err != nil {
		return err
	}
	if s.behind > maxPending {
		if err := s.flushNow(); err != nil {
			return fmt.Errorf("reserve room: %w", err)
		}
		s.behind = 0
	}
	g := s.active()
	if err := g.ensure(min(int64(g.end-g.start)+frameSize(dataBytes), s.o.SegmentBytes+overSize)); err != nil {
		return s.local(err)
	}
	return nil
}

// turnOf returns the queue, ready to give offsets to the entry being appended.
func (s *Store) turnOf(name message.Queue) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{name: name}
		s.mu.Lock()
		s.queues[name] = q
		s.mu.Unlock()
	}
	if q.turn != s.turn {
		q.turn, q.next = s.turn, q.max
		s.touched = append(s.touched, q)
	}
	return q
}

// publish lets readers see the frame that was written at the active segment's
// end.
func (s *Store) publish(g *segment, e *Entry, size, storeMs int64, frameCRC uint32, places []Place, timers []Timer) (pending int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame = g.end
	if n := len(g.sparse); n == 0 || g.end-g.sparse[n-1].pos >= sparseBytes {
		g.sparse = append(g.sparse, place{e.Index, g.end})
	}
	g.end += Position(size)
	s.last = Mark{e.Index, e.Term, g.end}
	s.lastMs = storeMs
	s.digest = mix(s.digest, uint64(frameCRC)<<32^e.Index)
	if g.keys.lost == nil {
		g.keys.mem = append(g.keys.mem, s.keyed...)
		s.pending += len(s.keyed) * keyEntry
	}
	for i := 0; i < len(places); {
		j := i + 1
		for j < len(places) && places[j].Queue == places[i].Queue {
			j++
		}
		q := s.queues[places[i].Queue]
		q.tail = append(q.tail, s.encoded[i*queueEntry:j*queueEntry]...)
		q.max += message.Offset(j - i)
		i = j
	}
	for _, t := range timers {
		s.timers.added = min(s.timers.added, t.DueMs)
	}
	s.timers.mem = append(s.timers.mem, timers...)
	s.pending += len(s.encoded) + len(timers)*timerEntry
	return s.pending
}

// mix chains the digest; the fold lets high bits reach low ones.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// NeedsRoll reports whether an entry with that much data belongs into the next
// segment: Roll first. It depends on what was appended only, so that replicas
// roll alike.
func (s *Store) NeedsRoll(dataBytes int) bool {
	g := s.active()
	used := int64(g.end - g.start)
	return used > segmentHead && used+frameSize(dataBytes) > s.o.SegmentBytes
}

// Roll seals the active segment and starts the next. with returns what is kept
// beside it as its floor, given the store's own state. After ErrNoSpace of the disk
// nothing was done.
func (s *Store) Roll(with func(storeState []byte) []byte) error {
	if err := s.failed(); err != nil {
		return err
	}
	state := s.capture()
	if err := s.writeFloor(s.last.Position, state, with(slices.Clone(state))); err != nil {
		return s.local(fmt.Errorf("roll: %w", err))
	}
	g, err := s.createSegment(origin{s.last, s.frame, s.lastMs})
	if err != nil {
		return s.local(fmt.Errorf("roll: %w", err))
	}
	s.mu.Lock()
	s.segments = append(s.segments, g)
	s.last.Position, s.frame = g.end, 0
	s.names = true
	s.mu.Unlock()
	s.kick()
	return nil
}

// kick lets the background look around.
func (s *Store) kick() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// spareDue reports whether the next segment should be made.
func (s *Store) spareDue(used int64) bool { return used > s.o.SegmentBytes-s.o.SegmentBytes/4 }
