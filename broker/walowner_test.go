package broker_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

// open starts a node that is a cluster by itself, its write-ahead log beside its
// data, or whose founders are initial, and returns what stops it.
func open(t *testing.T, dir string, initial ...string) (stop func(), err error) {
	t.Helper()
	if initial == nil {
		initial = []string{"n1"}
	}
	b, err := broker.Open(t.Context(), broker.Config{
		Node: "n1", Data: filepath.Join(dir, "data"), WALDir: filepath.Join(dir, "wal"), InitialNodes: initial,
		NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1, WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 100 * time.Millisecond,
	}, broker.Deps{})
	if err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, b.Shutdown(ctx))
	}, nil
}

// A byte of a small file at the head of the data folder decays: the node does not start,
// names the file, says what to do, and leaves it as it is.
func TestADamagedFolderIsRefusedByName(t *testing.T) {
	dir := founded(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data/peers.json"), []byte(`{"version":2,"nodes":{}}`), 0o640))
	stop, err := open(t, dir) // it is written again, with a checksum
	require.NoError(t, err)
	stop()
	for _, name := range []string{"data/node.json", "data/peers.json", "wal/folder.json"} {
		name = filepath.Join(dir, name)
		sound, err := os.ReadFile(name)
		require.NoError(t, err)
		bad := bytes.Clone(sound)
		at := bytes.IndexByte(bad, ':') + 1
		bad[at] ^= 1 // the version: of an earlier one no checksum is asked for
		require.NoError(t, os.WriteFile(name, bad, 0o640))
		for range 2 {
			_, err = open(t, dir)
			require.ErrorIs(t, err, broker.ErrFolderDamaged)
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, "it is replaced")
			left, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, bad, left)
		}
		require.NoError(t, os.WriteFile(name, sound, 0o640))
	}
	stop, err = open(t, dir)
	require.NoError(t, err)
	stop()
}

// The file of the nodes that a member has met is missing, whatever version wrote its folder:
// the node does not start, since it would let in whoever comes. One of an earlier version
// that never met anybody is given the file.
func TestAMissingFileOfPeersIsRefused(t *testing.T) {
	dir := founded(t)
	peers, node := filepath.Join(dir, "data/peers.json"), filepath.Join(dir, "data/node.json")
	refused := func(initial ...string) {
		t.Helper()
		require.NoError(t, os.Remove(peers))
		for range 2 {
			_, err := open(t, dir, initial...)
			require.ErrorIs(t, err, broker.ErrFolderDamaged)
			require.ErrorContains(t, err, peers)
			require.ErrorContains(t, err, "it is missing")
			require.ErrorContains(t, err, "it is replaced")
			require.NoFileExists(t, peers)
		}
	}
	refused()

	b, err := os.ReadFile(node)
	require.NoError(t, err)
	old, _, _ := strings.Cut(strings.NewReplacer(`"version":3`, `"version":2`, `,"peers":true`, "").Replace(string(b)), `,"crc32c"`)
	earlier := func() { require.NoError(t, os.WriteFile(node, []byte(old+"}\n"), 0o640)) }
	earlier()
	stop, err := open(t, dir)
	require.NoError(t, err)
	stop()
	require.FileExists(t, peers)
	refused()

	require.NoError(t, os.WriteFile(peers, nil, 0o640))
	earlier()
	refused("n1", "n2", "n3")
}

// founded is the directory of a node that has voted, and was stopped.
func founded(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	stop, err := open(t, dir)
	require.NoError(t, err)
	defer stop()
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "data/node.json"))
		return err == nil && strings.Contains(string(b), `"member":true`)
	}, time.Minute, time.Millisecond)
	return dir
}

// A node does not start on a data folder without the write-ahead log in which it
// voted, nor on an old write-ahead log with a new folder.
func TestDataAndWriteAheadLogGoTogether(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		change       func(t *testing.T, dir string)
	}{
		{"log emptied", "wal is empty, or another's", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "wal")))
		}},
		{"log exchanged", "restore the one that was exchanged", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "wal")))
			require.NoError(t, os.Rename(filepath.Join(founded(t), "wal"), filepath.Join(dir, "wal")))
		}},
		{"data emptied", "restore the one that was exchanged", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
		}},
		{"data emptied, log without a mark", "wal has been used, and the data folder is new", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
			require.NoError(t, os.Remove(filepath.Join(dir, "wal/folder.json")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := founded(t)
			c.change(t, dir)
			for range 2 { // the first try leaves nothing that the second would believe
				_, err := open(t, dir)
				require.ErrorIs(t, err, broker.ErrHalfEmptied)
				require.ErrorContains(t, err, c.reason)
			}
		})
	}
	t.Run("both emptied", func(t *testing.T) {
		dir := founded(t)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "wal")))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
		stop, err := open(t, dir)
		require.NoError(t, err)
		stop()
	})
	t.Run("of an earlier build", func(t *testing.T) {
		dir := founded(t)
		require.NoError(t, os.Remove(filepath.Join(dir, "wal/folder.json")))
		name := filepath.Join(dir, "data/node.json")
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		old, _, _ := strings.Cut(strings.NewReplacer(`"version":3`, `"version":1`, `,"member":true`, "").Replace(string(b)), `,"crc32c"`)
		require.NoError(t, os.WriteFile(name, []byte(old+"}\n"), 0o640))
		for range 2 {
			stop, err := open(t, dir)
			require.NoError(t, err)
			stop()
		}
		require.FileExists(t, filepath.Join(dir, "wal/folder.json"))
		b, err = os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(b), `"member":true`)
	})
}
