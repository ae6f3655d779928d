package raftlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"raftmq/internal/vfs"
)

const (
	walMagic      = "rmqW"
	walVersion    = 1
	walHeadBytes  = 48
	walSecondHead = 4096
	walFirstFrame = 8192
)

// walHead is a segment's header.
type walHead struct {
	number, low, lowSequence uint64
	size                     int64
	salt                     uint32
}

func (h walHead) encode() []byte {
	b := append(make([]byte, 0, walHeadBytes), walMagic...)
	b = walLE.AppendUint32(b, walVersion)
	b = walLE.AppendUint64(b, h.number)
	b = walLE.AppendUint64(b, h.low)
	b = walLE.AppendUint64(b, h.lowSequence)
	b = walLE.AppendUint64(b, uint64(h.size))
	b = walLE.AppendUint32(b, h.salt)
	return walLE.AppendUint32(b, walSum(b))
}

// decodeWALHead gives ok false for damaged bytes and ErrWALVersion for a sound header of a newer format.
func decodeWALHead(b []byte) (h walHead, ok bool, err error) {
	if len(b) < walHeadBytes || string(b[:4]) != walMagic || walSum(b[:44]) != walLE.Uint32(b[44:]) {
		return h, false, nil
	}
	if v := walLE.Uint32(b[4:]); v != walVersion {
		return h, false, fmt.Errorf("%w: format %d, this program reads %d", ErrWALVersion, v, walVersion)
	}
	return walHead{number: walLE.Uint64(b[8:]), low: walLE.Uint64(b[16:]), lowSequence: walLE.Uint64(b[24:]), size: int64(walLE.Uint64(b[32:])), salt: walLE.Uint32(b[40:])}, true, nil
}

// walSegment is one file. head changes only while the segment is released and in nobody's list.
type walSegment struct {
	file  vfs.File
	name  string
	head  walHead
	first uint64 // sequence of its first frame; 0 while empty
	end   int64  // where the next frame goes
}

func walSalt() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return walLE.Uint32(b[:])
}

// rehead gives the file its next number: one copy of the header, then the other, so that one is always valid.
func (s *walSegment) rehead(h walHead) error {
	if err := s.writeHead(h, 0, walSecondHead); err != nil {
		return err
	}
	s.head, s.first, s.end = h, 0, walFirstFrame
	return nil
}

// writeHead makes copies of the header durable, one after the other, each with the block that it has for itself.
func (s *walSegment) writeHead(h walHead, copies ...int64) error {
	b := vfs.Aligned(vfs.Block)
	copy(b, h.encode())
	for _, off := range copies {
		if err := s.file.WriteThrough(b, off); err != nil {
			return fmt.Errorf("head segment %s: %w", s.name, err)
		}
	}
	return nil
}

// zeroStep is how much of a new segment is written before a sync: entries that are appended meanwhile wait behind that much, and not
// behind a whole segment. (64 MiB at once held them up for 0.4 s.)
const zeroStep = 1 << 20

// zero writes zeros from an offset to the end of the file, step by step, each by way of do.
func (s *walSegment) zero(from int64, do func(step func() error) error) error {
	zeros := vfs.Aligned(int(min(s.head.size, zeroStep)))
	for off := from; off < s.head.size; off += int64(len(zeros)) {
		err := do(func() error { return s.file.WriteThrough(zeros[:min(int64(len(zeros)), s.head.size-off)], off) })
		if err != nil {
			return fmt.Errorf("zero segment %s at %d: %w", s.name, off, err)
		}
	}
	return nil
}

// createWALSegment makes the file, filled with zeros, durable before it has its name. After an error there is none; but for one that is
// not vfs.ErrNoSpace: then it may be there, and no other file may have its number.
func createWALSegment(fsys vfs.FS, dir, base string, h walHead) (*walSegment, error) {
	name := filepath.Join(dir, base)
	tmp := name + ".tmp"
	wrap := func(err error) error { return fmt.Errorf("create segment %s: %w", name, err) }
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, wrap(err)
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return nil, wrap(err)
	}
	s := &walSegment{file: f, name: name, head: h}
	if err = f.Allocate(0, h.size); err == nil {
		err = s.zero(0, func(step func() error) error { return step() })
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.rehead(h)
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		return nil, wrap(errors.Join(err, f.Close(), fsys.Remove(tmp)))
	}
	if err := fsys.SyncDir(dir); err != nil {
		return nil, wrap(errors.Join(fmt.Errorf("its name: %v", err), f.Close()))
	}
	return s, nil
}

// openWALSegment reads the header: the copy with the higher number.
func openWALSegment(fsys vfs.FS, dir, base string) (*walSegment, error) {
	name := filepath.Join(dir, base)
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	s := &walSegment{file: f, name: name, end: walFirstFrame}
	found := false
	var unread error
	var b [walHeadBytes]byte
	for _, off := range []int64{0, walSecondHead} {
		n, err := f.ReadAt(b[:], off)
		if n < len(b) {
			unread = walUnread(name, off, err)
		}
		h, ok, err := decodeWALHead(b[:n])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open segment %s: %w", name, err), f.Close())
		}
		if ok && (!found || h.number > s.head.number) {
			s.head, found = h, true
		}
	}
	size, err := f.Size()
	if err == nil && !found {
		err = unread
	}
	if err == nil && (!found || size < s.head.size || s.head.size <= walFirstFrame || s.head.size > walMaxSegment) {
		err = fmt.Errorf("%w: %s at 0: no valid segment header", ErrWALDamaged, name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}
