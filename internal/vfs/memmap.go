package vfs

import (
	"fmt"
	"math"
)

// memMapping is a map of a Mem's file. All maps of a file share its memory.
type memMapping struct {
	m    *Mem
	name string
	*node
	b      []byte
	lender *lender // of b, beyond Unmap: who uses b too late still finds memory there
}

var _ Mapping = (*memMapping)(nil)

func (p *memMapping) Bytes() []byte { return p.b }

func (p *memMapping) Sync(off, n int64) error {
	if err := checkRange("sync map of", p.name, off, n, int64(len(p.b))); err != nil {
		return err
	}
	err := p.m.begin(Op{Kind: OpMapSync, Name: p.name, Off: off, Len: n})
	if err == errLie {
		return nil
	}
	if err != nil {
		p.m.mu.Lock()
		defer p.m.mu.Unlock()
		p.forget(p.m.seed, off, n)
		return pathError("msync", p.name, err)
	}
	defer p.m.mu.Unlock()
	p.sync(p.m.seed, off, n)
	return nil
}

func (p *memMapping) Populate(off, n int64) error {
	if err := checkRange("populate map of", p.name, off, n, int64(len(p.b))); err != nil {
		return err
	}
	if err := p.m.begin(Op{Kind: OpPopulate, Name: p.name, Off: off, Len: n}); err != nil {
		return pathError("populate", p.name, err)
	}
	defer p.m.mu.Unlock()
	_, end := pageBounds(0, p.size, PageSize)
	if n > 0 && (off+n > end || p.m.reserveLocked(p.content, off, n) < n) {
		return fmt.Errorf("populate map of %s at %d+%d: %w", p.name, off, n, ErrFault)
	}
	return nil
}

func (p *memMapping) Unmap() error {
	if p.b == nil {
		return nil
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.b = nil
	p.handles--
	p.maps--
	var err error
	if p.maps == 0 {
		if !p.m.isDown { // else the file is what was left
			p.look(p.m.seed, 0, math.MaxInt64)
			err = p.checkBeyond(p.size + 16*PageSize)
		}
		p.memory, p.node.lender = nil, nil
	}
	p.m.releaseLocked(p.node)
	return pathError("unmap", p.name, err)
}

// look takes what was stored through maps in the range over into now. Stores
// beside it may be seen in part.
func (c *content) look(seed uint64, off, n int64) {
	end := min(c.size, int64(len(c.memory)))
	if off >= end {
		return
	}
	end = off + min(n, end-off)
	for i := off / PageSize; i*PageSize < end; i++ {
		at := i * PageSize
		memory := c.memory[at:min(at+PageSize, c.size, int64(len(c.memory)))]
		pg := c.now.at(i)
		if same(pg, memory) {
			continue
		}
		fresh := *pg
		snapshot(&fresh, memory)
		c.soil(seed, i, pg)
		c.now.set(i, &fresh)
		c.blocks.add(i)
	}
}

// checkBeyond refuses what was stored through a map beyond the end of the file
// and below size, where it is zeros. The rest of the last page may have been
// stored to, in vain.
func (c *content) checkBeyond(size int64) error {
	_, end := pageBounds(0, c.size, PageSize)
	length := int64(len(c.memory))
	if c.size < length {
		wipe(c.memory[c.size:min(end, length)])
	}
	if end < min(size, length) && !isZero(c.memory[end:min(size, length)]) {
		return fmt.Errorf("store beyond the end at %d: %w", c.size, ErrFault)
	}
	return nil
}

// The functions below touch a map's memory while its users may. The race
// detector must not see that, as it does not see the kernel. It sees copy and
// comparisons of more than a word even in functions that are hidden from it.

//go:norace
func same(pg *page, memory []byte) bool {
	if !raceDetector {
		return string(pg[:len(memory)]) == string(memory)
	}
	for i := range memory {
		if pg[i] != memory[i] {
			return false
		}
	}
	return true
}

//go:norace
func snapshot(pg *page, memory []byte) {
	if !raceDetector {
		copy(pg[:], memory)
		return
	}
	for i := range memory {
		pg[i] = memory[i]
	}
}

//go:norace
func wipe(memory []byte) {
	for i := range memory {
		memory[i] = 0
	}
}

func isZero(memory []byte) bool {
	for len(memory) > 0 {
		n := min(len(memory), PageSize)
		if !same(&zeroPage, memory[:n]) {
			return false
		}
		memory = memory[n:]
	}
	return true
}
