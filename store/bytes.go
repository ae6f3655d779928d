package store

import (
	"errors"
	"hash/crc32"
)

// Bytes returns a copy of size bytes of the log from p on, which were stored in one
// entry and have that CRC-32C: ErrNotFound if they were trimmed or are not there yet,
// ErrDamaged if they are not what was stored.
func (s *Store) Bytes(p Position, size int, crc uint32) ([]byte, error) {
	s.mu.RLock()
	g, end := segmentOf(s.segments, p), Position(0)
	if g != nil {
		end = g.end
	}
	s.mu.RUnlock()
	if g == nil || p < g.start+segmentHead || size < 0 || p+Position(size) > end {
		return nil, s.gone(ErrNotFound)
	}
	b := make([]byte, size)
	err := g.read(s.files, func(r *reader) error {
		if err := r.at(b, p); err != nil {
			return err
		}
		if crc32.Checksum(b, castagnoli) != crc {
			return damaged(g.name, int64(p-g.start), "%d bytes fail their checksum", size)
		}
		return nil
	})
	if errors.Is(err, errGone) {
		return nil, s.gone(ErrNotFound)
	}
	return b, s.tell(err)
}
