package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"raftmq/jepsen/link"
)

// Proxy is relays. Its methods may be used concurrently.
type Proxy struct {
	links  *link.Net
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closers map[interface{ Close() error }]bool // nil: closed
}

// New makes none yet.
func New(links *link.Net) *Proxy {
	p := &Proxy{links: links, closers: make(map[interface{ Close() error }]bool)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends all relays and their connections.
func (p *Proxy) Close() error {
	p.cancel()
	p.mu.Lock()
	all := p.closers
	p.closers = nil
	p.mu.Unlock()
	for c := range all {
		c.Close()
	}
	p.wg.Wait()
	return nil
}

// keep has c closed by Close; false: it is closed already.
func (p *Proxy) keep(c interface{ Close() error }) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closers == nil {
		c.Close()
		return false
	}
	p.closers[c] = true
	return true
}

func (p *Proxy) drop(c interface{ Close() error }) {
	p.mu.Lock()
	delete(p.closers, c)
	p.mu.Unlock()
	c.Close()
}

// TCP relays connections that host from makes to an address of host to, and returns
// where it is to make them.
func (p *Proxy) TCP(from, to int, addr string, class link.Class) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p.relay(ln, from, to, addr, class)
	return ln.Addr().String(), nil
}

func (p *Proxy) relay(ln net.Listener, from, to int, addr string, class link.Class) {
	if !p.keep(ln) {
		return
	}
	p.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() {
				c := p.carry(from, to, class)
				if c.connect(addr) {
					c.run(conn)
				} else {
					conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
			})
		}
	})
}

// Both relays connections and datagrams, under one address.
func (p *Proxy) Both(from, to int, addr string, class link.Class) (string, error) {
	for range 50 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		at := ln.Addr().String()
		pc, err := net.ListenPacket("udp", at)
		if err != nil {
			ln.Close()
			continue
		}
		target, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return "", errors.Join(err, ln.Close(), pc.Close())
		}
		p.relay(ln, from, to, addr, class)
		p.datagrams(pc, from, to, target, class)
		return at, nil
	}
	return "", errors.New("proxy: no port is free for both TCP and UDP")
}

// largest is more than a datagram has.
const largest = 64 << 10

// inFlight bounds the datagrams of a link that are late; more are lost.
const inFlight = 4096

func (p *Proxy) datagrams(pc net.PacketConn, from, to int, target net.Addr, class link.Class) {
	if !p.keep(pc) {
		return
	}
	l := p.links.Link(from, to)
	late := make(chan struct{}, inFlight)
	p.wg.Go(func() {
		buf := make([]byte, largest)
		for {
			n, _, err := pc.ReadFrom(buf)
			if p.ctx.Err() != nil {
				return
			}
			if err != nil || n == 0 {
				continue // an ICMP error of an earlier one
			}
			f := l.Packet(class, n)
			if f.Corrupt >= 0 {
				buf[f.Corrupt/8] ^= 1 << (f.Corrupt % 8)
			}
			for _, after := range f.After {
				if after == 0 {
					pc.WriteTo(buf[:n], target)
					continue
				}
				select {
				case late <- struct{}{}:
				default:
					continue
				}
				b := append([]byte(nil), buf[:n]...)
				time.AfterFunc(after, func() { // ends by itself; writes nothing when pc is closed
					pc.WriteTo(b, target)
					<-late
				})
			}
		}
	})
}

// Dial connects host from to an address of host to through a relay. What is refused is
// refused.
func (p *Proxy) Dial(ctx context.Context, from, to int, addr string) (net.Conn, error) {
	c := p.carry(from, to, "")
	if err := c.await(ctx); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	here, there, err := tcpPair()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.far = conn.(*net.TCPConn)
	p.wg.Go(func() { c.run(there) })
	return here, nil
}

// tcpPair is two ends of a connection.
func tcpPair() (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	for {
		if b, err = ln.Accept(); err != nil {
			return nil, nil, errors.Join(err, a.Close())
		}
		if b.RemoteAddr().String() == a.LocalAddr().String() {
			return a, b, nil
		}
		b.Close() // a stranger
	}
}
