package store

import (
	"fmt"
	"hash/crc32"

	"raftmq/internal/vfs"
)

// A floor's file:
//
//	0  4  magic "rqFL"          8  4  CRC-32C of the bytes that Roll was given
//	4  4  version 1            12  4  CRC-32C of the above
//	                           16     the bytes
const (
	floorMagic = "rqFL"
	floorHead  = 16
	// maxFloor is the largest floor that is read: a partition's state is smaller.
	maxFloor = 64 << 20
)

func encodeFloor(b []byte) []byte {
	out := append(make([]byte, 0, floorHead+len(b)), floorMagic...)
	out = be.AppendUint32(out, formatVersion)
	out = be.AppendUint32(out, crc32.Checksum(b, castagnoli))
	out = be.AppendUint32(out, crc32.Checksum(out, castagnoli))
	return append(out, b...)
}

// writeFloor keeps b beside the segment at p. Sync makes it durable.
func (s *Store) writeFloor(p Position, b []byte) error {
	name := segmentName(s.dir, p, "floor")
	f, err := s.createFile(name, encodeFloor(b))
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
	if b, err = s.readFloor(m.Position); err != nil {
		if s.First() != m { // trimmed meanwhile
			return s.Floor()
		}
		return nil, Mark{}, s.tell(err)
	}
	return b, m, nil
}

func (s *Store) readFloor(p Position) ([]byte, error) {
	name := segmentName(s.dir, p, "floor")
	b, err := vfs.ReadFile(s.disk, name, maxFloor)
	if err != nil {
		return nil, unread(name, 0, err)
	}
	return decodeFloor(name, b)
}

func decodeFloor(name string, b []byte) ([]byte, error) {
	if err := checkFormat(name, b, floorMagic, 12); err != nil {
		return nil, err
	}
	if be.Uint32(b[8:]) != crc32.Checksum(b[floorHead:], castagnoli) {
		return nil, damaged(name, floorHead, "the bytes fail their checksum")
	}
	return b[floorHead:], nil
}

// KeepFloor keeps b beside the oldest segment, as Roll does; after Reset.
func (s *Store) KeepFloor(b []byte) error { return s.writeFloor(s.First().Position, b) }
