package broker

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func openAlone(t *testing.T, change func(*Config), log hclog.Logger) (*Broker, error) {
	t.Helper()
	c := Config{
		Node: "n1", Data: t.TempDir(), InitialNodes: []string{"n1"}, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
		WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 100 * time.Millisecond,
	}
	change(&c)
	b, err := Open(t.Context(), c, Deps{Logger: log})
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			b.Shutdown(ctx)
		})
	}
	return b, err
}

// A port that is free with these settings is not taken for old clients, who have one beside each listener.
func TestOldClientsTakeNoOtherPort(t *testing.T) {
	for range 10 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := ln.Addr().(*net.TCPAddr).Port
		above, err := net.Listen("tcp", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + vipBelow}).String())
		ln.Close()
		if err != nil {
			continue
		}
		above.Close()
		_, err = openAlone(t, func(c *Config) { c.Slots, c.Listen, c.HTTP = 1, port+vipBelow, port }, nil)
		require.NoError(t, err)
		return
	}
	t.Skip("no two ports are free")
}
