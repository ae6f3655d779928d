package store

import (
	"errors"
	"fmt"

	"raftmq/message"
)

// QueueEntry says where a message of a queue lies, and when it was stored.
type QueueEntry struct {
	Position Position
	Size     int   // of the record
	TagHash  int32 // 0: no tag
	StoredMs int64 // Unix
}

// maxEntries bounds what Entries returns.
const maxEntries = 4096

// Entries returns entries of q from offset from on, n and 4096 at most, without reading the
// records. ErrOffset if from is not in the queue.
func (s *Store) Entries(q message.Queue, from message.Offset, n int) ([]QueueEntry, error) {
	s.mu.RLock()
	x := s.queues[q]
	s.mu.RUnlock()
	if x == nil || n <= 0 {
		return nil, s.gone(ErrOffset)
	}
	if lo, hi := s.bounds(x); from < lo || from >= hi {
		return nil, s.gone(ErrOffset)
	}
	places, err := s.places(x, from, min(n, maxEntries))
	if errors.Is(err, errGone) {
		return nil, s.gone(ErrOffset)
	}
	if err != nil {
		return nil, s.tell(fmt.Errorf("read entries of %s %d at %d: %w", q.Topic, q.ID, from, err))
	}
	es := make([]QueueEntry, len(places))
	for i, p := range places {
		es[i] = QueueEntry{p.pos, int(p.size), p.tag, p.time}
	}
	return es, nil
}
