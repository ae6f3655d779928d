package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"raftmq/internal/vfs"
)

const (
	defaultSegment = 256 << 20
	minSegment     = 64 << 10
	// overSize is mapped beyond a segment's length: one entry may be larger than
	// what is left, or than a small segment.
	overSize = 8 << 20
	// MaxEntry is the largest entry's data.
	MaxEntry = overSize - segmentHead - frameHead - 8

	growFirst = 64 << 10
	growMax   = 8 << 20
	// sparseBytes is the distance between the places that are remembered of a
	// segment's frames.
	sparseBytes = 256 << 10
)

// errGone: the segment was trimmed away, or the store closed, while it was read.
var errGone = errors.New("store: no longer here")

// segment is one file of the commit log.
type segment struct {
	name  string
	start Position
	origin
	keys *keyIndex

	use    sync.RWMutex // held for reading while file or map are used
	file   vfs.File     // nil once sealed and synced: then read through files
	mapped vfs.Mapping  // nil once sealed
	gone   bool

	grow      sync.Mutex   // one grows the file
	allocated atomic.Int64 // bytes of the file

	// Guarded by Store.mu.
	end     Position // published
	synced  Position // everything below is durable
	sparse  []place  // some frames, in order
	trimmed bool     // no longer of the log

	// Of the background.
	written Position // write-back was asked for below
}

// place is where an entry's frame is.
type place struct {
	index uint64
	pos   Position
}

func segmentName(dir string, start Position, kind string) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.%s", start, kind))
}

// growStep is how much a file of that size grows by.
func growStep(allocated int64) int64 { return min(max(growFirst, allocated), growMax) }

// ensure reserves room for [0, n) of the file.
func (g *segment) ensure(n int64) error {
	if n <= g.allocated.Load() {
		return nil
	}
	g.grow.Lock()
	defer g.grow.Unlock()
	have := g.allocated.Load()
	if n <= have {
		return nil
	}
	to := max(n, have+growStep(have))
	if err := g.file.Allocate(have, to-have); err != nil {
		return fmt.Errorf("reserve room in %s: %w", g.name, err)
	}
	g.allocated.Store(to)
	return nil
}

// low reports whether the file should grow before the appender needs it to.
func (g *segment) low(used int64) bool {
	have := g.allocated.Load()
	return have-used < growStep(have/2)/2
}

// ahead grows the file when little is left of it. limit is where the segment
// ends anyway.
func (g *segment) ahead(used, limit int64) {
	if !g.low(used) {
		return
	}
	g.use.RLock()
	defer g.use.RUnlock()
	from := g.allocated.Load()
	if g.mapped == nil || from >= limit {
		return
	}
	_ = g.ensure(from + 1) // the appender meets the error itself
}

// writeBack has the kernel write what the appender left behind, a little at a
// time, so that a later sync finds little to do.
func (g *segment) writeBack(end Position) {
	const step = 1 << 20
	g.use.RLock()
	defer g.use.RUnlock()
	for ; g.file != nil && end-g.written >= step; g.written += step {
		if g.file.WriteBack(int64(g.written-g.start), step) != nil {
			return // a hint
		}
	}
}

// read lends f a reader of the segment's bytes: from the map while there is one,
// else from the file. errGone if the segment is no longer the store's.
func (g *segment) read(c *files, f func(r *reader) error) error {
	g.use.RLock()
	defer g.use.RUnlock()
	r := &reader{g: g}
	switch {
	case g.gone:
		return errGone
	case g.mapped != nil:
		r.mapped = g.mapped.Bytes()
		err := vfs.Guard(func() error { return f(r) })
		if errors.Is(err, vfs.ErrFault) {
			return unread(g.name, r.off, err)
		}
		return err
	case g.file != nil:
		r.file = g.file
		return f(r)
	}
	file, err := c.get(g.name, segmentHead, g.checkHead)
	if err != nil {
		return err
	}
	defer c.put(file)
	r.file = file
	return f(r)
}

// checkHead checks that b is the head of this segment's file.
func (g *segment) checkHead(name string, b []byte) error {
	o, err := decodeHead(name, b)
	if err == nil && o != g.origin {
		err = damaged(name, 0, "it starts after entry %d at %d, not %d at %d", o.prev.Index, o.prev.Position, g.prev.Index, g.start)
	}
	return err
}

// reader reads a segment. It is valid within segment.read only.
type reader struct {
	g      *segment
	mapped []byte
	file   vfs.File
	off    int64 // of the last read, in the file
}

// at fills b from position pos on.
func (r *reader) at(b []byte, pos Position) error {
	r.off = int64(pos - r.g.start)
	if r.mapped != nil {
		if r.off < 0 || r.off+int64(len(b)) > int64(len(r.mapped)) {
			return damaged(r.g.name, r.off, "no %d bytes here", len(b))
		}
		copy(b, r.mapped[r.off:])
		return nil
	}
	if _, err := r.file.ReadAt(b, r.off); err != nil {
		return unread(r.g.name, r.off, err)
	}
	return nil
}

// seal drops the map, once nothing is appended any more, and gives the room
// behind end back.
func (g *segment) seal(end Position) error {
	g.use.Lock()
	defer g.use.Unlock()
	if g.mapped == nil {
		return nil
	}
	m := g.mapped
	g.mapped = nil
	if err := m.Unmap(); err != nil {
		return err
	}
	return g.giveBack(end)
}

// giveBack cuts off what was reserved behind end.
func (g *segment) giveBack(end Position) error {
	size := int64(end - g.start)
	if size >= g.allocated.Load() {
		return nil
	}
	err := g.file.Truncate(size)
	if err == nil {
		g.allocated.Store(size)
	}
	return err
}

// release closes the file of a segment that is sealed and synced.
func (g *segment) release() error {
	g.use.Lock()
	defer g.use.Unlock()
	if g.mapped != nil || g.file == nil {
		return nil
	}
	f := g.file
	g.file = nil
	return f.Close()
}

// leave ends the segment's use by readers, who get errGone.
func (g *segment) leave() {
	g.use.Lock()
	defer g.use.Unlock()
	g.gone = true
}

// close ends the segment's use.
func (g *segment) close() error {
	g.use.Lock()
	defer g.use.Unlock()
	g.gone = true
	var err error
	if g.mapped != nil {
		err = g.mapped.Unmap()
		g.mapped = nil
	}
	if g.file != nil {
		err = errors.Join(err, g.file.Close())
		g.file = nil
	}
	return err
}

// sync makes the file's bytes durable.
func (g *segment) sync() error {
	g.use.RLock()
	defer g.use.RUnlock()
	if g.file == nil {
		return nil
	}
	if err := g.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", g.name, err)
	}
	return nil
}
