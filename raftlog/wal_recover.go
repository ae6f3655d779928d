package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"path/filepath"
	"slices"
	"sync/atomic"
)

// recover reads the files, replays the live ones and leaves w ready for the next frame.
func (w *WAL) recover() error {
	names, err := w.o.FS.List(w.dir)
	if err != nil {
		return err
	}
	w.segment = w.o.SegmentBytes
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
		w.segment = min(w.segment, s.head.size)
	}
	w.files = len(segs)
	most := max(w.o.Segments, w.files)
	w.needed = make([]atomic.Int64, 1<<bits.Len(uint(2*most)))
	if err := w.o.checkBudget(w.segment, most); err != nil {
		return err
	}
	if len(segs) == 0 {
		s, err := createWALSegment(w.o.FS, w.dir, walBase(0), walHead{number: 1, low: 1, lowSequence: 1, size: w.o.SegmentBytes, salt: walSalt()})
		if err != nil {
			return err
		}
		w.live, w.files, w.sequence = []*walSegment{s}, 1, 1
	} else if err := w.adopt(segs); err != nil {
		return err
	}
	for _, n := range names {
		if err := w.removeTmp(n); err != nil {
			return err
		}
	}
	for w.releaseOldest() {
	}
	for newWALBudget(w.segment, w.files).entries < w.o.need() {
		if err := w.addSegment(false, nil); err != nil {
			return err
		}
	}
	if b := w.budgetLocked(); b.entries < w.o.need() {
		w.log.Warn("many groups for this write-ahead log", "groups", len(w.groups), "entries_bytes", b.entries)
	}
	return nil
}

// removeTmp gives back the room of a segment that was not finished: the next has another name.
func (w *WAL) removeTmp(base string) error {
	if !isWALTmp(base) {
		return nil
	}
	if err := w.o.FS.Remove(filepath.Join(w.dir, base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// adopt sorts out which files are live and replays them.
func (w *WAL) adopt(segs []*walSegment) error {
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
	for _, s := range segs { // released ones too may have held what is missing
		w.holes += uint64(s.head.size) / walEntryHeader
	}
	if err := w.replay(); err != nil {
		return err
	}
	return w.settle()
}

// settle makes durable what was read: after a failed sync the last frame, a header, or a name may be clean in memory and not on disk.
func (w *WAL) settle() error {
	err := w.o.FS.SyncDir(w.dir)
	for _, s := range w.live {
		if err == nil {
			err = s.file.SyncData()
		}
		if err == nil {
			err = s.writeHead(s.head, walSecondHead, 0) // the copy first that may be older
		}
	}
	return err
}

// mayHole allows replay to leave room for so many entries to come. More than there can be in the files are damage.
func (w *WAL) mayHole(n uint64) error {
	if n > w.holes {
		return fmt.Errorf("%w: %d entries are missing", errWALRecord, n)
	}
	w.holes -= n
	return nil
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
			return walUnread(s.name, int64(n), err)
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
	if s := w.live[w.active]; len(last) > 0 {
		if _, err := s.file.WriteAt(last, s.end-int64(len(last))); err != nil {
			return fmt.Errorf("write %s: %w", s.name, err)
		}
	}
	return nil
}

func (w *WAL) replayFrame(s *walSegment, f walFrame, records []byte) error {
	off, n := 0, 0
	for ; off < len(records); n++ {
		r, err := walNext(records, off)
		if err == nil {
			err = w.groupLocked(r.group).replay(r, walPos{seg: s.head.number, off: uint32(s.end) + walFrameHeader + uint32(off), len: uint32(r.size)})
		}
		if errors.Is(err, ErrWALVersion) {
			return fmt.Errorf("%s at %d: %w", s.name, s.end+walFrameHeader+int64(off), err)
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
