package faultfs

import "raftmq/internal/vfs"

// layered is an open file.
type layered struct {
	vfs.File
	f *FS
	c *content
}

func (l *layered) ReadAt(b []byte, off int64) (int, error) {
	if err := l.f.meet(OpRead, l.Name(), false); err != nil {
		return 0, err
	}
	return l.File.ReadAt(b, off)
}

// beyond reports whether a file is shorter than to.
func (l *layered) beyond(to int64) bool {
	size, err := l.Size()
	return err == nil && to > size
}

func (l *layered) WriteAt(b []byte, off int64) (int, error) {
	if err := l.f.meet(OpWrite, l.Name(), l.beyond(off+int64(len(b)))); err != nil {
		return 0, err
	}
	n, err := l.File.WriteAt(b, off)
	if n > 0 {
		l.c.wrote(off, off+int64(n))
	}
	return n, err
}

func (l *layered) Truncate(size int64) error {
	if err := l.f.meet(OpWrite, l.Name(), false); err != nil {
		return err
	}
	was, err := l.Size()
	if err != nil {
		return err
	}
	if err := l.File.Truncate(size); err != nil {
		return err
	}
	l.c.wrote(size, max(size, was)) // should it grow again
	return nil
}

func (l *layered) Allocate(off, n int64) error {
	if err := l.f.meet(OpWrite, l.Name(), l.beyond(off+n)); err != nil {
		return err
	}
	return l.File.Allocate(off, n)
}

func (l *layered) Sync() error { return l.SyncData() }

func (l *layered) SyncData() error {
	return l.synced(func() error { return l.c.sync(l.File) })
}

// synced makes something durable, if no rule strikes.
func (l *layered) synced(sync func() error) error {
	if err := l.f.meet(OpSync, l.Name(), false); err != nil {
		if lost := l.c.lose(l.File); lost != nil {
			return lost
		}
		return err
	}
	return sync()
}

// WriteThrough is two operations, a write and a sync: of these bytes alone, if they are whole pages, as the disk has it.
func (l *layered) WriteThrough(b []byte, off int64) error {
	if _, err := l.WriteAt(b, off); err != nil {
		return err
	}
	to := off + int64(len(b))
	if off%vfs.PageSize != 0 || to%vfs.PageSize != 0 {
		return l.SyncData()
	}
	return l.synced(func() error { return l.c.through(l.File, off, to) })
}
