package mqtest

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

// Addresses of join that take connections and say nothing keep a node neither from the peers that
// it knows nor from ending.
func TestDeafAddressesOfJoinKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer deaf.Close()
	joins := make([]string, 100) // two seconds each
	for i := range joins {
		joins[i] = deaf.Addr().String()
	}
	c := Start(t, 3, nil)
	c.Stop(0)
	c.cfg = func(cfg *broker.Config) { cfg.Join = joins }
	c.Run(0)
	c.Await(0)
	begun := time.Now()
	c.Stop(0)
	require.Less(t, time.Since(begun), patience)
}
