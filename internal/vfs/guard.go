package vfs

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Guard runs f and turns a memory fault in it into an error that is ErrFault:
// SIGBUS from a map whose disk failed or whose file is shorter, SIGSEGV from a
// store to one. f has then ended at the faulting instruction, with its deferred calls run.
// Other panics, a nil pointer among them, go on. Only the calling goroutine
// is guarded. A system call given faulting memory returns EFAULT instead.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		// Only faults outside the first page carry an address.
		fault, ok := r.(interface {
			runtime.Error
			Addr() uintptr
		})
		if !ok {
			panic(r)
		}
		err = fmt.Errorf("%w at address %#x", ErrFault, fault.Addr())
	}()
	return f()
}
