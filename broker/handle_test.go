package broker

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where a client is reads as its address does.
func TestAnAddressIsThatOfItsText(t *testing.T) {
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7},
		&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 7},
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 7, Zone: "eth0"},
		&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 65535},
		&net.TCPAddr{Port: 7},
		&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7},
		&net.UnixAddr{Name: "/x", Net: "unix"},
	} {
		want, _ := netip.ParseAddrPort(a.String())
		require.Equal(t, want.IsValid(), addrPortOf(a).IsValid(), a.String())
		if want.IsValid() {
			require.Equal(t, want, addrPortOf(a))
		}
	}
}
