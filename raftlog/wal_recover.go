package raftlog

import (
	"errors"
	"fmt"
	"slices"
)

// recover reads the files, replays the live ones and leaves w ready for the next frame.
func (w *WAL) recover() error {
	names, err := w.o.FS.List(w.dir)
	if err != nil {
		return err
	}
	var segs []*walSegment
	for _, n := range names {
		if !isWALName(n) {
			continue
		}
		s, err := openWALSegment(w.o.FS, w.dir, n)
		if err != nil {
			return err
		}
		w.free = append(w.free, s) // closed by closeFiles whatever happens
		segs = append(segs, s)
	}
	w.files = len(segs)
	if len(segs) == 0 {
		s, err := createWALSegment(w.o.FS, w.dir, walBase(0), walHead{number: 1, low: 1, lowSequence: 1, size: w.o.SegmentBytes, salt: walSalt()})
		if err != nil {
			return err
		}
		w.live, w.files, w.sequence = []*walSegment{s}, 1, 1
		return nil
	}
	slices.SortFunc(segs, func(a, b *walSegment) int {
		if a.head.number < b.head.number {
			return -1
		}
		return 1
	})
	newest := segs[len(segs)-1]
	from := slices.IndexFunc(segs, func(s *walSegment) bool { return s.head.number >= newest.head.low })
	for i, s := range segs[from:] {
		if s.head.number != newest.head.low+uint64(i) {
			return fmt.Errorf("%w: segment %d is missing before %s", ErrWALDamaged, newest.head.low+uint64(i), s.name)
		}
	}
	w.free, w.live = segs[:from:from], segs[from:]
	w.sequence = newest.head.lowSequence
	return w.replay()
}

// replay applies the frames in order and finds the end: the first place without a valid frame of the next sequence, behind which no
// frame of a higher one begins.
func (w *WAL) replay() error {
	var buf []byte
	bad := -1 // first segment whose end is in doubt
	var last []byte
	for i, s := range w.live {
		if int64(cap(buf)) < s.head.size {
			buf = make([]byte, s.head.size)
		}
		buf = buf[:s.head.size]
		if n, err := s.file.ReadAt(buf, 0); n < len(buf) {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		for s.end < s.head.size {
			f, records, ok := walParseFrame(buf[s.end:], s.head.salt, s.head.number)
			if !ok || f.sequence != w.sequence {
				break
			}
			if err := w.replayFrame(s, f, records); err != nil {
				return err
			}
			if s.first == 0 {
				s.first = f.sequence
			}
			n := walFrameSize(len(records))
			last = append(last[:0], buf[s.end:min(s.end+n, s.head.size)]...)
			s.end += n
			w.sequence++
			w.active, bad = i, -1
		}
		for p := s.end; p+walFrameHeader <= s.head.size; p += 8 {
			if buf[p] != walFrameMagic[0] {
				continue
			}
			if f, ok := walParseHeader(buf[p:], s.head.salt, s.head.number); ok && f.sequence > w.sequence {
				at := s
				if bad >= 0 {
					at = w.live[bad]
				}
				return fmt.Errorf("%w: %s at %d: no valid frame %d, but a later one, %d, in %s at %d", ErrWALDamaged, at.name, at.end, w.sequence, f.sequence, s.name, p)
			}
		}
		if bad < 0 {
			bad = i
		}
	}
	for _, g := range w.groups {
		if err := g.recovered(); err != nil {
			return err
		}
	}
	s := w.live[w.active]
	if len(last) > 0 {
		if _, err := s.file.WriteAt(last, s.end-int64(len(last))); err != nil {
			return err
		}
	}
	var err error
	for _, s := range w.live {
		err = errors.Join(err, s.file.SyncData())
	}
	return err
}

func (w *WAL) replayFrame(s *walSegment, f walFrame, records []byte) error {
	off, n := 0, 0
	for ; off < len(records); n++ {
		r, err := walNext(records, off)
		if err == nil {
			err = w.groupLocked(r.group).replay(r, walPos{seg: s.head.number, off: uint32(s.end) + walFrameHeader + uint32(off), len: uint32(r.size)})
		}
		if err != nil {
			return fmt.Errorf("%w: %s at %d: %w", ErrWALDamaged, s.name, s.end+walFrameHeader+int64(off), err)
		}
		off += r.size
	}
	if n != int(f.count) {
		return fmt.Errorf("%w: %s at %d: %d records, %d expected", ErrWALDamaged, s.name, s.end, n, f.count)
	}
	return nil
}
