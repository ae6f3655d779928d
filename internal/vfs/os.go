//go:build linux || darwin

package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// OS is the machine's disk.
type OS struct{}

var _ FS = OS{}

func (OS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (OS) Open(name string) (File, error) {
	return openFile(name, os.O_RDWR)
}

func openFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o640)
	if err != nil {
		return nil, spaceError(err)
	}
	return &osFile{f: f}, nil
}

func (OS) List(dir string) ([]string, error) {
	var entries []os.DirEntry
	err := patiently(func() (err error) {
		entries, err = os.ReadDir(dir)
		return err
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (OS) MkdirAll(dir string) error    { return spaceError(os.MkdirAll(dir, 0o750)) }
func (OS) Rename(from, to string) error { return spaceError(os.Rename(from, to)) }
func (OS) Remove(name string) error     { return os.Remove(name) }
func (OS) RemoveAll(name string) error  { return os.RemoveAll(name) }
func (OS) SyncDir(dir string) (err error) {
	var f *os.File
	err = patiently(func() (err error) {
		f, err = os.Open(dir)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

func (OS) Space(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, (st.Blocks - st.Bfree + st.Bavail) * block, nil // without what is root's alone
}

func (OS) Lock(name string) (io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return nil, spaceError(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, spaceError(err)
	}
	err = control(f, "lock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

type osFile struct {
	f *os.File
	direct
	last atomic.Int32 // Way of the last WriteThrough
}

func (f *osFile) Name() string                            { return f.f.Name() }
func (f *osFile) ReadAt(b []byte, off int64) (int, error) { return f.f.ReadAt(b, off) }
func (f *osFile) Close() error                            { return errors.Join(f.f.Close(), f.direct.close()) }
func (f *osFile) Truncate(size int64) error               { return spaceError(f.f.Truncate(size)) }
func (f *osFile) Sync() error                             { return spaceError(f.f.Sync()) }

func (f *osFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(b, off)
	return n, spaceError(err)
}

func (f *osFile) WriteThrough(b []byte, off int64) error {
	if way, err := f.direct.write(f.f, b, off); way != WriteAndSync || err != nil {
		f.last.Store(int32(way))
		return spaceError(err)
	}
	f.last.Store(int32(WriteAndSync))
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.SyncData()
}

func (f *osFile) way() (w Way, why error) {
	if w = Way(f.last.Load()); w == WriteAndSync || w == DirectWrite {
		why = f.direct.reason(w)
	}
	return w, why
}

func (f *osFile) Size() (int64, error) {
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f *osFile) Allocate(off, n int64) error {
	if off < 0 || n <= 0 || off > math.MaxInt64-n {
		return fmt.Errorf("allocate %s: range %d+%d: %w", f.Name(), off, n, fs.ErrInvalid)
	}
	err := allocate(f.f, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.fill(off + n)
	}
	return spaceError(err)
}

// fill grows the file to end by writing zeros, where blocks cannot be
// reserved otherwise. Holes below its size stay holes.
func (f *osFile) fill(end int64) error {
	size, err := f.Size()
	zeros := make([]byte, 1<<20)
	for err == nil && size < end {
		var n int
		n, err = f.WriteAt(zeros[:min(int64(len(zeros)), end-size)], size)
		size += int64(n)
	}
	return err
}

func (f *osFile) SyncData() error { return spaceError(control(f.f, "sync", syncData)) }

func (f *osFile) WriteBack(off, n int64) error {
	return hint(control(f.f, "write back", func(fd int) error { return writeBack(fd, off, n) }))
}

func (f *osFile) Drop(off, n int64) error {
	return hint(control(f.f, "drop", func(fd int) error { return drop(fd, off, n) }))
}

func (f *osFile) Map(size int64) (Mapping, error) {
	if size <= 0 || size > math.MaxInt {
		return nil, fmt.Errorf("map %s: size %d: %w", f.Name(), size, fs.ErrInvalid)
	}
	m := &osMapping{name: f.Name()}
	err := control(f.f, "map", func(fd int) (err error) {
		m.b, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

type osMapping struct {
	name string
	b    []byte
}

func (m *osMapping) Bytes() []byte { return m.b }

func (m *osMapping) Unmap() error {
	if m.b == nil {
		return nil
	}
	if err := unix.Munmap(m.b); err != nil {
		return &fs.PathError{Op: "munmap", Path: m.name, Err: err}
	}
	m.b = nil
	return nil
}

// control runs f with the descriptor, which a Close meanwhile cannot take
// away, and repeats it while signals interrupt it.
func control(file *os.File, op string, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		failed = retry(func() error { return f(int(fd)) })
	})
	if err != nil {
		err = fs.ErrClosed // Control has no other error
	} else {
		err = failed
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: file.Name(), Err: err}
	}
	return nil
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// hint drops the errors of a disk that cannot do what was only a hint.
func hint(err error) error {
	for _, e := range []error{unix.ENOSYS, unix.EOPNOTSUPP, unix.ESPIPE, unix.EINVAL} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// A directory is opened for a moment, in the midst of things that cannot be left half
// done. Where no more files may be open that is tried again for so long.
const (
	filesWithin = 10 * time.Second
	filesEvery  = 5 * time.Millisecond
)

// patiently opens a directory.
func patiently(open func() error) (err error) {
	for end := time.Now().Add(filesWithin); ; time.Sleep(filesEvery) {
		if err = spaceError(open()); !errors.Is(err, ErrNoFiles) || time.Now().After(end) {
			return err
		}
	}
}

// noMoreFiles reports whether the system's error says ErrNoFiles.
func noMoreFiles(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

func spaceError(err error) error {
	if err != nil && noMoreFiles(err) {
		return fmt.Errorf("%w: %w", ErrNoFiles, err)
	}
	if err != nil && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
