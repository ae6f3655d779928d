package sim

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// packetsKept is what a socket keeps until it is read; more is lost.
const packetsKept = 1024

type packet struct {
	b    []byte
	from net.Addr
}

// packetConn takes and sends packets. It knows no deadlines.
type packetConn struct {
	h      *Host
	addr   string
	in     chan packet
	closed chan struct{}
	once   sync.Once
}

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case x := <-p.in:
		return copy(b, x.b), x.from, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo sends a packet. It comes late, twice, or not at all, by the link's rule; what is
// damaged on the way does not come, since UDP has a checksum.
func (p *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	to := hostOf(addr.String())
	if to < 0 || to >= p.h.n.links.Hosts() {
		return len(b), nil
	}
	w := p.h.n.way(p.h.number, to, p.h.n.class(addr.String()))
	x := packet{append([]byte(nil), b...), p.LocalAddr()}
	if w.link == nil {
		p.h.n.deliver(addr.String(), x)
		return len(b), nil
	}
	f := w.link.Packet(w.class, len(b))
	if f.Corrupt >= 0 {
		return len(b), nil
	}
	for _, after := range f.After {
		time.AfterFunc(after+w.lag.draw(), func() { p.h.n.deliver(addr.String(), x) })
	}
	return len(b), nil
}

func (n *Network) deliver(addr string, x packet) {
	n.mu.Lock()
	p := n.packets[addr]
	n.mu.Unlock()
	if p == nil {
		return
	}
	select {
	case p.in <- x:
	default:
	}
}

func (p *packetConn) Close() error {
	p.once.Do(func() {
		p.h.n.mu.Lock()
		delete(p.h.n.packets, p.addr)
		p.h.n.mu.Unlock()
		p.h.keep(func() { delete(p.h.takes, p) })
		close(p.closed)
	})
	return nil
}

func (p *packetConn) LocalAddr() net.Addr {
	a, _ := netip.ParseAddrPort(p.addr)
	return net.UDPAddrFromAddrPort(a)
}

func (p *packetConn) SetDeadline(time.Time) error      { return nil }
func (p *packetConn) SetReadDeadline(time.Time) error  { return nil }
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
