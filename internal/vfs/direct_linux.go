package vfs

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct is a second handle of a file, by which writes go past the page cache and are
// durable when they return. It costs neither the copy nor the pages, which a system
// that has given them back to its host pays dearly for, and one system call instead of
// two.
//
// Bytes in the page cache are dropped by the kernel when they are written over, and
// written back before if they are dirty, so that reads by the first handle see the
// new ones. A file's dirty bytes and direct writes should not share a block all the
// same.
type direct struct {
	mu     sync.Mutex
	f      *os.File
	closed bool
	none   bool  // the file system has no such thing
	why    error // there is no handle
}

// write says in which way b was written, or failed; after WriteAndSync nothing was done.
func (d *direct) write(file *os.File, b []byte, off int64) (Way, error) {
	if len(b) == 0 || len(b)%Block != 0 || off%Block != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%Block != 0 {
		return WriteAndSync, nil
	}
	f, err := d.open(file)
	if f == nil {
		return WriteAndSync, err
	}
	if done, err := writeAsync(f, b, off); done && !errors.Is(err, unix.EINVAL) {
		return DirectSubmits, err
	}
	n, err := f.WriteAt(b, off)
	if n == 0 && errors.Is(err, unix.EINVAL) { // larger blocks, or a file system that finds out now
		d.mu.Lock()
		d.none, d.why = true, err
		d.mu.Unlock()
		return WriteAndSync, nil
	}
	return DirectWrite, err
}

// reason is why writes go no better way than w; nil: it is not known.
func (d *direct) reason(w Way) error {
	if w == DirectWrite {
		return whyNoAIO()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

// open gives the handle; nil without an error: there is none to be had.
func (d *direct) open(file *os.File) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, &fs.PathError{Op: "write", Path: file.Name(), Err: fs.ErrClosed}
	}
	if d.f != nil || d.none {
		if d.none {
			return nil, nil
		}
		return d.f, nil
	}
	// By its descriptor: the name may be another's by now.
	err := control(file, "open", func(fd int) error {
		n, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC|unix.O_CLOEXEC, 0)
		if err == nil {
			d.f = os.NewFile(uintptr(n), file.Name())
		}
		return err
	})
	if errors.Is(err, fs.ErrClosed) {
		return nil, err
	}
	d.why = err
	d.none = d.f == nil && !noMoreFiles(err) // without /proc, or O_DIRECT
	return d.f, nil
}

func (d *direct) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.f == nil {
		return nil
	}
	return d.f.Close()
}
