package vfs

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Guard runs f, which touches mapped memory, and returns ErrFault if the disk
// behind the map could not deliver (SIGBUS). Other panics pass through.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = fmt.Errorf("%w at %#x", ErrFault, p.Addr())
		default:
			panic(p)
		}
	}()
	return f()
}
