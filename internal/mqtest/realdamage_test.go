package mqtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
)

// On the real disk: a byte of a segment, and then of a queue's file, decays in one running
// node: reads or the scrubber find it, and it is repaired.
func TestDamageOnARealDiskIsRepaired(t *testing.T) {
	t.Parallel()
	if os.Getenv("RAFTMQ_DAMAGE") == "" {
		t.Skip("RAFTMQ_DAMAGE is not set: see make rows")
	}
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	s := &sickbay{ctx: ctx}
	s.Cluster = StartOn(t, make([]vfs.FS, 3), func(cfg *broker.Config) {
		cfg.SegmentBytes, cfg.ScrubRate, cfg.ScrubEvery, cfg.DigestInterval = 64<<10, 1<<30, 50*time.Millisecond, -1
	})
	require.NoError(t, s.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	s.p = s.producer()
	s.send(60)
	s.awaitSame(ctx, "t")
	i := s.leads()
	dir := s.dir(i)
	s.Stop(i) // with a checkpoint: what is not synced yet is not scrubbed, the write-ahead log has it
	s.Run(i)
	s.Await(i)
	for repairs, pattern := range []string{"*.log", "*.q"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		f, err := os.OpenFile(names[0], os.O_RDWR, 0)
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 200)
		require.NoError(t, err)
		decay(b)
		_, err = f.WriteAt(b, 200)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		s.pullAll(i)
		s.awaitSound(i, float64(repairs+1))
		s.Await(i)
		s.pullAll(i)
		s.awaitSame(ctx, "t")
		require.GreaterOrEqual(t, s.metric(i, "raftmq_scrub_bytes_total"), 1.0)
	}
}
