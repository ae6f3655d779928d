package store

import (
	"fmt"
	"hash/crc32"

	"raftmq/message"
)

// state is what Open needs to know. Big-endian:
//
//	 0   1  version 2
//	 1  24  mark before the oldest retained entry: index, term, position
//	25  24  mark of the last entry
//	49   8  position of the last entry's frame; 0: none in the last segment
//	57   8  last store time, Unix ms
//	65   8  digest
//	73   4  number of queues, then each, sorted by topic and id:
//	        topic length (1), topic, id (4), min (8), max (8)
//	        then CRC-32C of all that (4)
type state struct {
	first, mark Mark
	frame       Position
	lastMs      int64
	digest      uint64
	bounds      []bound
}

type bound struct {
	queue    message.Queue
	min, max message.Offset
}

// above is the state of a store that begins where s ends.
func (s *state) above() *state {
	a := &state{first: s.mark, mark: s.mark, lastMs: s.lastMs, digest: s.digest}
	a.mark.Position += segmentHead
	for _, b := range s.bounds {
		a.bounds = append(a.bounds, bound{b.queue, b.max, b.max})
	}
	return a
}

const (
	stateVersion = 2
	stateHead    = 77
)

func (s *state) encode() []byte {
	size := stateHead + 4
	for _, q := range s.bounds {
		size += 21 + len(q.queue.Topic)
	}
	b := append(make([]byte, 0, size), stateVersion)
	for _, m := range []Mark{s.first, s.mark} {
		b = be.AppendUint64(b, m.Index)
		b = be.AppendUint64(b, m.Term)
		b = be.AppendUint64(b, uint64(m.Position))
	}
	b = be.AppendUint64(b, uint64(s.frame))
	b = be.AppendUint64(b, uint64(s.lastMs))
	b = be.AppendUint64(b, s.digest)
	b = be.AppendUint32(b, uint32(len(s.bounds)))
	for _, q := range s.bounds {
		b = append(b, byte(len(q.queue.Topic)))
		b = append(b, q.queue.Topic...)
		b = be.AppendUint32(b, uint32(q.queue.ID))
		b = be.AppendUint64(b, uint64(q.min))
		b = be.AppendUint64(b, uint64(q.max))
	}
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeState of nothing is an empty store's.
func decodeState(b []byte) (state, error) {
	var s state
	if len(b) == 0 {
		return s, nil
	}
	if n := len(b) - 4; b[0] != stateVersion && // and did not decay: see checkFormat
		(n < stateHead || crc32.Update(crc32.Checksum([]byte{stateVersion}, castagnoli), castagnoli, b[1:n]) != be.Uint32(b[n:])) {
		return s, fmt.Errorf("%w: state version %d, this program knows %d", ErrVersion, b[0], stateVersion)
	}
	if len(b) < stateHead+4 {
		return s, fmt.Errorf("%w: state of %d bytes", ErrDamaged, len(b))
	}
	sum := be.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if crc32.Checksum(b, castagnoli) != sum {
		return s, fmt.Errorf("%w: the state fails its checksum", ErrDamaged)
	}
	b = b[1:]
	for _, m := range []*Mark{&s.first, &s.mark} {
		m.Index, m.Term, m.Position = be.Uint64(b), be.Uint64(b[8:]), Position(be.Uint64(b[16:]))
		b = b[24:]
	}
	s.frame, s.lastMs, s.digest = Position(be.Uint64(b)), int64(be.Uint64(b[8:])), be.Uint64(b[16:])
	n := be.Uint32(b[24:])
	b = b[28:]
	for range n {
		if len(b) < 1 || len(b) < 1+int(b[0])+20 {
			return s, fmt.Errorf("%w: state ends in a queue", ErrDamaged)
		}
		t := int(b[0])
		q := bound{
			queue: message.Queue{Topic: string(b[1 : 1+t]), ID: int32(be.Uint32(b[1+t:]))},
			min:   message.Offset(be.Uint64(b[5+t:])), max: message.Offset(be.Uint64(b[13+t:])),
		}
		if message.CheckTopic(q.queue.Topic) != nil || q.min < 0 || q.max < q.min {
			return s, fmt.Errorf("%w: state of queue %q %d does not add up", ErrDamaged, q.queue.Topic, q.queue.ID)
		}
		s.bounds = append(s.bounds, q)
		b = b[21+t:]
	}
	if len(b) != 0 || s.first.Position < 0 || s.mark.Position < s.first.Position || s.mark.Index < s.first.Index || s.frame > s.mark.Position || s.frame < 0 {
		return s, fmt.Errorf("%w: state does not add up", ErrDamaged)
	}
	return s, nil
}

// empty reports whether the state retains no entry.
func (s *state) empty() bool { return s.mark.Index == s.first.Index }
