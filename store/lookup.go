package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"raftmq/message"
)

// maxLooked is how many records one Lookup examines.
const maxLooked = 4096

// ErrMany: more records have the key than one search examines, and older ones were not.
var ErrMany = errors.New("store: more records have the key than are looked at")

// Record returns a copy of the record at p; ErrNotFound if none starts there that
// its queue still has, ErrDamaged if it, or the entry around p, is not what was
// stored.
func (s *Store) Record(p Position) (message.Record, error) {
	r, err := s.record(p)
	if errors.Is(err, errGone) {
		err = s.gone(ErrNotFound)
	}
	return r, s.tell(err)
}

// record is Record that says errGone of what was trimmed.
func (s *Store) record(p Position) (message.Record, error) {
	s.mu.RLock()
	g, end := segmentOf(s.segments, p), Position(0)
	if g != nil {
		end = g.end
	}
	s.mu.RUnlock()
	if g == nil {
		return nil, errGone
	}
	if p < g.start+segmentHead+frameHead || p+message.MinRecord > end {
		return nil, ErrNotFound
	}
	r, err := s.recordOf(g, p, end)
	if errors.Is(err, ErrNotFound) {
		err = s.notThere(g, p, end)
	}
	return r, err
}

// recordOf reads the record at p. It is one only if its queue says so: a
// message's body may hold what looks like a record.
func (s *Store) recordOf(g *segment, p, end Position) (message.Record, error) {
	var b []byte
	err := g.read(s.files, func(r *reader) error {
		var head [4]byte
		if err := r.at(head[:], p); err != nil {
			return err
		}
		size := be.Uint32(head[:])
		if size < message.MinRecord || size > MaxEntry || p+Position(size) > end {
			return ErrNotFound
		}
		b = make([]byte, size)
		return r.at(b, p)
	})
	if err != nil {
		return nil, err
	}
	r, err := message.ParseRecord(b)
	if err != nil || len(r) != len(b) || r.PhysicalOffset() != message.PhysicalOffset(s.o.Number, int64(p)) || r.QueueOffset() < 0 {
		return nil, ErrNotFound
	}
	s.mu.RLock()
	q := s.queues[message.Queue{Topic: r.Topic(), ID: r.QueueID()}]
	s.mu.RUnlock()
	if q == nil {
		return nil, ErrNotFound
	}
	at, err := s.place(q, r.QueueOffset())
	switch {
	case errors.Is(err, errGone) || err == nil && (at.pos != p || int(at.size) != len(b)):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	case at.crc != crc32.Checksum(b, castagnoli):
		return nil, damaged(g.name, int64(p-g.start), "a record of %d bytes fails its checksum", len(b))
	}
	return r, nil
}

// notThere is ErrNotFound if the frame around p is as it was written, and its
// damage if not: then nothing is known of what was at p.
func (s *Store) notThere(g *segment, p, end Position) error {
	s.mu.RLock()
	at := g.nearest(func(x place) bool { return x.pos <= p })
	s.mu.RUnlock()
	err := g.read(s.files, func(r *reader) error {
		at, _, err := r.hop(at, end, func(next place) bool { return next.pos > p })
		if err != nil {
			return err
		}
		_, err = r.entry(at, end)
		return err
	})
	if err == nil {
		err = ErrNotFound
	}
	return err
}

// Lookup returns records of topic with key among their keys or as their unique
// key, stored in [begin, end] (Unix ms; end 0: no end), newest first, at most max,
// among the 4096 newest with the key, those in segments that are wholly of another time aside. ErrDamaged if one that might be among them
// cannot be read.
func (s *Store) Lookup(topic, key string, max int, begin, end int64) ([]message.Record, error) {
	var found []message.Record
	if max <= 0 {
		return nil, nil
	}
	err := s.Find(topic, key, begin, end, func(r message.Record) bool {
		found = append(found, r)
		return len(found) < max
	})
	if err != nil && !errors.Is(err, ErrMany) {
		return nil, err
	}
	return found, nil
}

// Find is Lookup that gives the records to visit, one after the other, until that returns
// false. ErrMany: it did not, and there are others.
func (s *Store) Find(topic, key string, begin, end int64, visit func(message.Record) bool) error {
	hash := keyHash([]byte(topic), []byte(key))
	s.mu.RLock()
	segments := s.segments
	s.mu.RUnlock()
	looked := 0
	for n, g := range slices.Backward(segments) {
		if n+1 < len(segments) && segments[n+1].lastMs < begin {
			return nil // this one, and those before it, end before
		}
		if end > 0 && g.lastMs > end {
			continue // it begins later
		}
		at, err := s.positions(g, hash)
		for i := 0; err == nil && i < len(at); i++ {
			if looked++; looked > maxLooked {
				return fmt.Errorf("%w: the newest %d", ErrMany, maxLooked)
			}
			var r message.Record
			switch r, err = s.record(at[i]); {
			case err == nil:
				if r.Topic() == topic && HasKey(r, key) && r.StoreTimestamp() >= begin && (end <= 0 || r.StoreTimestamp() <= end) && !visit(r) {
					return nil
				}
			case errors.Is(err, errGone), errors.Is(err, ErrNotFound):
				err = s.gone(nil)
			}
		}
		if errors.Is(err, errGone) {
			err = s.gone(nil)
		}
		if err != nil {
			return s.tell(fmt.Errorf("look up a key of %s: %w", topic, err))
		}
	}
	return nil
}

// positions returns where records of g with a key of that hash are, newest first.
// A damaged index is built again. errGone if g was trimmed.
func (s *Store) positions(g *segment, hash uint64) ([]Position, error) {
	for try := 0; ; try++ {
		s.mu.RLock()
		k := g.keys
		loaded, runs, lost, trimmed := k.loaded, k.runs, k.lost, g.trimmed
		var all []Position
		for _, p := range k.mem {
			if p.hash == hash {
				all = append(all, p.pos)
			}
		}
		s.mu.RUnlock()
		if trimmed { // and its file, perhaps, with it
			return nil, errGone
		}
		err := lost
		if loaded && lost == nil {
			var more []Position
			if more, err = s.find(k, runs, hash, maxLooked+1); err == nil { // one more says that there are more
				all = append(all, more...)
				slices.Sort(all)
				slices.Reverse(all)
				return slices.Compact(all), nil
			}
		}
		if try > 1 || lost != nil || err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		if err = s.reindex(g, err); err != nil {
			return nil, err
		}
	}
}

// reindex loads the keys of a sealed segment, or builds them again if damage says
// that they are not what was written.
func (s *Store) reindex(g *segment, damage error) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	k, end := g.keys, g.end
	stale := g.trimmed || k.loaded && (damage == nil || len(k.runs) == 0) // built meanwhile
	if !stale {                                                           // other lookups wait
		k.loaded, k.runs, k.size, k.through = false, nil, 0, g.start
		s.pending -= len(k.mem) * keyEntry
		k.mem = nil
	}
	s.mu.Unlock()
	if stale {
		return nil
	}
	if damage != nil {
		_ = s.tell(damage)
		s.log.Warn("build the index of keys again", "file", k.name, "error", damage)
	} else if err := s.loadKeys(g, end); err != nil {
		return err
	}
	// Beside the appender, who may add keys at or above end meanwhile.
	if err := s.rebuildKeys(g, end); err != nil {
		return err
	}
	s.kick()
	return nil
}

// EntryAround returns index and term of the entry that a position lies in: ErrNotFound
// outside of what is retained, ErrDamaged if its frame cannot be read.
func (s *Store) EntryAround(p Position) (index, term uint64, err error) {
	err = s.around(p, func(r *reader, at place, _ Position) error {
		var head [frameHead]byte
		if err := r.at(head[:], at.pos); err != nil {
			return err
		}
		f := decodeFrame(head[:])
		index, term = f.entry.Index, f.entry.Term
		return nil
	})
	return index, term, err
}

// EntryAt returns the entry in whose data a position lies, like Entry, and where that
// begins.
func (s *Store) EntryAt(p Position) (e Entry, data Position, err error) {
	err = s.around(p, func(r *reader, at place, end Position) (err error) {
		data = at.pos + frameHead
		e, err = r.entry(at, end)
		return err
	})
	if err == nil && (p < data || p >= data+Position(len(e.Data))) {
		err = ErrNotFound
	}
	if err != nil {
		return Entry{}, 0, err
	}
	return e, data, nil
}

// around has read look at the frame that a position lies in; end is its segment's.
func (s *Store) around(p Position, read func(r *reader, at place, end Position) error) error {
	s.mu.RLock()
	g, end := segmentOf(s.segments, p), Position(0)
	if g != nil {
		end = g.end
	}
	if g == nil || p < g.start+segmentHead || p >= end {
		s.mu.RUnlock()
		return s.gone(ErrNotFound)
	}
	at := g.nearest(func(x place) bool { return x.pos <= p })
	s.mu.RUnlock()
	var passed []place
	err := g.read(s.files, func(r *reader) (err error) {
		if at, passed, err = r.hop(at, end, func(next place) bool { return next.pos > p }); err != nil {
			return err
		}
		return read(r, at, end)
	})
	if errors.Is(err, errGone) {
		err = s.gone(ErrNotFound)
	}
	if err == nil && len(passed) > 0 {
		s.mu.Lock()
		g.remember(passed)
		s.mu.Unlock()
	}
	return s.tell(err)
}

// HasKey reports whether key is the record's unique key, or among its keys.
func HasKey(r message.Record, key string) bool {
	if u, ok := r.Property(message.PropUniqueKey); ok && u == key {
		return true
	}
	words, _ := r.Property(message.PropKeys)
	for word := range strings.SplitSeq(words, " ") {
		if word != "" && word == key {
			return true
		}
	}
	return false
}
