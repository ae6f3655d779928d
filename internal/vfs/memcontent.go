package vfs

import "math/bits"

type page [PageSize]byte

var zeroPage page

// pageOf is a page that holds b, all of it.
func pageOf(b []byte) *page {
	if string(b) == string(zeroPage[:]) {
		return &zeroPage
	}
	return (*page)(append([]byte(nil), b...))
}

// pages holds a file's pages by number; one that is not there is zeros.
type pages []*page

func (p pages) at(i int64) *page {
	if i < int64(len(p)) && p[i] != nil {
		return p[i]
	}
	return &zeroPage
}

func (p *pages) set(i int64, pg *page) {
	for int64(len(*p)) <= i {
		if pg == &zeroPage {
			return
		}
		*p = append(*p, make([]*page, i+1-int64(len(*p)))...)
	}
	(*p)[i] = pg
}

// blocks is the set of pages that have a block on the disk.
type blocks []uint64

func (b blocks) has(i int64) bool { return i>>6 < int64(len(b)) && b[i>>6]>>(i&63)&1 != 0 }

func (b *blocks) add(i int64) {
	if need := i>>6 + 1 - int64(len(*b)); need > 0 {
		*b = append(*b, make([]uint64, need)...)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

func (b blocks) bytes() (n int64) {
	for _, w := range b {
		n += int64(bits.OnesCount64(w)) * PageSize
	}
	return n
}

// clear removes the pages from i on and returns their bytes.
func (b *blocks) clear(i int64) (freed int64) {
	for w := i >> 6; w < int64(len(*b)); w++ {
		mask := ^uint64(0)
		if w == i>>6 {
			mask <<= i & 63
		}
		freed += int64(bits.OnesCount64((*b)[w]&mask)) * PageSize
		(*b)[w] &^= mask
	}
	return freed
}

// content is what a file holds. A page that disk refers to is never written
// to again, by anyone: other Mems share it.
type content struct {
	id   uint64
	size int64
	now  pages // as seen

	diskSize int64
	disk     pages
	sizes    []int64         // sizes since diskSize, at most maxSizes, the last is size
	dirty    map[int64]*dirt // pages that may differ between now and disk
	lostSize int64           // with lost: a failed sync dropped this size
	lost     bool

	blocks blocks

	memory []byte  // of the maps: a copy of now, with zeros behind the end; nil without maps
	lender *lender // of memory
	maps   int
}

const maxSizes = 16

// dirt is what a page went through since it was last synced.
type dirt struct {
	writes  uint64
	between *page // a version between disk and now, if one was picked
	lost    *page // a failed sync dropped this version: it is clean until written
}

// own returns page i for writing, and notes that it is dirty.
func (c *content) own(seed uint64, i int64) *page {
	pg := c.now.at(i)
	c.soil(seed, i, pg)
	if pg == c.disk.at(i) || pg == &zeroPage {
		fresh := *pg
		pg = &fresh
		c.now.set(i, pg)
	}
	return pg
}

// soil notes that page i, holding pg until now, is written to. Of the
// versions that a page has between two syncs each is picked alike.
func (c *content) soil(seed uint64, i int64, pg *page) {
	if c.dirty == nil {
		c.dirty = map[int64]*dirt{}
	}
	d := c.dirty[i]
	if d == nil {
		c.dirty[i] = &dirt{}
		return
	}
	d.lost = nil
	d.writes++
	if mix(seed, c.id, uint64(i), d.writes)%d.writes == 0 {
		version := *pg
		d.between = &version
	}
}

// setSize changes the size, unsynced.
func (c *content) setSize(size int64) {
	if size == c.size {
		return
	}
	c.size = size
	if len(c.sizes) == maxSizes {
		c.sizes = append(c.sizes[:1], c.sizes[2:]...)
	}
	c.sizes = append(c.sizes, size)
}

// resize is setSize that also makes bytes beyond the smaller of the sizes zero.
func (c *content) resize(seed uint64, size int64) {
	if size < c.size {
		mapped := int64(len(c.memory))
		clear(c.memory[min(size, mapped):min(c.size, mapped)])
		first := size / PageSize
		if tail := size % PageSize; tail != 0 {
			clear(c.own(seed, first)[tail:])
			first++
		}
		for i := first; i < int64(len(c.now)); i++ {
			if c.now[i] != nil && c.now[i] != &zeroPage {
				c.soil(seed, i, c.now[i])
				c.now[i] = nil
			}
		}
	}
	c.setSize(size)
}

// sync makes the bytes of the sectors that meet [off,off+n) durable.
func (c *content) sync(off, n int64) {
	for i, d := range c.dirty {
		at := i * PageSize
		if at+PageSize <= off || at >= off+n {
			continue
		}
		pg := c.now.at(i)
		if d.lost != nil && *d.lost == *pg {
			continue
		}
		if at < off || at+PageSize > off+n {
			merged := *c.disk.at(i)
			from := max(off-at, 0) &^ (SectorSize - 1)
			to := min((off+n-at+SectorSize-1)&^(SectorSize-1), PageSize)
			copy(merged[from:to], pg[from:to])
			if d.between != nil {
				copy(d.between[from:to], pg[from:to])
			}
			if merged != *pg {
				c.disk.set(i, &merged)
				continue
			}
		}
		c.disk.set(i, pg)
		delete(c.dirty, i)
	}
	if len(c.dirty) == 0 {
		c.dirty = nil // a map that was large is slow to look through when it is empty
	}
}

func (c *content) syncSize() {
	if c.lost && c.size == c.lostSize {
		return
	}
	c.lost = false
	c.diskSize = c.size
	c.sizes = nil
}

// forget is what a failed sync does: it takes what is dirty for clean.
func (c *content) forget(off, n int64) {
	for i, d := range c.dirty {
		if at := i * PageSize; at+PageSize > off && at < off+n {
			version := *c.now.at(i)
			d.lost = &version
		}
	}
}

func (c *content) forgetSize() {
	if len(c.sizes) > 0 {
		c.lost, c.lostSize = true, c.size
	}
}
