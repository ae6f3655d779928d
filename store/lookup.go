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

// Record returns a copy of the record at p; ErrNotFound if none starts there that
// its queue still has, ErrDamaged if it is not what was stored.
func (s *Store) Record(p Position) (message.Record, error) {
	s.mu.RLock()
	segments, end := s.segments, s.last.Position
	s.mu.RUnlock()
	g := segmentOf(segments, p)
	if g == nil || p < g.start+segmentHead+frameHead || p+message.MinRecord > end {
		return nil, s.gone(ErrNotFound)
	}
	var head [4]byte
	err := g.read(s.files, func(r reader) error { return r.at(head[:], p) })
	if errors.Is(err, errGone) {
		return nil, s.gone(ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	size := be.Uint32(head[:])
	if size < message.MinRecord || size > MaxEntry || p+Position(size) > end {
		return nil, ErrNotFound
	}
	return s.record(p, size)
}

// record reads the record of that size at p. It is one only if its queue says so:
// a message's body may hold what looks like a record.
func (s *Store) record(p Position, size uint32) (message.Record, error) {
	s.mu.RLock()
	g := segmentOf(s.segments, p)
	s.mu.RUnlock()
	if g == nil {
		return nil, s.gone(ErrNotFound)
	}
	b := make([]byte, size)
	err := g.read(s.files, func(r reader) error { return r.at(b, p) })
	if errors.Is(err, errGone) {
		return nil, s.gone(ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	r, err := message.ParseRecord(b)
	if err != nil || len(r) != len(b) || r.PhysicalOffset() != message.PhysicalOffset(s.o.Number, int64(p)) {
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
	case errors.Is(err, errGone) || err == nil && at.pos != p:
		return nil, s.gone(ErrNotFound)
	case err != nil:
		return nil, err
	case at.crc != crc32.Checksum(b, castagnoli):
		return nil, fmt.Errorf("%w: %s at %d: a record of %d bytes fails its checksum", ErrDamaged, g.name, p-g.start, size)
	}
	return r, nil
}

// Lookup returns records of topic with key among their keys or as their unique
// key, stored in [begin, end] (Unix ms; end 0: no end), newest first, at most max,
// among the 4096 newest with the key. Records that are damaged are left out.
func (s *Store) Lookup(topic, key string, max int, begin, end int64) ([]message.Record, error) {
	hash := keyHash([]byte(topic), []byte(key))
	s.mu.RLock()
	segments := s.segments
	s.mu.RUnlock()
	var found []message.Record
	looked := 0
	for _, g := range slices.Backward(segments) {
		at, err := s.positions(g, hash)
		if err != nil {
			return nil, fmt.Errorf("look up a key of %s: %w", topic, err)
		}
		for _, p := range at {
			if looked++; looked > maxLooked || len(found) >= max {
				return found, nil
			}
			r, err := s.Record(p)
			if errors.Is(err, ErrClosed) {
				return nil, err
			}
			if err == nil && r.Topic() == topic && hasKey(r, key) && r.StoreTimestamp() >= begin && (end <= 0 || r.StoreTimestamp() <= end) {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// positions returns where records of g with a key of that hash are, newest first.
// A damaged index is built again.
func (s *Store) positions(g *segment, hash uint64) ([]Position, error) {
	for try := 0; ; try++ {
		s.mu.RLock()
		k := g.keys
		loaded, runs := k.loaded, k.runs
		var all []Position
		for _, p := range k.mem {
			if p.hash == hash {
				all = append(all, p.pos)
			}
		}
		s.mu.RUnlock()
		var err error
		if loaded {
			var more []Position
			if more, err = s.find(k, runs, hash, maxLooked); err == nil {
				all = append(all, more...)
				slices.Sort(all)
				slices.Reverse(all)
				return slices.Compact(all), nil
			}
		}
		if try > 1 {
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
	s.sync.Lock()
	defer s.sync.Unlock()
	s.mu.Lock()
	k, end := g.keys, g.end
	stale := k.loaded && damage == nil || !slices.Contains(s.segments, g)
	if damage != nil {
		k.runs, k.size, k.through = nil, 0, g.start
		s.pending -= len(k.mem) * keyEntry
		k.mem = nil
	}
	s.mu.Unlock()
	if stale {
		return nil
	}
	if damage != nil {
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

func hasKey(r message.Record, key string) bool {
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
