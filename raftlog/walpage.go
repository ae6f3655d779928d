package raftlog

import (
	"fmt"

	"raftmq/internal/vfs"
)

// walPage is a frame as it is written: in whole blocks of the file, so that it need not go through the page cache. The first block
// may have the end of the frame before it, the last is filled up with zeros, to be written again with the next frame. A
// disk that tears a block between sectors leaves of the one before what it was, since that is written as it was; a sector that
// two frames share is one of both kinds of writing alike.
type walPage struct {
	buf   []byte // of whole blocks, aligned
	of    *walSegment
	start int64 // where in the file buf begins
	kept  int   // bytes of the frames before, in front
	size  int   // of the frame
}

// frame is room for n bytes at the end of s, the last 8 of them zeros. They are the caller's until the next call.
func (p *walPage) frame(s *walSegment, n int) ([]byte, error) {
	start := s.end &^ (vfs.Block - 1)
	kept := int(s.end - start)
	need := (kept + n + vfs.Block - 1) &^ (vfs.Block - 1)
	old, at := p.buf, 0
	if cap(p.buf) < need || cap(p.buf) > 3*walMaxBatch && need <= walMaxBatch {
		p.buf = vfs.Aligned(max(need, 64<<10))
	}
	b := p.buf[:need]
	if s == p.of && start >= p.start && s.end == p.start+int64(p.kept+p.size) {
		at = int(start - p.start)
		copy(b, old[at:at+kept])
	} else if got, err := s.file.ReadAt(b[:kept], start); got < kept {
		return nil, fmt.Errorf("read %s at %d: %w", s.name, start, err)
	}
	clear(b[kept+max(0, n-8):])
	p.buf, p.of, p.start, p.kept, p.size = b, s, start, kept, n
	return b[kept : kept+n], nil
}

// blocks is what to write, and where: whole blocks, unless the file ends before.
func (p *walPage) blocks() ([]byte, int64) {
	b := p.buf
	if over := p.start + int64(len(b)) - p.of.head.size; over > 0 {
		b = b[:len(b)-int(over)]
	}
	return b, p.start
}
