package store

import (
	"errors"
	"fmt"
	"hash/crc32"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// A floor's file:
//
//	offset  size  field
//	     0     4  magic "rqFL"
//	     4     4  version 1
//	     8     4  CRC-32C of the bytes that Roll was given
//	    12     4  length n of the store's own state
//	    16     4  CRC-32C of the above
//	    20     n  the state, which has a checksum of its own
//	  20+n        the bytes
const (
	floorMagic = "rqFL"
	floorHead  = 20
	// maxFloor is the largest floor that is read: a partition's state is smaller.
	maxFloor = 64 << 20
)

func encodeFloor(state, b []byte) []byte {
	out := append(make([]byte, 0, floorHead+len(state)+len(b)), floorMagic...)
	out = be.AppendUint32(out, formatVersion)
	out = be.AppendUint32(out, crc32.Checksum(b, castagnoli))
	out = be.AppendUint32(out, uint32(len(state)))
	out = be.AppendUint32(out, crc32.Checksum(out, castagnoli))
	return append(append(out, state...), b...)
}

// decodeFloor returns the store's state, and the bytes.
func decodeFloor(name string, file []byte) (st state, b []byte, err error) {
	if err := checkFormat(name, file, floorMagic, 16); err != nil {
		return st, nil, err
	}
	crc, n := be.Uint32(file[8:]), int64(be.Uint32(file[12:]))
	if n > int64(len(file)-floorHead) {
		return st, nil, damaged(name, 12, "a state of %d bytes in a file of %d", n, len(file))
	}
	switch st, err = decodeState(file[floorHead:][:n]); {
	case errors.Is(err, ErrVersion):
		return st, nil, fmt.Errorf("read %s: %w", name, err)
	case err != nil:
		return st, nil, damaged(name, floorHead, "%w", err)
	}
	if b = file[floorHead+n:]; crc != crc32.Checksum(b, castagnoli) {
		return st, nil, damaged(name, floorHead+n, "the bytes fail their checksum")
	}
	return st, b, nil
}

// writeFloor keeps the store's state and b beside the segment at p. Sync makes them
// durable.
func (s *Store) writeFloor(p Position, state, b []byte) error {
	name := segmentName(s.dir, p, "floor")
	f, err := s.createFile(name, encodeFloor(state, b))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.files.put(f)
	return nil
}

// Floor returns what Roll kept for the oldest retained segment; nothing, and a
// zero mark, while the log goes back to its start.
func (s *Store) Floor() (b []byte, m Mark, err error) {
	m = s.First()
	if m.Index == 0 {
		return nil, Mark{}, nil
	}
	if _, b, err = s.readFloor(m.Position); err != nil {
		if s.First() != m { // trimmed meanwhile
			return s.Floor()
		}
		return nil, Mark{}, s.tell(err)
	}
	return b, m, nil
}

func (s *Store) readFloor(p Position) (st state, b []byte, err error) {
	name := segmentName(s.dir, p, "floor")
	file, err := vfs.ReadFile(s.disk, name, maxFloor)
	if err != nil {
		return st, nil, unread(name, 0, err)
	}
	return decodeFloor(name, file)
}

// starts returns where the queues start in the segment at p: that is, where they
// ended before it. Those that are not in it started later, at 0.
func (s *Store) starts(p Position) (map[message.Queue]message.Offset, error) {
	st, _, err := s.readFloor(p)
	if err != nil {
		return nil, err
	}
	starts := make(map[message.Queue]message.Offset, len(st.bounds))
	for _, b := range st.bounds {
		starts[b.queue] = b.max
	}
	return starts, nil
}
