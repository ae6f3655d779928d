package membership

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// starvedDisk has no more files to open.
type starvedDisk struct{ vfs.FS }

func (starvedDisk) Open(string) (vfs.File, error) { return nil, vfs.ErrNoFiles }

// Peers of the last life that cannot be read for want of files are not forgotten: else the first that is heard of
// would take the place of all in the file.
func TestPeersThatCannotBeReadForWantOfFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, peersFile), []byte("b 127.0.0.1:2\n"), 0o600))
	m, err := Open(Config{Self: Node{Name: "a"}, Bind: "127.0.0.1:0", Cluster: "c", Dir: dir, Disk: starvedDisk{vfs.OS{}}})
	if m != nil {
		t.Cleanup(func() { m.Close() })
	}
	require.ErrorContains(t, err, "no more files may be open")
	require.Equal(t, "127.0.0.1:2", open(t, "a", dir, 0).known["b"])
}
