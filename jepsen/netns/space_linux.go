package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// space is a host's network namespace. It is gone when it is closed and no process is
// in it.
type space struct{ ns *os.File }

// mtu is Ethernet's.
const mtu = 1500

// newSpace makes a namespace with a TAP device of that address.
func newSpace(addr netip.Addr, mac [6]byte) (s space, tap *os.File, err error) {
	done := make(chan struct{})
	go func() { // its thread is in the new namespace, and ends with it
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("network namespace: %w", err)
			return
		}
		if tap, err = openTap(addr, mac); err != nil {
			return
		}
		if s.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			err = errors.Join(err, tap.Close())
		}
	}()
	<-done
	return s, tap, err
}

// enter runs f on the calling goroutine's thread while that is in the namespace.
func (s space) enter(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace: %w", back)) // the thread stays locked, for nobody else
	}
	runtime.UnlockOSThread()
	return err
}

func (s space) close() error { return s.ns.Close() }

func openTap(addr netip.Addr, mac [6]byte) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	fail := func(what string, err error) (*os.File, error) {
		return nil, errors.Join(fmt.Errorf("%s: %w", what, err), unix.Close(fd))
	}
	req := func() *unix.Ifreq { r, _ := unix.NewIfreq("eth0"); return r }
	r := req()
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return fail("TAP device", err)
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("socket", err)
	}
	defer unix.Close(sock)
	if err := setMAC(sock, mac); err != nil {
		return fail("hardware address", err)
	}
	ip := addr.As4()
	for _, x := range []struct {
		what string
		op   uint
		set  func(r *unix.Ifreq) error
	}{
		{"MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{"up", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r := req()
		if err := x.set(r); err != nil {
			return fail(x.what, err)
		}
		if err := unix.IoctlIfreq(sock, x.op, r); err != nil {
			return fail(x.what, err)
		}
	}
	lo, _ := unix.NewIfreq("lo")
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, lo); err != nil {
		return fail("loopback", err)
	}
	return os.NewFile(uintptr(fd), "tap"), nil
}
