package vfs

import "slices"

// CrashClone returns what a power cut would leave now: each unsynced sector,
// size and change of a name kept or lost by an even chance. m goes on. The same
// seed after the same operations leaves the same.
func (m *Mem) CrashClone(seed uint64) *Mem { return m.CrashKeeping(seed, 0.5) }

// CrashKeeping is CrashClone that keeps each thing with the chance keep: 0
// leaves only what is durable, 1 everything, as the end of a process does.
func (m *Mem) CrashKeeping(seed uint64, keep float64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cloneLocked(seed, keep)
}

// Cut says what a power cut leaves; see CrashKeeping.
type Cut struct {
	Seed uint64
	Keep float64
}

// Crash cuts the power: it returns what CrashClone does, and every operation
// on m from here on is refused.
func (m *Mem) Crash(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutLocked(Op{}, []Cut{{Seed: seed, Keep: 0.5}})
	return m.left[0]
}

// CutAt has the power cut just before counted operation n (see Ops), which is
// refused as all after it are. Each of the cuts, one if none is given, is a
// disk in Left, as alternatives to each other. n of 0 lifts it.
func (m *Mem) CutAt(n uint64, cuts ...Cut) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(cuts) == 0 {
		cuts = []Cut{{Keep: 0.5}}
	}
	m.cutAt, m.cuts = n, cuts
}

// Left returns what the power cut left and the operation that was refused
// first, none if the cut came by Crash; nil if there was no cut.
func (m *Mem) Left() ([]*Mem, Op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left, m.cutOp
}

// Down is closed when the power is cut.
func (m *Mem) Down() <-chan struct{} { return m.down }

func (m *Mem) cutLocked(op Op, cuts []Cut) {
	if m.isDown {
		return
	}
	for _, c := range cuts {
		m.left = append(m.left, m.cloneLocked(c.Seed, c.Keep))
	}
	m.cutOp = op
	m.isDown = true
	close(m.down)
}

// Lost is what a power cut did to what was not durable.
type Lost struct{ Sectors, SectorsKept, Names, NamesKept int }

// Lost is what the cut did that left m; zero if none did.
func (m *Mem) Lost() Lost { return m.lost }

// Kill is what the end of a process leaves: everything, and what was not durable still
// is not. Every operation on m from here on is refused; its maps stay as they are.
func (m *Mem) Kill() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := NewMem(m.seed)
	left.births, left.capacity, left.ops = m.births, m.capacity, m.ops
	m.births = map[string]uint64{}
	copies := map[*node]*node{}
	var clone func(n *node) *node
	clone = func(n *node) *node {
		if n == nil {
			return nil
		}
		if c := copies[n]; c != nil {
			return c
		}
		c := &node{unlinked: n.unlinked}
		copies[n] = c
		if !n.isDir() {
			c.content = n.kill()
			if !c.unlinked {
				left.used += c.blocks.bytes()
			}
			return c
		}
		c.names, c.disk = make(map[string]*node, len(n.names)), make(map[string]*node, len(n.disk))
		for name, to := range n.names {
			c.names[name] = clone(to)
		}
		for name, to := range n.disk {
			c.disk[name] = clone(to)
		}
		return c
	}
	left.root = clone(m.root)
	for _, p := range m.pending {
		c := &change{id: p.id, removed: clone(p.removed)}
		for _, e := range p.entries {
			c.entries = append(c.entries, entry{clone(e.dir), e.name, clone(e.to)})
		}
		for _, d := range p.unsynced {
			c.unsynced = append(c.unsynced, clone(d))
		}
		left.pending = append(left.pending, c)
	}
	if !m.isDown {
		m.isDown = true
		close(m.down)
	}
	return left
}

// kill is c without its maps. Pages are shared: nobody writes to those of c again.
func (c *content) kill() *content {
	left := *c
	left.memory, left.lender, left.maps = nil, nil, 0
	left.now, left.disk = slices.Clone(c.now), slices.Clone(c.disk)
	left.sizes, left.blocks = slices.Clone(c.sizes), slices.Clone(c.blocks)
	left.dirty = make(map[int64]*dirt, len(c.dirty))
	for i, d := range c.dirty {
		copied := *d
		left.dirty[i] = &copied
	}
	return &left
}

// dice decides what a power cut keeps.
type dice struct {
	seed      uint64
	threshold uint64 // of 1<<16
	lost      *Lost
}

func (d dice) keep(roll uint64) bool { return roll&0xffff < d.threshold }

func (m *Mem) cloneLocked(seed uint64, keep float64) *Mem {
	left := NewMem(mix(m.seed, seed))
	d := dice{seed: seed, threshold: uint64(keep * (1 << 16)), lost: &left.lost}
	left.capacity = m.capacity

	kept := make([]bool, len(m.pending))
	changed := map[*node]map[string]*node{} // durable names with the kept changes
	for i, c := range m.pending {
		kept[i] = d.keep(mix(seed, c.id))
		for j := range i {
			kept[i] = kept[i] && (kept[j] || !c.follows(m.pending[j]))
		}
		if !kept[i] {
			left.lost.Names++
			continue
		}
		left.lost.NamesKept++
		for _, e := range c.entries {
			names := changed[e.dir]
			if names == nil {
				names = make(map[string]*node, len(e.dir.disk)+1)
				for name, n := range e.dir.disk {
					names[name] = n
				}
				changed[e.dir] = names
			}
			e.set(names)
		}
	}

	var clone func(dir *node) *node
	clone = func(dir *node) *node {
		names, ok := changed[dir]
		if !ok {
			names = dir.disk
		}
		copied := newDir()
		for name, n := range names {
			var to *node
			if n.isDir() {
				to = clone(n)
			} else {
				to = &node{content: n.crash(d)}
				left.used += to.blocks.bytes()
			}
			copied.names[name], copied.disk[name] = to, to
		}
		return copied
	}
	left.root = clone(m.root)
	return left
}

// crash returns what a power cut leaves of c, all of it durable.
func (c *content) crash(d dice) *content {
	size := c.diskSize
	roll := mix(d.seed, c.id)
	if len(c.sizes) > 0 && d.keep(roll) {
		size = c.sizes[len(c.sizes)-1]
		if d.threshold < 1<<16 && roll>>16&3 == 0 {
			size = c.sizes[roll>>18%uint64(len(c.sizes))]
		}
	}
	left := &content{id: c.id, size: size, diskSize: size}
	end := (size + PageSize - 1) / PageSize
	left.disk = append(left.disk, c.disk[:min(int64(len(c.disk)), end)]...)
	for i, dirt := range c.dirty {
		if i < end {
			left.disk.set(i, c.crashPage(i, dirt, d))
		}
	}
	if tail := size % PageSize; tail != 0 && end <= int64(len(left.disk)) {
		if pg := left.disk.at(end - 1); pg != &zeroPage {
			cut := *pg
			clear(cut[tail:])
			left.disk.set(end-1, &cut)
		}
	}
	left.now = append(left.now, left.disk...)
	left.blocks = append(left.blocks, c.blocks...)
	left.blocks.clear(end)
	return left
}

// crashPage picks each sector of a dirty page by itself. What lies beyond the
// end of the file as seen was cut off with the size, and comes back with it.
func (c *content) crashPage(i int64, dirt *dirt, d dice) *page {
	disk, now := c.disk.at(i), c.now.at(i)
	left := *disk
	for s := int64(0); s < PageSize && i*PageSize+s < c.size; s += SectorSize {
		roll := mix(d.seed, c.id, uint64(i), uint64(s))
		from := now
		differs := string(now[s:s+SectorSize]) != string(disk[s:s+SectorSize])
		if !d.keep(roll) {
			if differs {
				d.lost.Sectors++
			}
			continue
		}
		if differs {
			d.lost.SectorsKept++
		}
		if dirt.between != nil && d.threshold < 1<<16 && roll>>16&3 == 0 {
			from = dirt.between
		}
		copy(left[s:s+SectorSize], from[s:])
	}
	return &left
}
