package raftlog

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sync"

	"raftmq/internal/vfs"
)

// walVerifyBytes is how much Verify reads at once, a larger frame excepted.
const walVerifyBytes = 1 << 20

// walVerifyBuffers are of that size.
var walVerifyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, walVerifyBytes); return &b }}

// Verify reads the log again, from the disk and not from memory where it can: of every segment that is in use both headers, and each frame
// that is durable, with its place in the sequence. Damage, of which it looks for one place in a segment, is told to OnDamage, and the segment
// is emptied and written anew (wal_heal.go); Verify goes on.
//
// After each read pace is called with its bytes; it may wait. Its error ends Verify, as does ErrWALClosed. It runs beside everything else.
func (w *WAL) Verify(ctx context.Context, pace func(ctx context.Context, bytes int) error) error {
	b := walVerifyBuffers.Get().(*[]byte)
	defer walVerifyBuffers.Put(b) // as it is: one for a larger frame is not kept
	v := walVerifier{w: w, ctx: ctx, pace: pace, buf: *b}
	for _, s := range w.inUse() {
		err := v.segment(s)
		select {
		case <-w.stop:
			return ErrWALClosed
		default:
		}
		switch {
		case errors.Is(err, ErrWALDamaged):
			w.condemn(s.head.number, err)
		case err != nil && !errors.Is(err, fs.ErrClosed): // released, and its file replaced
			return err
		}
	}
	return nil
}

// inUse gives copies of the segments through the active one as they are now. They may be released, and written anew, meanwhile.
func (w *WAL) inUse() []walSegment {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live) == 0 {
		return nil
	}
	var all []walSegment
	for _, s := range w.live[:w.active+1] {
		all = append(all, *s)
	}
	return all
}

type walVerifier struct {
	w    *WAL
	ctx  context.Context
	pace func(context.Context, int) error
	off  int64 // of what buf holds
	buf  []byte
}

// segment gives ErrWALDamaged, or what ended the reading.
func (v *walVerifier) segment(s walSegment) error {
	v.buf = v.buf[:0]
	for _, off := range []int64{0, walSecondHead} {
		b, err := v.at(s, off, walHeadBytes, walFirstFrame)
		if err != nil {
			return err
		}
		if h, ok, err := decodeWALHead(b); !ok || err != nil || h != s.head {
			return fmt.Errorf("%w: %s at %d: not the header that was written", ErrWALDamaged, s.name, off)
		}
	}
	sequence := s.first
	for off := int64(walFirstFrame); off < s.end; sequence++ {
		b, err := v.at(s, off, int(min(walFrameHeader, s.end-off)), s.end)
		if err != nil {
			return err
		}
		f, ok := walParseHeader(b, s.head.salt, s.head.number)
		n := walFrameSize(int(f.length))
		if !ok || f.sequence != sequence || n > s.end-off {
			return fmt.Errorf("%w: %s at %d: no valid frame %d", ErrWALDamaged, s.name, off, sequence)
		}
		if b, err = v.at(s, off, int(n), s.end); err != nil {
			return err
		}
		if crc32.Update(s.head.salt, walCRC, b[walFrameHeader:][:f.length]) != f.crc {
			return fmt.Errorf("%w: %s at %d: frame %d fails its checksum", ErrWALDamaged, s.name, off, sequence)
		}
		off += n
	}
	return nil
}

// at gives n bytes at off, which end at or before end, until the next call.
func (v *walVerifier) at(s walSegment, off int64, n int, end int64) ([]byte, error) {
	if off >= v.off && off+int64(n) <= v.off+int64(len(v.buf)) {
		return v.buf[off-v.off:][:n], nil
	}
	want := int(min(int64(max(n, walVerifyBytes)), end-off))
	v.off, v.buf = off, slices.Grow(v.buf[:0], want)[:want]
	if whole := (off + int64(want)) &^ (vfs.PageSize - 1); whole > off {
		_ = s.file.Drop(off, whole-off) // a hint: else memory may answer. Not the page that the committer goes on with
	}
	if got, err := s.file.ReadAt(v.buf, off); got < want {
		v.buf = v.buf[:0]
		return nil, walUnread(s.name, off, err)
	}
	if err := v.pace(v.ctx, want); err != nil {
		return nil, err
	}
	return v.buf[:n], v.ctx.Err()
}
