package broker

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// Whether a replica was in quarantine is not known while there is no file or no memory to read the note: it is not put there for that.
func TestANoteThatCannotBeReadForWantOfFilesSaysNothing(t *testing.T) {
	for _, want := range []error{vfs.ErrNoFiles, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		disk := vfs.NewMem(1)
		b := &Broker{disk: disk, cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger()}
		fault := disk.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpOpen}, Name: quarantineFile, Err: want})
		require.ErrorIs(t, b.recall(7), want)
		require.Empty(t, b.sick.ids())
		fault.Release()
		require.NoError(t, b.recall(7))
		require.Empty(t, b.sick.ids())
	}
}

// starvedSnapshots can open none.
type starvedSnapshots struct{ raft.SnapshotStore }

func (starvedSnapshots) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return nil, nil, &os.PathError{Op: "open", Path: "state.bin", Err: syscall.EMFILE}
}

// A snapshot of the catalogue that cannot be opened for want of files is not damaged.
func TestASnapshotThatCannotBeOpenedForWantOfFilesIsNotDamaged(t *testing.T) {
	snapshots, err := raft.NewFileSnapshotStore(t.TempDir(), 2, io.Discard)
	require.NoError(t, err)
	_, transport := raft.NewInmemTransport("")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 10, 1, raft.Configuration{}, 1, transport)
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	logs := summedLogs{raft.NewInmemStore()}
	require.NoError(t, logs.StoreLog(&raft.Log{Index: 11, Term: 1}))
	require.NoError(t, checkCatalogue(logs, snapshots))
	err = checkCatalogue(logs, starvedSnapshots{snapshots})
	require.ErrorIs(t, err, syscall.EMFILE)
	require.NotErrorIs(t, err, ErrCatalogueDamaged)
}
