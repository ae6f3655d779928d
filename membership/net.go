package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Net is a network. Hosts are IP addresses.
type Net interface {
	// Listen takes connections to an address, host:port; port 0 picks one.
	Listen(addr string) (net.Listener, error)
	// ListenPacket sends from an address and takes packets to it.
	ListenPacket(addr string) (net.PacketConn, error)
	// Dial connects to an address.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// over is memberlist's transport over a Net.
type over struct {
	net     Net
	ln      net.Listener
	out     net.PacketConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	wg      sync.WaitGroup
}

// maxPacket is the largest of UDP.
const maxPacket = 65536

// openOver gives mc a transport over n.
func openOver(mc *memberlist.Config, n Net) error {
	addr := net.JoinHostPort(mc.BindAddr, strconv.Itoa(mc.BindPort))
	ln, err := n.Listen(addr)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err == nil {
		mc.BindPort, err = strconv.Atoi(port)
	}
	mc.AdvertisePort = mc.BindPort
	if err != nil {
		ln.Close()
		return err
	}
	out, err := n.ListenPacket(ln.Addr().String())
	if err != nil {
		ln.Close()
		return err
	}
	t := &over{net: n, ln: ln, out: out, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), stop: make(chan struct{})}
	t.wg.Go(t.accept)
	t.wg.Go(t.read)
	mc.Transport = t
	return nil
}

func (t *over) accept() {
	for {
		c, err := t.ln.Accept()
		if err != nil {
			return
		}
		select {
		case t.streams <- c:
		case <-t.stop:
			c.Close()
		}
	}
}

func (t *over) read() {
	for b := make([]byte, maxPacket); ; {
		n, from, err := t.out.ReadFrom(b)
		if err != nil {
			return
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), b[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.stop:
		}
	}
}

func (t *over) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	host, _, err := net.SplitHostPort(t.ln.Addr().String())
	if err != nil {
		return nil, 0, err
	}
	if ip != "" {
		host = ip
	}
	a := net.ParseIP(host)
	if a == nil {
		return nil, 0, fmt.Errorf("%s is no address", host)
	}
	return a, port, nil
}

func (t *over) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		_, err = t.out.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return time.Now(), err
}

func (t *over) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.net.Dial(ctx, addr)
}

func (t *over) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *over) StreamCh() <-chan net.Conn           { return t.streams }

// Shutdown returns when nothing is read any more. memberlist calls it once.
func (t *over) Shutdown() error {
	close(t.stop)
	t.ln.Close()
	t.out.Close()
	t.wg.Wait()
	return nil
}
