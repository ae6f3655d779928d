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

	syncing sync.Mutex // taken before mu
	failed  error      // of a sync: final. Guarded by syncing

	mu     sync.Mutex
	open   map[string]*openFile
	tick   uint64
	moved  uint64 // how often a name was forgotten
	closed bool
}

// openFile is held between get and put.
type openFile struct {
	vfs.File
	users int
	used  uint64
	dirty bool // written, not synced: stays open, so that its error is not missed
	gone  bool // forgotten: closed by the last user
}

// get opens name, to be given back by put. check, if not nil, sees the first
// headBytes of the file when it is opened.
func (c *files) get(name string, headBytes int, check func(name string, head []byte) error) (*openFile, error) {
	for {
		f, moved, err := c.use(name)
		if f != nil || err != nil {
			return f, err
		}
		file, err := c.openFile(name, headBytes, check)
		if err != nil {
			return nil, err
		}
		if f = c.keep(name, file, moved); f != nil {
			return f, nil
		}
		file.Close()
	}
}

// openFile opens name and checks its head, with no lock held: the disk may be slow.
func (c *files) openFile(name string, headBytes int, check func(name string, head []byte) error) (vfs.File, error) {
	file, err := c.disk.Open(name)
	if err != nil {
		return nil, unread(name, 0, err)
	}
	if check == nil {
		return file, nil
	}
	head := make([]byte, headBytes)
	if _, err = file.ReadAt(head, 0); err != nil {
		err = unread(name, 0, err)
	} else {
		err = check(name, head)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// create makes a file of those bytes. Nobody else may create it meanwhile.
func (c *files) create(name string, b []byte) (*openFile, error) {
	file, err := c.disk.Create(name)
	if err != nil {
		return nil, err
	}
	if _, err = file.WriteAt(b, 0); err != nil {
		return nil, errors.Join(err, file.Close(), c.disk.Remove(name))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(name)
	f := &openFile{File: file, users: 1, used: c.tick, dirty: true}
	c.open[name] = f
	c.evictLocked()
	return f, nil
}

// getOrCreate is get, or create if there is no such file.
func (c *files) getOrCreate(name string, headBytes int, check func(name string, head []byte) error, b []byte) (f *openFile, created bool, err error) {
	f, err = c.get(name, headBytes, check)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, false, err
	}
	f, err = c.create(name, b)
	return f, err == nil, err
}

// use returns the file if it is open, and what keep is to be told. errGone once
// closed.
func (c *files) use(name string) (f *openFile, moved uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, 0, errGone
	}
	c.tick++
	if f = c.open[name]; f != nil {
		f.users++
		f.used = c.tick
	}
	return f, c.moved, nil
}

// keep keeps a file that was opened since use said moved; nil if a name, maybe
// this one, was forgotten since, or another opened it, or all was closed.
func (c *files) keep(name string, file vfs.File, moved uint64) *openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved != moved || c.open[name] != nil || c.closed {
		return nil
	}
	f := &openFile{File: file, users: 1, used: c.tick}
	c.open[name] = f
	c.evictLocked()
	return f
}

// evictLocked closes what is over the limit, if it can.
func (c *files) evictLocked() {
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
	c.evictLocked()
}

// wrote keeps f open until syncDirty.
func (c *files) wrote(f *openFile) {
	c.mu.Lock()
	f.dirty = true
	c.mu.Unlock()
}

// syncDirty syncs every file written before. An error is final: every later call
// returns it.
func (c *files) syncDirty() error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	if c.failed != nil {
		return c.failed
	}
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
	for _, f := range dirty {
		if c.failed == nil {
			if err := f.SyncData(); err != nil {
				c.failed = fmt.Errorf("sync %s: %w", f.Name(), err)
			}
		}
		c.put(f)
	}
	return c.failed
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
	c.forgetLocked(name)
}

func (c *files) forgetLocked(name string) {
	c.moved++
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

func (c *files) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for name := range c.open {
		c.forgetLocked(name)
	}
}
