package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
)

// Network has each node in a namespace of its own, and the clients, who are the last
// host of the links, in another.
type Network struct {
	sw     Switch
	spaces []space
}

// New makes the namespaces and joins them.
func New(links *link.Net) (*Network, error) {
	n := &Network{sw: Switch{links: links}}
	for i := range links.Hosts() {
		mac := [6]byte{2, 0, 0, 0, 0, byte(i + 1)}
		s, tap, err := newSpace(address(i), mac)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("host %s: %w", links.Name(i), err), n.Close())
		}
		n.spaces = append(n.spaces, s)
		n.sw.ports = append(n.sw.ports, port{tap, mac})
	}
	n.sw.run()
	return n, nil
}

// Close takes the network away.
func (n *Network) Close() (err error) {
	for _, p := range n.sw.ports {
		err = errors.Join(err, p.tap.Close())
	}
	n.sw.wg.Wait()
	for _, s := range n.spaces {
		err = errors.Join(err, s.close())
	}
	return err
}

// Possible says why there can be no such network here; nil: there can.
func Possible() error {
	s, tap, err := newSpace(address(0), [6]byte{2, 0, 0, 0, 0, 1})
	if err != nil {
		return err
	}
	return errors.Join(tap.Close(), s.close())
}

// address is in 10.77.0.0/24.
func address(host int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(host + 1)}) }

func (n *Network) Bind(int) string      { return "0.0.0.0" }
func (n *Network) Address(i int) string { return address(i).String() }

func (n *Network) Enter(i int, f func() error) error { return n.spaces[i].enter(f) }

// Via learns which ports are of which class; nodes call each other directly.
func (n *Network) Via(_ int, peers []cluster.Peer) (map[string]string, error) {
	classes := make(map[uint16]link.Class)
	if old := n.sw.class.Load(); old != nil {
		for p, c := range *old {
			classes[p] = c
		}
	}
	for _, p := range peers {
		for at, c := range map[string]link.Class{p.Raft: link.Raft, p.Gossip: link.Gossip} {
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				return nil, err
			}
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, err
			}
			classes[uint16(number)] = c
		}
	}
	n.sw.class.Store(&classes)
	return nil, nil
}

// Dial is a client's.
func (n *Network) Dial(ctx context.Context, _ int, addr string) (conn net.Conn, err error) {
	err = n.spaces[len(n.spaces)-1].enter(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", addr)
		return err
	})
	return conn, err
}

// setMAC is SIOCSIFHWADDR, whose request package unix does not build: a name of 16
// bytes, a family, the address.
func setMAC(sock int, mac [6]byte) error {
	var r struct {
		name   [unix.IFNAMSIZ]byte
		family uint16
		addr   [14]byte
		rest   [8]byte
	}
	copy(r.name[:], "eth0")
	r.family = unix.ARPHRD_ETHER
	copy(r.addr[:], mac[:])
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(sock), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&r))); e != 0 {
		return e
	}
	return nil
}
