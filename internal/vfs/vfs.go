// Package vfs is the disk as raftmq uses it: OS is the real one, Mem one that
// crashes, loses what was not synced, fails and lies.
//
// A store through a Mapping is unsynced until Mapping.Sync of its range, or
// Sync or SyncData of the file, returns nil. A file's name is unsynced until
// SyncDir of its directory does.
package vfs

import (
	"errors"
	"io"
)

var (
	// ErrNoSpace: the disk has no room. Nothing was reserved.
	ErrNoSpace = errors.New("vfs: no space left")
	// ErrLocked: another process holds the lock file.
	ErrLocked = errors.New("vfs: locked by another process")
	// ErrFault: memory behind a map could not be read or written (SIGBUS).
	ErrFault = errors.New("vfs: fault in a mapped file")
)

// FS is a file system. Names are paths as the operating system takes them.
type FS interface {
	// Create makes a file for reading and writing; fs.ErrExist if it is there.
	Create(name string) (File, error)
	// Open opens a file for reading and writing; fs.ErrNotExist if it is not there.
	Open(name string) (File, error)
	// List returns the base names in dir, sorted.
	List(dir string) ([]string, error)
	MkdirAll(dir string) error
	// Rename replaces to atomically.
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Free returns the bytes that an unprivileged writer may still use.
	Free(dir string) (uint64, error)
	// Lock takes an exclusive lock on the file name until the Closer is closed or
	// the process ends; ErrLocked if another holds it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Reads and writes may be concurrent.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Allocate reserves blocks for [off, off+n) and grows the file over it; the new
	// bytes are zeros. ErrNoSpace when the disk is full.
	Allocate(off, n int64) error
	// Sync makes data, size and other metadata durable. After an error nothing is
	// known of what is on disk, and calling again proves nothing.
	Sync() error
	// SyncData is Sync without metadata that reading does not need.
	SyncData() error
	// Map maps [0, size) for reading and writing, shared with the file. size may
	// exceed the file's; touching what lies beyond the file's end faults.
	Map(size int64) (Mapping, error)
	// WriteBack asks that dirty pages of [off, off+n) be written soon. It does not
	// wait and promises nothing.
	WriteBack(off, n int64) error
}

// Mapping is a file's memory.
type Mapping interface {
	// Bytes is the memory; not to be touched after Unmap.
	Bytes() []byte
	// Sync makes the range durable, if the file's size is.
	Sync(off, n int64) error
	// Populate makes the range ready to be written, so that later stores do not
	// fault. A hint.
	Populate(off, n int64) error
	Unmap() error
}
