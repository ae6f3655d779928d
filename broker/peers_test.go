package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// A later incarnation was given by the catalogue; an earlier one, or another folder, is over. What is known
// stays known, whatever a catalogue that is read again says, and after a start.
func TestALaterLifeIsKnownForGood(t *testing.T) {
	disk := vfs.NewMem(1)
	require.NoError(t, disk.MkdirAll("d"))
	open := func() *peerLives {
		p, err := openPeerLives(disk, "d", identity{Node: "n1"}, nil)
		require.NoError(t, err)
		return p
	}
	p := open()
	came := func(folder, incarnation uint64) error {
		return p.judge(raftlog.Peer{Node: "n2", Folder: folder, Incarnation: incarnation}, true)
	}
	require.NoError(t, came(10, 1))
	require.NoError(t, came(11, 2))
	require.ErrorContains(t, came(10, 1), replacedFolder)
	require.ErrorContains(t, came(12, 2), otherFolder)
	require.NoError(t, p.set("n2", life{10, 1}))
	require.NoError(t, came(11, 2))
	p = open()
	require.NoError(t, came(11, 2))
	require.NoError(t, p.set("n2", life{13, 3}))
	require.ErrorContains(t, came(11, 2), replacedFolder)
	require.NoError(t, came(13, 3))
}
