package sim

import (
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/internal/vfs/faultfs"
)

func TestFilesOfADiskAreAFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(rand.New(rand.NewPCG(1, 2)))
		mem := d.begin()
		require.NoError(t, vfs.MakeDir(mem, folder+"/a/b"))
		require.NoError(t, vfs.WriteFile(mem, folder+"/a/b/f", []byte("hello")))
		require.NoError(t, vfs.WriteFile(mem, folder+"/g", nil))
		_, err := d.order(&[]faultfs.Rule{{Error: "EIO"}})
		require.NoError(t, err)
		require.NoError(t, fstest.TestFS(onlyOpen{files{d}}, "a/b/f", "g"), "no rule strikes who is no node")
		names, err := fs.Glob(files{d}, "a/*/f")
		require.NoError(t, err)
		require.Equal(t, []string{"a/b/f"}, names)
		hits, err := d.order(nil)
		require.NoError(t, err)
		require.Equal(t, []int64{0}, hits)
	})
}

type onlyOpen struct{ fs.FS }

func TestASyncTakesTimeAndEndsWithTheLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(rand.New(rand.NewPCG(1, 2)))
		mem := d.begin()
		f, err := mem.Create("f")
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, f.Sync())
		require.NotZero(t, time.Since(began))
		_, err = d.order(&[]faultfs.Rule{{Ops: []string{faultfs.OpSync}, Hang: time.Hour}})
		require.NoError(t, err)
		time.AfterFunc(time.Minute, d.end)
		require.ErrorIs(t, f.Sync(), vfs.ErrPowerCut)
		require.Less(t, time.Since(began), 2*time.Minute)
		_, err = mem.Open("f")
		require.ErrorIs(t, err, vfs.ErrPowerCut, "nothing more is done")
		next := d.begin()
		f, err = next.Open("f")
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("some"), 0)
		require.NoError(t, err)
		_, err = d.order(&[]faultfs.Rule{{Full: true, Error: "ENOSPC"}})
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, 5000), 0)
		require.ErrorIs(t, err, vfs.ErrNoSpace)
		free, _, err := next.Space("/")
		require.NoError(t, err)
		require.Zero(t, free)
		_, err = d.order(&[]faultfs.Rule{{Ops: []string{faultfs.OpSync}, Error: "EIO"}})
		require.NoError(t, err)
		require.ErrorIs(t, f.Sync(), syscall.EIO)
	})
}

func TestTheCatalogueSurvivesPowerCuts(t *testing.T) {
	mem := vfs.NewMem(1)
	open := func() (raft.LogStore, raft.SnapshotStore) {
		kept, err := keepCatalogue(mem, "c")
		require.NoError(t, err)
		return kept.Logs, kept.Snapshots
	}
	logs, snapshots := open()
	for i := range uint64(9) {
		require.NoError(t, logs.StoreLog(&raft.Log{Index: i + 1, Term: 3, Type: raft.LogCommand, Data: []byte{byte(i)}, Extensions: []byte("x")}))
	}
	require.NoError(t, logs.DeleteRange(8, 9))
	for i := range uint64(3) {
		k, err := snapshots.Create(1, i+1, 3, raft.Configuration{}, 1, nil)
		require.NoError(t, err)
		_, err = k.Write([]byte{byte(i)})
		require.NoError(t, err)
		require.NoError(t, k.Close())
	}
	require.NoError(t, logs.DeleteRange(1, 2))
	mem = mem.CrashKeeping(1, 0)
	logs, snapshots = open()
	first, err := logs.FirstIndex()
	require.NoError(t, err)
	last, err := logs.LastIndex()
	require.NoError(t, err)
	require.Equal(t, [2]uint64{3, 7}, [2]uint64{first, last})
	var l raft.Log
	require.NoError(t, logs.GetLog(5, &l))
	require.Equal(t, raft.Log{Index: 5, Term: 3, Type: raft.LogCommand, Data: []byte{4}, Extensions: []byte("x")}, l)
	require.ErrorIs(t, logs.GetLog(8, &l), raft.ErrLogNotFound)
	all, err := snapshots.List()
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.EqualValues(t, 3, all[0].Index)
	_, r, err := snapshots.Open(all[0].ID)
	require.NoError(t, err)
	b := make([]byte, 2)
	n, _ := r.Read(b)
	require.Equal(t, []byte{2}, b[:n])
}
