package mqtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// checkpointRecord finds the latest checkpoint of the topic's replica in node i's
// write-ahead log, by the layout in package raftlog.
func (s *sickbay) checkpointRecord(i int) (name string, at int64) {
	s.t.Helper()
	const firstFrame, frameHead, kindCheckpoint, kindReset = 8192, 40, 5, 6
	dir, latest := filepath.Join(s.dirs[i], "wal"), uint64(0)
	names, err := s.mems[i].List(dir)
	require.NoError(s.t, err)
	for _, n := range names {
		if !strings.HasSuffix(n, ".wal") {
			continue
		}
		b, err := vfs.ReadFile(s.mems[i], filepath.Join(dir, n), 64<<20)
		require.NoError(s.t, err)
		le := binary.LittleEndian
		for f := firstFrame; f+frameHead < len(b) && bytes.Equal(b[f:f+4], []byte("rmqF")) && le.Uint64(b[f+8:]) == le.Uint64(b[8:]); {
			length := int(le.Uint32(b[f+24:]))
			for r := f + frameHead; r < f+frameHead+length; r += int(le.Uint32(b[r:])) {
				if kind := b[r+8]; (kind == kindCheckpoint || kind == kindReset) && le.Uint64(b[r+16:]) == s.replicaID() && le.Uint64(b[f+16:]) >= latest {
					name, at, latest = filepath.Join(dir, n), int64(r), le.Uint64(b[f+16:])
				}
			}
			f += (frameHead + length + 7) &^ 7
		}
	}
	require.NotEmpty(s.t, name, "no checkpoint")
	return name, at
}

// A byte decays in a running node's write-ahead log, in its replica's checkpoint. The
// scrubber finds it; the node makes another checkpoint, writes what else it needs of
// the segment again, and goes on: it leads, serves, and starts again.
func TestACheckpointThatDecaysInARunningNodeIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, func(cfg *broker.Config) { cfg.ScrubRate, cfg.ScrubEvery = 1<<30, 50*time.Millisecond })
	i := s.leads()
	s.Stop(i)
	s.Run(i)
	s.Await(i)
	s.send(3)
	name, at := s.checkpointRecord(i)
	require.NoError(t, s.mems[i].Damage(name, at+100, 1, decay))
	s.awaitMetric(i, "raftmq_wal_damage_found_total", 1)
	s.awaitMetric(i, "raftmq_wal_healed_total", 1)
	require.Zero(t, s.metric(i, "raftmq_wal_damaged_segments"))
	s.send(3)
	s.pullAll(i)
	for range 2 {
		s.Stop(i)
		s.Run(i)
		s.Await(i)
		s.pullAll(i)
		s.requireHealed(i)
		require.Zero(t, s.metric(i, "raftmq_wal_damage_found_total"))
	}
	raw, err := vfs.ReadFile(s.mems[i], filepath.Join(s.dirs[i], "events.jsonl"), 1<<20)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"write-ahead log damaged"`)
	require.Contains(t, string(raw), `"write-ahead log healed"`)
}

// A byte decays in the checkpoint of a stopped node, in the middle of its write-ahead
// log, or in its last record. The node does not start, and leaves the log as it is. On an
// empty folder it is replaced.
func TestADamagedWriteAheadLogIsNotCut(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	const i = 2
	s.Stop(i)
	name, at := s.checkpointRecord(i)
	require.NoError(t, s.mems[i].Damage(name, at+100, 1, decay))
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
