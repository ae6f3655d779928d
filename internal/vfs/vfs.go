package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
	"unsafe"
)

// PageSize is the unit in which Mem keeps a file.
const PageSize = 4096

// SectorSize is the unit that a power cut keeps or loses whole.
const SectorSize = 512

var (
	// ErrNoSpace says that the disk or a quota is full. A write may have been
	// done in part; Allocate may have reserved a part.
	ErrNoSpace = errors.New("vfs: no space left on the disk")

	// ErrNoFiles says that the process or the system has as many files open as it may.
	// Nothing happened. errors.Is takes it for ErrNoSpace too: it passes by itself, as a
	// full disk does, and who can wait for room can wait for that.
	ErrNoFiles error = noFiles{}

	// ErrLocked says that somebody holds the lock. Nothing happened.
	ErrLocked = errors.New("vfs: locked by another process")

	// ErrFault says that memory behind a map could not be read: the disk failed, or
	// the place lies beyond the end of the file. Or that somebody stored to it.
	ErrFault = errors.New("vfs: fault in mapped memory")
)

type noFiles struct{}

func (noFiles) Error() string        { return "vfs: no more files may be open" }
func (noFiles) Is(target error) bool { return target == ErrNoSpace }

// Starved reports whether a file could not be opened or read for want of files or memory: of what it
// holds, and whether it is there, that says nothing.
func Starved(err error) bool {
	return errors.Is(err, ErrNoFiles) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// FS is a disk. Names are slash-separated paths. It may be used concurrently.
type FS interface {
	// Create makes a file that must not exist (fs.ErrExist) and opens it for
	// reading and writing. Its directory must exist (fs.ErrNotExist).
	Create(name string) (File, error)

	// Open opens an existing file (fs.ErrNotExist) for reading and writing.
	Open(name string) (File, error)

	// List returns the base names in dir, sorted; fs.ErrNotExist without dir.
	List(dir string) ([]string, error)

	// MkdirAll makes dir and its parents; it is no error if they exist. See
	// MakeDir for the durable form.
	MkdirAll(dir string) error

	// Rename gives from the name to, atomically replacing a file there.
	Rename(from, to string) error

	// Remove removes a file or an empty directory. An open file or a map of it
	// stays usable.
	Remove(name string) error

	// RemoveAll removes name and what is below it; it is no error if name is
	// not there. A power cut may leave any part of it.
	RemoveAll(name string) error

	// SyncDir makes the creations, renames and removals of names in dir
	// durable, but not the content of files.
	SyncDir(dir string) error

	// Space returns the bytes that can still be written below dir, and those that
	// could be if its disk were empty.
	Space(dir string) (free, total uint64, err error)

	// Lock takes the exclusive lock named by the file name, creating it if
	// need be with its directory, until Close or the end of the process.
	// ErrLocked if it is held, in this process too. The file stays.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Its methods may be used concurrently, also with those
// of its maps; reads and writes of the same bytes need the caller's order.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer // Maps of the file stay usable.

	// Name is the name the file was opened by.
	Name() string

	// Size returns the size in bytes.
	Size() (int64, error)

	// Truncate sets the size. What is cut off is gone; what is added reads as
	// zeros and has no blocks reserved.
	Truncate(size int64) error

	// Allocate reserves blocks for n bytes from off and grows the file to
	// off+n if it is shorter; bytes already there are unchanged. Writes into
	// the range then do not meet ErrNoSpace.
	Allocate(off, n int64) error

	// Sync makes the file's bytes, size and attributes durable (fsync). After
	// an error the bytes are lost or not, and no later Sync tells.
	Sync() error

	// SyncData makes the file's bytes and size durable (fdatasync). Errors are
	// those of Sync.
	SyncData() error

	// WriteThrough is WriteAt and then SyncData of these bytes, in one step where the
	// disk has one. Of bytes written otherwise it promises nothing. With b
	// from Aligned, and off and len(b) multiples of Block, the bytes do not go through
	// the page cache. Errors are those of both.
	WriteThrough(b []byte, off int64) error

	// Map maps the bytes [0,size), shared and for reading. size may exceed the
	// file's: reading pages beyond its end faults (see Guard) until the file has
	// grown there.
	Map(size int64) (Mapping, error)

	// WriteBack starts to write the dirty bytes of the range to the disk
	// without waiting for the end; n of 0 means to the end of the file. It
	// promises nothing, and it can block while the disk's queue is full.
	WriteBack(off, n int64) error

	// Drop is a hint that the range will not be read soon; n of 0 means to the
	// end of the file. Bytes that are not on disk yet stay in memory.
	Drop(off, n int64) error
}

// Block is what WriteThrough writes best in multiples of, in bytes: a page, which is
// at least a sector of any disk.
const Block = 4096

// Aligned is n bytes of memory, zeros, that begin at a multiple of Block.
func Aligned(n int) []byte {
	b := make([]byte, n+Block-1)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (Block - 1))
	return b[skip : skip+n : skip+n]
}

// Mapping is a file's bytes as memory, for reading: what WriteAt, Truncate and
// Allocate leave is seen at once. A store to it faults (see Guard) and changes nothing,
// so that a stray one cannot damage the file; LMDB maps for reading for the same reason.
// Mem lets it pass: readers of the map see it, the file does not have it.
type Mapping interface {
	// Bytes is the memory. It must not be touched after Unmap, and is nil then.
	Bytes() []byte

	// Unmap ends the mapping. It must not run beside a reader.
	Unmap() error
}

// MakeDir is MkdirAll, durable on return: it syncs the directory that holds
// dir, and those that hold parents it had to make.
func MakeDir(fsys FS, dir string) error {
	dir = filepath.Clean(dir)
	parents := []string{filepath.Dir(dir)}
	for d := parents[0]; d != filepath.Dir(d); d = filepath.Dir(d) {
		_, err := fsys.List(d)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	for _, d := range parents {
		if err := fsys.SyncDir(d); err != nil {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	return nil
}

// WriteFile gives name the content b, durable and atomic: after a power cut at
// any time the file holds what it held before or all of b. It goes through
// name+".tmp", which nobody else may use.
func WriteFile(fsys FS, name string, b []byte) (err error) {
	tmp := name + ".tmp"
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// ReadFile returns the whole content of name, at most max bytes of it: a
// longer file is an error.
func ReadFile(fsys FS, name string, max int64) (b []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d expected", name, size, max)
	}
	b = make([]byte, size)
	if size == 0 {
		return b, nil
	}
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// checkRange refuses what lies outside [0,size), with the place.
func checkRange(what, name string, off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%s %s: range %d+%d outside 0 to %d: %w", what, name, off, n, size, fs.ErrInvalid)
	}
	return nil
}
