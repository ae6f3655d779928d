//go:build !linux

package vfs

func (f osFile) SyncData() error { return f.Sync() }

func (f osFile) Allocate(off, n int64) error {
	size, err := f.Size()
	if err != nil || size >= off+n {
		return err
	}
	return noSpace(f.Truncate(off + n))
}

func (f osFile) WriteBack(off, n int64) error { return nil }

func (m *osMapping) Populate(off, n int64) error { return nil }
