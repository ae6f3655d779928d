package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func allocate(f *os.File, off, n int64) error {
	return control(f, "allocate", func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
}

func syncData(fd int) error { return unix.Fdatasync(fd) }

func writeBack(fd int, off, n int64) error {
	return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func drop(fd int, off, n int64) error { return unix.Fadvise(fd, off, n, unix.FADV_DONTNEED) }
