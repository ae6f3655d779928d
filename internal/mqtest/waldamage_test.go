package mqtest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// A byte decays in the middle of a stopped node's write-ahead log. The node does not
// start, and leaves the log as it is. On an empty folder it is replaced.
func TestADamagedWriteAheadLogIsNotCut(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	const i = 2
	s.Stop(i)
	wal := filepath.Join(s.dirs[i], "wal")
	name := s.file(wal, i, ".wal", 0)
	require.NoError(t, s.mems[i].Damage(name, 8192+300, 1, decay))
	before, err := vfs.ReadFile(s.mems[i], name, 64<<20)
	require.NoError(t, err)
	for range 2 {
		_, err = broker.Open(ctx, broker.Config{
			Cluster: s.Name, Node: s.names[i], Data: s.dirs[i], InitialNodes: s.names, Join: s.joins, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
			WALSegmentBytes: 4 << 20, MaxBody: 512 << 10, SegmentBytes: 64 << 10,
		}, broker.Deps{Disk: s.mems[i]})
		require.ErrorIs(t, err, raftlog.ErrWALDamaged)
		require.ErrorContains(t, err, name)
		after, err := vfs.ReadFile(s.mems[i], name, 64<<20)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	s.wipe(i)
	s.mems[i] = vfs.NewMem(9)
	s.Disks[i] = s.mems[i]
	s.send(3)
	s.Run(i)
	s.Await(i)
	s.pullAll(i)
	s.requireHealed(i)
}
