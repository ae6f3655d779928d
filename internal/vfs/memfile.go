package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math"
)

// memFile is an open file of a Mem.
type memFile struct {
	m    *Mem
	name string
	*node
	closed bool // under m.mu
}

var _ File = (*memFile)(nil)

// begin is Mem.begin for an operation on an open file.
func (f *memFile) begin(op Op) error {
	op.Name = f.name
	if err := f.m.begin(op); err != nil {
		return err
	}
	if f.closed {
		f.m.mu.Unlock()
		return fs.ErrClosed
	}
	return nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.handles--
	f.m.releaseLocked(f.node)
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.begin(Op{Kind: OpSize}); err != nil {
		return 0, pathError("size", f.name, err)
	}
	defer f.m.mu.Unlock()
	return f.size, nil
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if err := f.begin(Op{Kind: OpRead, Off: off, Len: int64(len(b))}); err != nil {
		return 0, pathError("read", f.name, err)
	}
	defer f.m.mu.Unlock()
	n := int(max(0, min(int64(len(b)), f.size-off)))
	f.read(b[:n], off)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// read fills b, which lies within the file.
func (c *content) read(b []byte, off int64) {
	for len(b) > 0 {
		n := copy(b, c.now.at(off / PageSize)[off%PageSize:])
		b, off = b[n:], off+int64(n)
	}
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > math.MaxInt64-int64(len(b)) {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	if err := f.begin(Op{Kind: OpWrite, Off: off, Len: int64(len(b))}); err != nil {
		return 0, pathError("write", f.name, err)
	}
	defer f.m.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	fits := f.m.reserveLocked(f.content, off, int64(len(b)))
	if fits > 0 && off+fits > f.size {
		f.resize(f.m.seed, off+fits)
	}
	f.write(f.m.seed, b[:fits], off)
	if fits < int64(len(b)) {
		return int(fits), pathError("write", f.name, ErrNoSpace)
	}
	return len(b), nil
}

// write stores b, which lies within the file.
func (c *content) write(seed uint64, b []byte, off int64) {
	if off < int64(len(c.memory)) {
		copy(c.memory[off:], b)
	}
	for len(b) > 0 {
		i, at := off/PageSize, off%PageSize
		n := int(min(int64(len(b)), PageSize-at))
		if n == PageSize {
			c.soil(seed, i, c.now.at(i))
			c.now.set(i, pageOf(b[:n]))
		} else {
			copy(c.own(seed, i)[at:], b[:n])
		}
		b, off = b[n:], off+int64(n)
	}
}

// reserveLocked takes blocks for the range and returns how many of its bytes
// have one, from its start.
func (m *Mem) reserveLocked(c *content, off, n int64) int64 {
	for at := off &^ (PageSize - 1); at < off+n; at += PageSize {
		if c.blocks.has(at / PageSize) {
			continue
		}
		if m.capacity > 0 && m.used+PageSize > m.capacity {
			return max(0, at-off)
		}
		c.blocks.add(at / PageSize)
		m.used += PageSize
	}
	return n
}

func (f *memFile) Truncate(size int64) error {
	if size < 0 {
		return pathError("truncate", f.name, fs.ErrInvalid)
	}
	if err := f.begin(Op{Kind: OpTruncate, Off: size}); err != nil {
		return pathError("truncate", f.name, err)
	}
	defer f.m.mu.Unlock()
	f.m.used -= f.blocks.clear((size + PageSize - 1) / PageSize)
	f.resize(f.m.seed, size)
	return nil
}

// Allocate reserves all or, as some file systems, a part before ErrNoSpace;
// the size grows only when all is reserved.
func (f *memFile) Allocate(off, n int64) error {
	if off < 0 || n <= 0 || off > math.MaxInt64-n {
		return pathError("allocate", f.name, fs.ErrInvalid)
	}
	if err := f.begin(Op{Kind: OpAllocate, Off: off, Len: n}); err != nil {
		return pathError("allocate", f.name, err)
	}
	defer f.m.mu.Unlock()
	if f.m.reserveLocked(f.content, off, n) < n {
		return pathError("allocate", f.name, ErrNoSpace)
	}
	if off+n > f.size {
		f.resize(f.m.seed, off+n)
	}
	return nil
}

func (f *memFile) Sync() error     { return f.fsync(OpSync, 0, math.MaxInt64) }
func (f *memFile) SyncData() error { return f.fsync(OpSyncData, 0, math.MaxInt64) }

// WriteThrough is two operations, a write and a sync of these bytes.
func (f *memFile) WriteThrough(b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.fsync(OpSyncData, off, int64(len(b)))
}

func (f *memFile) fsync(kind OpKind, off, n int64) error {
	err := f.begin(Op{Kind: kind})
	if err == errLie {
		return nil
	}
	if err == fs.ErrClosed {
		return pathError("sync", f.name, err)
	}
	if err != nil {
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		f.forget(off, n)
		f.forgetSize()
		return pathError("sync", f.name, err)
	}
	defer f.m.mu.Unlock()
	f.sync(off, n)
	f.syncSize()
	return nil
}

func (f *memFile) WriteBack(off, n int64) error {
	if err := f.begin(Op{Kind: OpWriteBack, Off: off, Len: n}); err != nil {
		return pathError("write back", f.name, err)
	}
	f.m.mu.Unlock()
	return nil
}

func (f *memFile) Drop(off, n int64) error {
	if err := f.begin(Op{Kind: OpDrop, Off: off, Len: n}); err != nil {
		return pathError("drop", f.name, err)
	}
	f.m.mu.Unlock()
	return nil
}

func (f *memFile) Map(size int64) (Mapping, error) {
	if size <= 0 || size > math.MaxInt {
		return nil, pathError("map", f.name, fs.ErrInvalid)
	}
	if err := f.begin(Op{Kind: OpMap, Len: size}); err != nil {
		return nil, pathError("map", f.name, err)
	}
	defer f.m.mu.Unlock()
	if f.memory == nil {
		f.memory, f.lender = lend(size)
		for i, pg := range f.now {
			if at := int64(i) * PageSize; pg != nil && at < size {
				copy(f.memory[at:], pg[:])
			}
		}
	}
	if size > int64(len(f.memory)) {
		return nil, pathError("map", f.name, fmt.Errorf("%d bytes, beside a map of %d: %w", size, len(f.memory), fs.ErrInvalid))
	}
	f.maps++
	f.handles++
	return &memMapping{m: f.m, node: f.node, b: f.memory[:size:size], lender: f.lender}, nil
}
