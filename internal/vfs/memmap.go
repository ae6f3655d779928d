package vfs

// memMapping is a map of a Mem's file. All maps of a file share its memory.
type memMapping struct {
	m *Mem
	*node
	b      []byte
	lender *lender // of b, beyond Unmap: who uses b too late still finds memory there
}

var _ Mapping = (*memMapping)(nil)

func (p *memMapping) Bytes() []byte { return p.b }

func (p *memMapping) Unmap() error {
	if p.b == nil {
		return nil
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.b = nil
	p.handles--
	p.maps--
	if p.maps == 0 {
		p.memory, p.node.lender = nil, nil
	}
	p.m.releaseLocked(p.node)
	return nil
}
