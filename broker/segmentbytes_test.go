package broker_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

// A node does not start on a data folder whose commit logs have segments of another length:
// its replicas would not be what the others' are. One of a program that did not note the
// length is taken as it is said to be.
func TestTheLengthOfSegmentsStays(t *testing.T) {
	dir := t.TempDir()
	start := func(segmentBytes int64) error {
		b, err := broker.Open(t.Context(), broker.Config{
			Node: "n1", Data: dir, InitialNodes: []string{"n1"}, SegmentBytes: segmentBytes,
			NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1, WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 100 * time.Millisecond,
		}, broker.Deps{})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return b.Shutdown(ctx)
	}
	require.NoError(t, start(1<<20))
	before, err := os.ReadFile(filepath.Join(dir, "node.json"))
	require.NoError(t, err)
	for _, n := range []int64{0, 2 << 20} {
		err := start(n)
		require.ErrorIs(t, err, broker.ErrConfig)
		require.ErrorContains(t, err, "segment-bytes 1048576")
	}
	after, err := os.ReadFile(filepath.Join(dir, "node.json"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, start(1<<20))
}
