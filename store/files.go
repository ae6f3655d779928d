package store

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"raftmq/internal/vfs"
)

// maxOpen is how many files a store keeps open besides its active segment:
// sealed segments, queues and keys. Files in use or not synced come on top.
const maxOpen = 16

// files keeps files open by name, and closes those not used for longest.
type files struct {
	disk vfs.FS

	mu   sync.Mutex
	open map[string]*openFile
	tick uint64
}

// openFile is held between get and put.
type openFile struct {
	vfs.File
	users int
	used  uint64
	dirty bool // written, not synced: stays open, so that its error is not missed
	gone  bool // forgotten: closed by the last user
}

// get opens name, or creates it with head if create is set and it is not there.
// check sees a file's first bytes, as many as head has, when it is opened.
func (c *files) get(name string, headBytes int, check func(name string, head []byte) error, create []byte) (f *openFile, created bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick++
	if f := c.open[name]; f != nil {
		f.users++
		f.used = c.tick
		return f, false, nil
	}
	file, err := c.disk.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create != nil:
		if file, err = c.disk.Create(name); err != nil {
			return nil, false, err
		}
		if _, err = file.WriteAt(create, 0); err != nil {
			return nil, false, errors.Join(err, file.Close(), c.disk.Remove(name))
		}
		created = true
	case err != nil:
		return nil, false, err
	default:
		head := make([]byte, headBytes)
		if headBytes == 0 {
			break
		}
		if _, err = file.ReadAt(head, 0); err != nil {
			err = fmt.Errorf("%w: read %s at 0: %w", ErrDamaged, name, err)
		} else {
			err = check(name, head)
		}
		if err != nil {
			return nil, false, errors.Join(err, file.Close())
		}
	}
	f = &openFile{File: file, users: 1, used: c.tick, dirty: created}
	c.open[name] = f
	c.evict()
	return f, created, nil
}

// evict closes what is over the limit, if it can.
func (c *files) evict() {
	for len(c.open) > maxOpen {
		var oldest string
		for name, f := range c.open {
			if f.users == 0 && !f.dirty && (oldest == "" || f.used < c.open[oldest].used) {
				oldest = name
			}
		}
		if oldest == "" {
			return
		}
		c.open[oldest].Close()
		delete(c.open, oldest)
	}
}

func (c *files) put(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
	if f.gone && f.users == 0 {
		f.Close()
	}
	c.evict()
}

// wrote keeps f open until syncDirty.
func (c *files) wrote(f *openFile) {
	c.mu.Lock()
	f.dirty = true
	c.mu.Unlock()
}

// syncDirty syncs every file written before. An error is final.
func (c *files) syncDirty() error {
	c.mu.Lock()
	var dirty []*openFile
	for _, f := range c.open {
		if f.dirty {
			f.users++
			f.dirty = false
			dirty = append(dirty, f)
		}
	}
	c.mu.Unlock()
	var err error
	for _, f := range dirty {
		if err == nil {
			if err = f.SyncData(); err != nil {
				err = fmt.Errorf("sync %s: %w", f.Name(), err)
			}
		}
		c.put(f)
	}
	return err
}

// dirtyCount is how many files wait for a sync.
func (c *files) dirtyCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.open {
		if f.dirty {
			n++
		}
	}
	return n
}

// forget closes name, which is about to be removed or replaced.
func (c *files) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.open[name]
	if f == nil {
		return
	}
	delete(c.open, name)
	f.gone = true
	if f.users == 0 {
		f.Close()
	}
}

func (c *files) close() error {
	c.mu.Lock()
	names := make([]string, 0, len(c.open))
	for name := range c.open {
		names = append(names, name)
	}
	c.mu.Unlock()
	for _, name := range names {
		c.forget(name)
	}
	return nil
}
