package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

// However many files may be open, half of them are not for clients' connections.
func TestClientsHaveHalfOfTheFiles(t *testing.T) {
	for _, x := range []struct {
		files     uint64
		set, want int
	}{{1000, 100, 100}, {1000, 16384, 500}, {1, 16384, 1}, {wantFiles, 16384, 16384}, {65536, 100_000, 32768}, {math.MaxUint64, 1 << 20, 1 << 20}} {
		c := broker.Config{MaxConnections: x.set}
		require.Equal(t, x.want < x.set, leaveHalf(&c, x.files), "%+v", x)
		require.Equal(t, x.want, c.MaxConnections, "%+v", x)
	}
}
