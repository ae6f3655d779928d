package faultfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"raftmq/internal/vfs"
)

// span is a range of bytes.
type span struct{ from, to int64 }

// content is what is known of a file's bytes.
type content struct {
	twin  string
	inode uint64

	syncing sync.Mutex // one sync after the other; before mu

	mu      sync.Mutex
	dirty   []span
	unknown bool             // anything may differ from the twin
	lost    map[int64]uint64 // pages that a failed sync lost, and their bytes' hash then
}

// maxSpans is how many dirty ranges are kept before the whole file counts as dirty.
const maxSpans = 4096

// wrote notes that bytes were changed. It is called after they were, so that a sync
// meanwhile leaves them dirty.
func (c *content) wrote(from, to int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.dirty); n > 0 && c.dirty[n-1].to == from {
		c.dirty[n-1].to = to
		return
	}
	if len(c.dirty) == maxSpans {
		c.dirty, c.unknown = nil, true
		return
	}
	c.dirty = append(c.dirty, span{from, to})
}

// take is what a sync is to copy.
func (c *content) take() (spans []span, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans, whole = c.dirty, c.unknown
	c.dirty, c.unknown = nil, false
	return spans, whole
}

// sync makes the file's bytes and size durable.
func (c *content) sync(file vfs.File) error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	spans, whole := c.take()
	return c.keep(file, spans, whole)
}

// through makes whole pages and the file's size durable, and nothing else that was written.
func (c *content) through(file vfs.File, from, to int64) error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	c.clean(from, to)
	return c.keep(file, []span{{from, to}}, false)
}

// keep brings ranges, or all that differs, and the size to the twin. c.syncing is held.
func (c *content) keep(file vfs.File, spans []span, whole bool) (err error) {
	t, err := c.open()
	if t == nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	size, err := file.Size()
	if err != nil {
		return err
	}
	if err := t.Truncate(size); err != nil {
		return err
	}
	for _, s := range spans {
		if err := c.copy(file, t, s.from, min(s.to, size)); err != nil {
			return err
		}
	}
	if whole {
		return c.compare(file, t, size)
	}
	return nil
}

// clean takes a range from what a sync is to copy.
func (c *content) clean(from, to int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []span
	for _, s := range c.dirty {
		if s.from < from {
			left = append(left, span{s.from, min(s.to, from)})
		}
		if s.to > to {
			left = append(left, span{max(s.from, to), s.to})
		}
	}
	c.dirty = left
}

// open opens the twin; nil without an error: the file has no name any more, and nothing
// of it need be durable.
func (c *content) open() (*os.File, error) {
	var t *os.File
	err := patiently(func() (err error) {
		t, err = os.OpenFile(twinOf(c.twin, c.inode), os.O_RDWR, 0)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// copy copies the pages of a range that was written.
func (c *content) copy(file vfs.File, t *os.File, from, to int64) error {
	from &^= vfs.PageSize - 1
	if c.relieve(from, to) {
		if err := c.saveLost(); err != nil {
			return err
		}
	}
	buf := make([]byte, min(max(0, to-from), 256<<10))
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if n, err := file.ReadAt(b, from); n < len(b) {
			if err == io.EOF {
				return nil // cut off meanwhile: that is dirty again
			}
			return err
		}
		if _, err := t.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}

// compare copies the pages that differ, but for those that are lost.
func (c *content) compare(file vfs.File, t *os.File, size int64) error {
	return c.differing(file, t, size, func(at int64, page []byte) error {
		if c.isLost(at/vfs.PageSize, page) {
			return nil
		}
		_, err := t.WriteAt(page, at)
		return err
	})
}

func (c *content) differing(file vfs.File, t *os.File, size int64, each func(at int64, page []byte) error) error {
	buf, old := make([]byte, 256<<10), make([]byte, 256<<10)
	for from := int64(0); from < size; {
		n := min(int64(len(buf)), size-from)
		is, err := file.ReadAt(buf[:n], from)
		if int64(is) < n && err != io.EOF {
			return err
		}
		was, err := t.ReadAt(old[:n], from)
		if int64(was) < n && err != io.EOF {
			return err
		}
		clear(old[was:n])
		for p := int64(0); p < int64(is); p += vfs.PageSize {
			e := min(p+vfs.PageSize, int64(is))
			if !bytes.Equal(buf[p:e], old[p:e]) {
				if err := each(from+p, buf[p:e]); err != nil {
					return err
				}
			}
		}
		from += n
	}
	return nil
}

// lose is a sync that fails: what it was to make durable counts as clean.
func (c *content) lose(file vfs.File) (err error) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	c.take()
	t, err := c.open()
	if t == nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	size, err := file.Size()
	if err != nil {
		return err
	}
	err = c.differing(file, t, size, func(at int64, page []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lost == nil {
			c.lost = make(map[int64]uint64)
		}
		c.lost[at/vfs.PageSize] = hash(page)
		return nil
	})
	if err != nil {
		return err
	}
	return c.saveLost()
}

func hash(page []byte) uint64 {
	h := fnv.New64a()
	h.Write(page)
	return h.Sum64()
}

// isLost reports whether a page is as a failed sync left it.
func (c *content) isLost(page int64, b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.lost[page]
	return ok && was == hash(b)
}

// relieve takes the pages of a range off the lost ones, and reports whether there were
// some: they were written again.
func (c *content) relieve(from, to int64) (some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.lost {
		if at := p * vfs.PageSize; at < to && at+vfs.PageSize > from {
			delete(c.lost, p)
			some = true
		}
	}
	return some
}

func (c *content) lostFile() string {
	return filepath.Join(c.twin, "l", strconv.FormatUint(c.inode, 10))
}

func (c *content) saveLost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(c.lost)
	if err != nil {
		return err
	}
	return patiently(func() error { return os.WriteFile(c.lostFile(), b, 0o640) })
}

func (c *content) loadLost() error {
	var b []byte
	err := patiently(func() (err error) {
		b, err = os.ReadFile(c.lostFile())
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c.lost)
	}
	return err
}
