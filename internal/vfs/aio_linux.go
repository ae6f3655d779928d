package vfs

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A write that the kernel does by itself, while the goroutine that waits for it is parked. A blocking write would keep a
// processor of the Go scheduler from everybody else until the runtime's monitor takes it away, which is
// some 0.2 ms later, and keep that monitor awake: with a sync per message it had a seventh of all the time that nodes used.
//
// The interface is io_submit(2), which containers allow, not io_uring, which many forbid.

// iocb and ioEvent are the kernel's, of include/uapi/linux/aio_abi.h.
type iocb struct {
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	bytes    uint64
	off      int64
	reserved uint64
	flags    uint32
	event    uint32
}

type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

const (
	iocbWrite = 1
	iocbEvent = 1 // flag: tell the eventfd
)

// aio is what one write at a time needs. The kernel has pointers into it, which the heap does not move.
type aio struct {
	context uintptr
	event   *os.File
	raw     syscall.RawConn
	cb      iocb
	cbs     [1]*iocb
	done    ioEvent
	count   [8]byte
	read    func(fd uintptr) bool
}

// aios are those that nobody uses.
var aios struct {
	mu   sync.Mutex
	free []*aio
	none bool // the system has no such thing, or no more of it: it is not asked again
	why  error
}

// aioKept is how many are kept: writers of a process at one time are the committer of its log, and who makes a segment.
const aioKept = 8

func takeAIO() *aio {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	if n := len(aios.free); n > 0 {
		a := aios.free[n-1]
		aios.free = aios.free[:n-1]
		return a
	}
	if aios.none {
		return nil
	}
	a, err := newAIO()
	aios.none, aios.why = err != nil && !noMoreFiles(err), err
	return a
}

// whyNoAIO is why the last write that began was not asynchronous; nil: it was.
func whyNoAIO() error {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	return aios.why
}

func (a *aio) free() {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	if len(aios.free) < aioKept {
		aios.free = append(aios.free, a)
		return
	}
	unix.Syscall(unix.SYS_IO_DESTROY, a.context, 0, 0)
	a.event.Close()
}

func newAIO() (*aio, error) {
	a := &aio{}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.context)), 0); e != 0 {
		return nil, os.NewSyscallError("io_setup", e)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		a.event = os.NewFile(uintptr(fd), "eventfd")
		a.raw, err = a.event.SyscallConn()
	}
	if err != nil {
		unix.Syscall(unix.SYS_IO_DESTROY, a.context, 0, 0)
		return nil, err
	}
	a.read = func(fd uintptr) bool {
		_, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&a.count)), uintptr(len(a.count)))
		return e != unix.EAGAIN
	}
	return a, nil
}

// writeAsync writes b to f, a file opened with O_DIRECT, and waits. False: nothing was begun.
func writeAsync(f *os.File, b []byte, off int64) (begun bool, err error) {
	a := takeAIO()
	if a == nil {
		return false, nil
	}
	a.cb = iocb{opcode: iocbWrite, buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), bytes: uint64(len(b)), off: off, flags: iocbEvent}
	a.cbs[0] = &a.cb
	err = control(f, "write", func(fd int) error {
		a.cb.fd = uint32(fd)
		return control(a.event, "write", func(event int) error {
			a.cb.event = uint32(event)
			n, _, e := unix.RawSyscall(unix.SYS_IO_SUBMIT, a.context, 1, uintptr(unsafe.Pointer(&a.cbs)))
			if n != 1 {
				return e
			}
			begun = true
			return nil
		})
	})
	if !begun {
		a.free()
		return false, nil
	}
	defer runtime.KeepAlive(b)
	for {
		err := a.raw.Read(a.read)
		n, _, e := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, a.context, 0, 1, uintptr(unsafe.Pointer(&a.done)), uintptr(unsafe.Pointer(&unix.Timespec{})), 0)
		switch {
		case n == 1:
			res := a.done.res
			a.free()
			if res < 0 {
				return true, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.Errno(-res)}
			}
			if res < int64(len(b)) {
				return true, &os.PathError{Op: "write", Path: f.Name(), Err: io.ErrShortWrite}
			}
			return true, nil
		case err != nil, e != 0 && e != unix.EINTR:
			// It may be written yet, and a stays the kernel's.
			return true, &os.PathError{Op: "write", Path: f.Name(), Err: fmt.Errorf("wait: %w, %w", err, e)}
		}
	}
}
