package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"raftmq/internal/vfs"
)

// scan reads the segment file that holds [start, end) from the disk, checks every
// byte of it, and gives each entry to visit, if that is not nil; the data is valid
// within visit only. Its first error, or the first damage, ends it.
func scan(ctx context.Context, disk vfs.FS, name string, start, end Position, visit func(at Position, e Entry) error) (o origin, err error) {
	f, err := disk.Open(name)
	if err != nil {
		return o, unread(name, 0, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return o, unread(name, 0, err)
	}
	if size < int64(end-start) {
		return o, damaged(name, size, "the file ends here, %d bytes are expected", end-start)
	}
	v := &verifier{ctx: ctx, pace: func(ctx context.Context, _ int) error { return ctx.Err() }}
	w := &window{v: v, f: f, name: name, size: int64(end - start)}
	b, err := w.at(0, segmentHead)
	if err != nil {
		return o, err
	}
	if o, err = decodeHead(name, b); err != nil {
		return o, err
	}
	if o.prev.Position != start {
		return o, damaged(name, 8, "it says that it starts at %d", o.prev.Position)
	}
	for at := (place{o.prev.Index + 1, start + segmentHead}); at.pos < end; {
		off := int64(at.pos - start)
		bad := damaged(name, off, "no frame of entry %d, or not as it was written", at.index)
		if at.pos+frameHead > end {
			return o, bad
		}
		if b, err = w.at(off, frameHead); err != nil {
			return o, err
		}
		frame := decodeFrame(b)
		if !frame.fits(at, end) {
			return o, bad
		}
		if b, err = w.at(off, int(frame.size())); err != nil {
			return o, err
		}
		data, padding := b[:frameHead+frame.bytes], b[frameHead+frame.bytes:]
		if !frame.check(data) || len(bytes.Trim(padding, "\x00")) > 0 {
			return o, bad
		}
		if visit != nil {
			frame.entry.Data = data[frameHead:]
			if err := visit(at.pos, frame.entry); err != nil {
				return o, err
			}
		}
		at = place{at.index + 1, at.pos + frame.size()}
	}
	return o, nil
}

// Raw fills b with bytes of the segment that starts at start, from byte off of its
// file on, unchecked: for a peer, which checks them. ErrNotFound if they are not, or
// not all, in the log.
func (s *Store) Raw(start Position, off int64, b []byte) error {
	s.mu.RLock()
	g, end := segmentOf(s.segments, start), Position(0)
	if g != nil {
		end = g.end
	}
	s.mu.RUnlock()
	if g == nil || g.start != start || off < 0 || off+int64(len(b)) > int64(end-start) {
		return s.gone(ErrNotFound)
	}
	err := g.read(s.files, func(r *reader) error { return r.at(b, start+Position(off)) })
	if errors.Is(err, errGone) {
		return s.gone(ErrNotFound)
	}
	return s.tell(err)
}

// FloorFile returns what is kept beside the segment that starts at p, for a peer.
// ErrNotFound if that segment is not retained.
func (s *Store) FloorFile(p Position) ([]byte, error) {
	s.mu.RLock()
	g := segmentOf(s.segments, p)
	s.mu.RUnlock()
	if g == nil || g.start != p || g.prev.Index == 0 {
		return nil, s.gone(ErrNotFound)
	}
	name := segmentName(s.dir, p, "floor")
	b, err := vfs.ReadFile(s.disk, name, maxFloor)
	if err != nil && s.First().Position > p { // trimmed meanwhile
		return nil, s.gone(ErrNotFound)
	}
	if err != nil {
		return nil, s.tell(unread(name, 0, err))
	}
	if _, _, err := decodeFloor(name, b); err != nil {
		return nil, s.tell(fmt.Errorf("for a peer: %w", err))
	}
	return b, nil
}
