package ports

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsInUseAreNotFound(t *testing.T) {
	first, err := InARow(50)
	require.NoError(t, err)
	require.GreaterOrEqual(t, first, lowest)
	require.Less(t, first+50, beyond)

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	require.False(t, Free(tcp.Addr().(*net.TCPAddr).Port))
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	require.False(t, Free(udp.LocalAddr().(*net.UDPAddr).Port))
}
