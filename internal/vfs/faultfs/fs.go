package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"raftmq/internal/vfs"
)

// The disk's size that the layer tells, and what is free of it while no rule says
// otherwise: what the machine's disk has does not matter to a node under test.
const (
	totalSpace = 64 << 30
	freeSpace  = 48 << 30
)

// FS is the layer of one folder. It may be used concurrently.
type FS struct {
	base       vfs.OS
	root, twin string

	rules Rules

	mu    sync.Mutex          // of names
	files map[uint64]*content // by inode, of files that were used and have a name
	names names
}

var _ vfs.FS = (*FS)(nil)

// Open returns the layer of the folder root, whose twin may be there from an earlier
// process. Both are absolute paths, on one disk, neither within the other.
func Open(root, twin string) (*FS, error) {
	if !filepath.IsAbs(root) || !filepath.IsAbs(twin) {
		return nil, fmt.Errorf("faultfs: %s and %s must be absolute", root, twin)
	}
	for _, d := range []string{"i", "n", "l"} {
		if err := os.MkdirAll(filepath.Join(twin, d), 0o750); err != nil {
			return nil, err
		}
	}
	return &FS{root: filepath.Clean(root), twin: twin, files: make(map[uint64]*content), names: make(names)}, nil
}

// SetRules puts rules in force in place of those before. What hangs goes on.
func (f *FS) SetRules(rules []Rule) error { return f.rules.Set(rules) }

// Hits is how often each rule in force has struck.
func (f *FS) Hits() []int64 { return f.rules.Hits() }

func (f *FS) meet(op, name string, grows bool) error { return f.rules.Meet(op, f.rel(name), grows) }

// rel is name below the folder; what is outside keeps its name, and has no twin.
func (f *FS) rel(name string) string {
	r, err := filepath.Rel(f.root, name)
	if err != nil || r == ".." || strings.HasPrefix(r, "../") {
		return name
	}
	return r
}

func (f *FS) inside(name string) bool { return !filepath.IsAbs(f.rel(name)) }

func (f *FS) durableName(name string) string { return filepath.Join(f.twin, "n", f.rel(name)) }

func twinOf(twin string, inode uint64) string {
	return filepath.Join(twin, "i", strconv.FormatUint(inode, 10))
}

func inodeOf(name string) (uint64, error) {
	st, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return st.Sys().(*syscall.Stat_t).Ino, nil
}

func (f *FS) Create(name string) (vfs.File, error) {
	if err := f.meet(OpName, name, true); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names.changed(name)
	file, err := f.base.Create(name)
	if err != nil || !f.inside(name) {
		return file, err
	}
	inode, err := inodeOf(name)
	if err == nil {
		err = f.forget(inode)
	}
	if err == nil {
		err = patiently(func() error { return os.WriteFile(twinOf(f.twin, inode), nil, 0o640) })
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c := &content{twin: f.twin, inode: inode}
	f.files[inode] = c
	return &layered{file, f, c}, nil
}

func (f *FS) Open(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.base.Open(name)
	if err != nil || !f.inside(name) {
		return file, err
	}
	c, err := f.contentOf(name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &layered{file, f, c}, nil
}

// contentOf is that of a file that is there. One without a twin counts as durable as it
// is, and so does its name.
func (f *FS) contentOf(name string) (*content, error) {
	inode, err := inodeOf(name)
	if err != nil {
		return nil, err
	}
	if c := f.files[inode]; c != nil {
		return c, nil
	}
	c := &content{twin: f.twin, inode: inode, unknown: true}
	if _, err := os.Stat(twinOf(f.twin, inode)); errors.Is(err, fs.ErrNotExist) {
		if err := f.adopt(name, inode); err != nil {
			return nil, err
		}
		c.unknown = false
	}
	if err := c.loadLost(); err != nil {
		return nil, err
	}
	f.files[inode] = c
	return c, nil
}

func (f *FS) adopt(name string, inode uint64) error {
	if err := copyFile(name, twinOf(f.twin, inode)); err != nil {
		return err
	}
	at := f.durableName(name)
	if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(twinOf(f.twin, inode), at)
}

// forget takes the twin of an inode away that is free for another file.
func (f *FS) forget(inode uint64) error {
	delete(f.files, inode)
	for _, d := range []string{"i", "l"} {
		if err := os.Remove(filepath.Join(f.twin, d, strconv.FormatUint(inode, 10))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *FS) List(dir string) ([]string, error) { return f.base.List(dir) }

func (f *FS) MkdirAll(dir string) error {
	if err := f.meet(OpName, dir, true); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := filepath.Clean(dir); f.inside(d) && d != f.root; d = filepath.Dir(d) {
		f.names.changed(d)
	}
	return f.base.MkdirAll(dir)
}

func (f *FS) Rename(from, to string) error {
	if err := f.meet(OpName, to, false); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names.changed(from)
	f.names.changed(to)
	replaced, there := inodeOf(to)
	moved, err := inodeOf(from)
	if err != nil {
		return err
	}
	if err := f.base.Rename(from, to); err != nil {
		return err
	}
	if there == nil && replaced != moved && f.inside(to) {
		return f.forget(replaced)
	}
	return nil
}

func (f *FS) Remove(name string) error {
	if err := f.meet(OpName, name, false); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names.changed(name)
	inode, there := inodeOf(name)
	if err := f.base.Remove(name); err != nil {
		return err
	}
	if there == nil && f.inside(name) {
		return f.forget(inode)
	}
	return nil
}

func (f *FS) RemoveAll(name string) error {
	if err := f.meet(OpName, name, false); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names.changed(name)
	f.names.gone(name)
	var inodes []uint64
	filepath.WalkDir(name, func(path string, _ fs.DirEntry, err error) error {
		if inode, err := inodeOf(path); err == nil {
			inodes = append(inodes, inode)
		}
		return nil
	})
	if err := f.base.RemoveAll(name); err != nil || !f.inside(name) {
		return err
	}
	for _, i := range inodes {
		if err := f.forget(i); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir gives dir's durable names those that it has.
func (f *FS) SyncDir(dir string) error {
	if err := f.meet(OpSync, dir, false); err != nil {
		return err
	}
	if !f.inside(dir) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	to := f.durableName(dir)
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	names, all := f.names.of(dir)
	if all {
		var err error
		if names, err = namesIn(dir, to); err != nil {
			return err
		}
	}
	for name := range names {
		if err := f.syncName(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
			f.names.forget(dir)
			return err
		}
	}
	f.names.synced(dir)
	return nil
}

// syncName gives a name its durable state: that of a file, of a folder, or none.
func (f *FS) syncName(name, durable string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(durable)
	} else if err != nil {
		return err
	}
	was, err := os.Lstat(durable)
	if err == nil && was.IsDir() != info.IsDir() {
		if err := os.RemoveAll(durable); err != nil {
			return err
		}
		was = nil
	}
	if info.IsDir() {
		return os.MkdirAll(durable, 0o750)
	}
	inode, err := inodeOf(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a file of others came and went
	} else if err != nil {
		return err
	}
	is, err := os.Lstat(twinOf(f.twin, inode))
	if err == nil && was != nil && os.SameFile(is, was) {
		return nil
	}
	if was != nil {
		if err := os.Remove(durable); err != nil {
			return err
		}
	}
	if err != nil {
		return nil // not used through the layer
	}
	return os.Link(twinOf(f.twin, inode), durable)
}

func (f *FS) Space(string) (free, total uint64, err error) {
	if f.rules.Full() {
		return 0, totalSpace, nil
	}
	return freeSpace, totalSpace, nil
}

func (f *FS) Lock(name string) (io.Closer, error) { return f.base.Lock(name) }

func copyFile(from, to string) error {
	return patiently(func() error {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o640)
	})
}
