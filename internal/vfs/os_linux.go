package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func (f osFile) SyncData() error { return unix.Fdatasync(int(f.Fd())) }

func (f osFile) Allocate(off, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, off, n)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EOPNOTSUPP { // a file system without it: reserve by size alone
			size, err := f.Size()
			if err != nil || size >= off+n {
				return err
			}
			return noSpace(f.Truncate(off + n))
		}
		if err != nil {
			return noSpace(fmt.Errorf("allocate %d bytes of %s: %w", n, f.Name(), err))
		}
		return nil
	}
}

func (f osFile) WriteBack(off, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func (m *osMapping) Populate(off, n int64) error {
	off, n = pages(off, n)
	return unix.Madvise(m.b[off:min(off+n, int64(len(m.b)))], unix.MADV_POPULATE_WRITE)
}
