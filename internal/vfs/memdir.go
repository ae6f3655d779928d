package vfs

import "slices"

// node is a directory or a file of a Mem.
type node struct {
	names map[string]*node // of a directory, as seen; nil for a file
	disk  map[string]*node // of a directory, as durable

	*content // of a file
	unlinked bool
	handles  int // open files and maps
}

func newDir() *node {
	return &node{names: map[string]*node{}, disk: map[string]*node{}}
}

func newFile(id uint64) *node { return &node{content: &content{id: id}} }

func (n *node) isDir() bool { return n.names != nil }

// entry is a name in a directory and what it names after a change; nil: none.
type entry struct {
	dir  *node
	name string
	to   *node
}

// change is a change of names that a power cut keeps or loses as one.
type change struct {
	id       uint64
	entries  []entry
	removed  *node   // the directory that it removes, if it does
	unsynced []*node // directories that must be synced to make it durable
}

// follows says whether c cannot have reached the disk without the earlier
// change b, on any disk that keeps its own structure whole.
func (c *change) follows(b *change) bool {
	return c.overwrites(b) || slices.ContainsFunc(c.entries, func(e entry) bool {
		return slices.ContainsFunc(b.entries, func(f entry) bool { return f.to == e.dir })
	})
}

// overwrites says whether c is a later change of a name that b changed, or
// removes a directory in which b did.
func (c *change) overwrites(b *change) bool {
	for _, f := range b.entries {
		if c.removed != nil && f.dir == c.removed {
			return true
		}
		for _, e := range c.entries {
			if e.dir == f.dir && e.name == f.name {
				return true
			}
		}
	}
	return false
}

// changeLocked makes a change as seen and leaves it pending.
func (m *Mem) changeLocked(kind, name string, entries ...entry) {
	c := &change{id: mix(hashString(kind), m.birth(name)), entries: entries}
	for _, e := range entries {
		if old := e.dir.names[e.name]; e.to == nil && len(entries) == 1 && old != nil && old.isDir() {
			c.removed = old
		}
		if !slices.Contains(c.unsynced, e.dir) {
			c.unsynced = append(c.unsynced, e.dir)
		}
		if e.to == nil {
			delete(e.dir.names, e.name)
		} else {
			e.dir.names[e.name] = e.to
		}
	}
	m.pending = append(m.pending, c)
}

// unlinkedLocked gives back the blocks of a file that lost its name, unless
// it is in use. Its content stays while it has a durable name.
func (m *Mem) unlinkedLocked(n *node) {
	if n == nil || n.isDir() {
		return
	}
	n.unlinked = true
	m.releaseLocked(n)
}

func (m *Mem) releaseLocked(n *node) {
	if n.unlinked && n.handles == 0 {
		m.used -= n.blocks.clear(0)
	}
}

// syncDirLocked makes the changes in dir durable, and those that they
// overwrite. A rename between two directories waits for both.
func (m *Mem) syncDirLocked(dir *node) {
	for _, c := range m.pending {
		c.unsynced = slices.DeleteFunc(c.unsynced, func(d *node) bool { return d == dir })
	}
	durable := make([]bool, len(m.pending))
	for i := len(m.pending) - 1; i >= 0; i-- {
		c := m.pending[i]
		durable[i] = durable[i] || len(c.unsynced) == 0
		if !durable[i] {
			continue
		}
		for j := range i {
			if c.overwrites(m.pending[j]) || len(c.entries) > 1 && c.follows(m.pending[j]) {
				durable[j] = true
			}
		}
	}
	var rest []*change
	for i, c := range m.pending {
		if durable[i] {
			for _, e := range c.entries {
				e.set(e.dir.disk)
			}
		} else {
			rest = append(rest, c)
		}
	}
	m.pending = rest
}

func (e entry) set(names map[string]*node) {
	if e.to == nil {
		delete(names, e.name)
	} else {
		names[e.name] = e.to
	}
}
