package vfs

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lender holds memory that is not the Go heap's, until nobody refers to it any more.
type lender struct{ b []byte }

// lend returns n bytes, zeros, of which only those take memory that are touched: maps
// are made for the largest file that there may be. The memory is there as long
// as the lender is referred to. With the race detector, which sees the Go heap only, they
// are of that, and there is no lender.
func lend(n int64) ([]byte, *lender) {
	if raceDetector {
		return make([]byte, n), nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n), nil
	}
	l := &lender{b}
	runtime.AddCleanup(l, func(b []byte) { unix.Munmap(b) }, b)
	return b, l
}
