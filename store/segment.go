package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync"

	"raftmq/internal/vfs"
)

const (
	segmentMagic  = "rqCL"
	formatVersion = 1
	segmentHead   = 64
	frameHead     = 40
	// FrameData is how far an entry's data lies behind the end of the log before
	// it is appended.
	FrameData      Position = frameHead
	defaultSegment          = 256 << 20
	minSegment              = 64 << 10
	// overSize is mapped beyond a segment's length: one entry may be larger than
	// what is left, or than a small segment.
	overSize = 8 << 20
	// MaxEntry is the largest entry's data.
	MaxEntry = overSize - segmentHead - frameHead - 8

	growFirst = 64 << 10
	growMax   = 8 << 20
	// sparseBytes is the distance between the places that are remembered of a
	// segment's frames.
	sparseBytes = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one file of the commit log.
type segment struct {
	start Position
	prev  Mark // just before its first frame; Position is start
	file  vfs.File
	keys  *keyFile

	mapping sync.RWMutex // held for reading while the map is used
	mapped  vfs.Mapping  // nil once sealed

	// Owned by the appender, but for allocated.
	mu        sync.Mutex
	allocated int64
	failed    error // of growing ahead

	// Guarded by Store.mu.
	end    Position // published
	synced Position
	sparse []place

	// Of the background.
	written Position // write-back was asked for below
	upTo    Position // end, as last seen
}

type place struct {
	index uint64
	pos   Position
}

func segmentName(dir string, start Position, kind string) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.%s", start, kind))
}

// encodeHead is a segment's first 64 bytes.
func encodeHead(prev Mark) []byte {
	b := make([]byte, segmentHead)
	copy(b, segmentMagic)
	be := binary.BigEndian
	be.PutUint32(b[4:], formatVersion)
	be.PutUint64(b[8:], uint64(prev.Position))
	be.PutUint64(b[16:], prev.Index)
	be.PutUint64(b[24:], prev.Term)
	be.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

func decodeHead(name string, b []byte) (Mark, error) {
	be := binary.BigEndian
	if len(b) < segmentHead || string(b[:4]) != segmentMagic {
		return Mark{}, fmt.Errorf("%w: %s: not a commit log segment", ErrDamaged, name)
	}
	if v := be.Uint32(b[4:]); v != formatVersion {
		return Mark{}, fmt.Errorf("%w: %s has format version %d, this program knows %d", ErrVersion, name, v, formatVersion)
	}
	if be.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return Mark{}, fmt.Errorf("%w: %s: head fails its checksum", ErrDamaged, name)
	}
	return Mark{Position: Position(be.Uint64(b[8:])), Index: be.Uint64(b[16:]), Term: be.Uint64(b[24:])}, nil
}

// ensure reserves room for [0, n) of the file.
func (g *segment) ensure(n int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil {
		return g.failed
	}
	if n <= g.allocated {
		return nil
	}
	step := min(max(growFirst, g.allocated), growMax)
	to := max(n, g.allocated+step)
	if err := g.file.Allocate(g.allocated, to-g.allocated); err != nil {
		return err
	}
	g.allocated = to
	return nil
}

// ahead reserves more when little is left; from the background.
func (g *segment) ahead(used int64) {
	g.mu.Lock()
	left, step := g.allocated-used, min(max(growFirst, g.allocated/2), growMax)
	from := g.allocated
	g.mu.Unlock()
	if left > step/2 {
		return
	}
	if g.ensure(from+1) != nil {
		return // the appender meets the error itself
	}
	g.mu.Lock()
	to := g.allocated
	g.mu.Unlock()
	g.mapping.RLock()
	if g.mapped != nil {
		g.mapped.Populate(from, to-from)
	}
	g.mapping.RUnlock()
}

// writeBack has the kernel write what the appender left behind, a little at a
// time, so that a later sync finds little to do.
func (g *segment) writeBack() {
	const step = 1 << 20
	for ; g.upTo-g.written >= step; g.written += step {
		if g.file.WriteBack(int64(g.written-g.start), step) != nil {
			return // a hint
		}
	}
}

// readAt fills b from position pos, from the map while there is one.
func (g *segment) readAt(b []byte, pos Position) error {
	at := int64(pos - g.start)
	g.mapping.RLock()
	defer g.mapping.RUnlock()
	if g.mapped != nil {
		return vfs.Guard(func() error {
			copy(b, g.mapped.Bytes()[at:])
			return nil
		})
	}
	if _, err := g.file.ReadAt(b, at); err != nil {
		return fmt.Errorf("%w: read %s at %d: %w", ErrDamaged, g.file.Name(), at, err)
	}
	return nil
}

// unmap drops the map of a sealed segment.
func (g *segment) unmap() error {
	g.mapping.Lock()
	defer g.mapping.Unlock()
	if g.mapped == nil {
		return nil
	}
	m := g.mapped
	g.mapped = nil
	return m.Unmap()
}

func (g *segment) close() error {
	err := g.unmap()
	if e := g.file.Close(); err == nil {
		err = e
	}
	if g.keys != nil {
		if e := g.keys.close(); err == nil {
			err = e
		}
	}
	return err
}

// putFrame writes e into b, which has frameHead bytes and the data already
// stamped behind them, and returns the frame's checksum.
func putFrame(b []byte, e Entry) uint32 {
	be := binary.BigEndian
	be.PutUint32(b[4:], uint32(len(e.Data)))
	be.PutUint64(b[8:], e.Index)
	be.PutUint64(b[16:], e.Term)
	be.PutUint64(b[24:], uint64(e.AppendedAt))
	clear(b[32:40])
	b[32] = e.Type
	crc := crc32.Checksum(b[4:frameHead+len(e.Data)], castagnoli)
	be.PutUint32(b, crc)
	return crc
}

// frameInfo is a frame's head.
type frameInfo struct {
	crc   uint32
	bytes int
	entry Entry
}

func decodeFrame(b []byte) frameInfo {
	be := binary.BigEndian
	return frameInfo{crc: be.Uint32(b), bytes: int(be.Uint32(b[4:])), entry: Entry{
		Index: be.Uint64(b[8:]), Term: be.Uint64(b[16:]), AppendedAt: int64(be.Uint64(b[24:])), Type: b[32],
	}}
}

func frameSize(data int) int64 { return (frameHead + int64(data) + 7) &^ 7 }
