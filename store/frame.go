package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
)

const (
	segmentMagic  = "rqCL"
	formatVersion = 1
	segmentHead   = 64
	frameHead     = 40
	// FrameData is how far an entry's data lies behind the end of the log before
	// it is appended.
	FrameData Position = frameHead
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	be         = binary.BigEndian
)

// checkFormat refuses a file, or a part of one, that is not of this kind and
// version. The checksum at crcAt covers what lies before it. A version that alone is not
// what the checksum says has decayed, and is no later one.
func checkFormat(name string, b []byte, magic string, crcAt int) error {
	if len(b) < crcAt+4 || string(b[:4]) != magic {
		return damaged(name, 0, "no %q at its start", magic)
	}
	if v := be.Uint32(b[4:]); v > formatVersion {
		if was := be.AppendUint32([]byte(magic), formatVersion); be.Uint32(b[crcAt:]) == crc32.Checksum(append(was, b[8:crcAt]...), castagnoli) {
			return damaged(name, 4, "format version %d is not what was written", v)
		}
		return fmt.Errorf("%w: %s has format version %d, this program knows up to %d", ErrVersion, name, v, formatVersion)
	}
	if be.Uint32(b[crcAt:]) != crc32.Checksum(b[:crcAt], castagnoli) {
		return damaged(name, 0, "the head fails its checksum")
	}
	return nil
}

// origin is what a segment's head says of the log before it.
type origin struct {
	prev   Mark     // the entry just before; Position is where the segment starts
	frame  Position // of that entry, in the segment before; 0: it has none
	lastMs int64    // the largest store time so far, Unix ms
}

func (o origin) encode() []byte {
	b := make([]byte, segmentHead)
	copy(b, segmentMagic)
	be.PutUint32(b[4:], formatVersion)
	be.PutUint64(b[8:], uint64(o.prev.Position))
	be.PutUint64(b[16:], o.prev.Index)
	be.PutUint64(b[24:], o.prev.Term)
	be.PutUint64(b[32:], uint64(o.frame))
	be.PutUint64(b[40:], uint64(o.lastMs))
	be.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

func decodeHead(name string, b []byte) (origin, error) {
	if err := checkFormat(name, b, segmentMagic, 60); err != nil {
		return origin{}, err
	}
	return origin{
		prev:   Mark{Position: Position(be.Uint64(b[8:])), Index: be.Uint64(b[16:]), Term: be.Uint64(b[24:])},
		frame:  Position(be.Uint64(b[32:])),
		lastMs: int64(be.Uint64(b[40:])),
	}, nil
}

// putFrame writes e's head into b, where the data, stamped, is already behind
// it, and returns the frame's checksum.
func putFrame(b []byte, e *Entry) uint32 {
	be.PutUint32(b[4:], uint32(len(e.Data)))
	be.PutUint64(b[8:], e.Index)
	be.PutUint64(b[16:], e.Term)
	be.PutUint64(b[24:], uint64(e.AppendedAt))
	clear(b[32:frameHead])
	b[32] = e.Type
	crc := crc32.Checksum(b[4:frameHead+len(e.Data)], castagnoli)
	be.PutUint32(b, crc)
	return crc
}

// frameInfo is a frame's head; entry has no data.
type frameInfo struct {
	crc   uint32
	bytes int // of data
	entry Entry
}

// decodeFrame reads a frame's head. That it is one is for the checksum to say.
func decodeFrame(b []byte) frameInfo {
	return frameInfo{crc: be.Uint32(b), bytes: int(be.Uint32(b[4:])), entry: Entry{
		Index: be.Uint64(b[8:]), Term: be.Uint64(b[16:]), AppendedAt: int64(be.Uint64(b[24:])), Type: b[32],
	}}
}

// size is what the frame takes in the log.
func (f frameInfo) size() Position { return Position(frameSize(f.bytes)) }

// fits reports whether it can be the frame at a place of a segment that ends at
// end.
func (f frameInfo) fits(at place, end Position) bool {
	return f.entry.Index == at.index && f.bytes <= MaxEntry && at.pos+f.size() <= end
}

// check takes the whole frame, without padding.
func (f frameInfo) check(b []byte) bool { return crc32.Checksum(b[4:], castagnoli) == f.crc }

func frameSize(data int) int64 { return (frameHead + int64(data) + 7) &^ 7 }

// frameBuffer is memory in which a frame is made before it is written. The partitions of a node share it.
type frameBuffer struct{ b []byte }

// keepFrame is the largest buffer that is kept: an entry that gathers messages is smaller.
const keepFrame = 1 << 20

var frameBuffers = sync.Pool{New: func() any { return new(frameBuffer) }}

func takeFrame(size int) *frameBuffer {
	f := frameBuffers.Get().(*frameBuffer)
	f.b = slices.Grow(f.b[:0], size)[:size]
	return f
}

func (f *frameBuffer) giveBack() {
	if cap(f.b) <= keepFrame {
		frameBuffers.Put(f)
	}
}
