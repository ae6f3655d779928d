package vfs_test

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// After a failed sync the pages are clean but not on the disk: a later sync
// that succeeds proves nothing.
func TestFailedSyncLosesWhatItWasToWrite(t *testing.T) {
	for name, sync := range map[string]func(f vfs.File) error{"sync": vfs.File.Sync, "sync data": vfs.File.SyncData} {
		t.Run(name, func(t *testing.T) {
			d, f := newFile(t, 8192)
			m := mapped(t, f, 4096)
			write(t, f, 0, "lost")
			write(t, f, 4096, "lost")
			fault := d.FailSync(1, nil)
			require.ErrorIs(t, sync(f), syscall.EIO)
			fault.Release()
			require.NoError(t, sync(f))
			require.Equal(t, "lost", read(t, f, 0, 4), "it can still be read")
			require.Equal(t, "lost", string(m.Bytes()[:4]))
			b := content(t, d.CrashKeeping(1, 0), "dir/file")
			require.NotContains(t, string(b), "lost")

			write(t, f, 0, "lost") // the same bytes written again are dirty, too
			require.NoError(t, f.Sync())
			require.Equal(t, "lost", string(content(t, d.CrashKeeping(1, 0), "dir/file")[:4]))

			write(t, f, 0, "back") // written again, it is dirty again
			write(t, f, 4096, "back")
			require.NoError(t, sync(f))
			require.Equal(t, 2, strings.Count(string(content(t, d.CrashKeeping(1, 0), "dir/file")), "back"))
		})
	}
}

func TestNthSyncFails(t *testing.T) {
	d, f := newFile(t, 4096)
	mine := errors.New("mine")
	fault := d.FailSync(3, mine)
	require.NoError(t, f.Sync())
	require.NoError(t, f.SyncData())
	require.ErrorIs(t, f.Sync(), mine)
	<-fault.Struck()
	require.ErrorIs(t, f.SyncData(), mine)
}

func TestHungSyncWaitsForRelease(t *testing.T) {
	d, f := newFile(t, 4096)
	write(t, f, 0, "slow")
	fault := d.HangSync(1)
	done := make(chan error, 1)
	go func() { done <- f.SyncData() }()
	<-fault.Struck()
	write(t, f, 100, "others go on")
	require.Equal(t, "slow", read(t, f, 0, 4))
	require.Zero(t, content(t, d.CrashKeeping(1, 0), "dir/file")[0])
	require.Empty(t, done)
	fault.Release()
	require.NoError(t, <-done)
	require.Equal(t, "slow", string(content(t, d.CrashKeeping(1, 0), "dir/file")[:4]))
}

func TestPowerCutEndsAHungSync(t *testing.T) {
	d, f := newFile(t, 4096)
	fault := d.HangSync(1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Sync(); !errors.Is(err, vfs.ErrPowerCut) {
			t.Error(err)
		}
	})
	<-fault.Struck()
	d.Crash(1)
	wg.Wait()
}

func TestLyingSyncsAreForgottenByACrash(t *testing.T) {
	d, f := newFile(t, 4096)
	d.Inject(vfs.Fault{Ops: append([]vfs.OpKind{vfs.OpSyncDir}, vfs.Syncs...), Lie: true})
	write(t, f, 0, "lie")
	create(t, d, "dir/other")
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir("dir"))
	left := d.CrashKeeping(1, 0)
	require.Zero(t, content(t, left, "dir/file")[0])
	names, err := left.List("dir")
	require.NoError(t, err)
	require.Equal(t, []string{"file"}, names)
}

func TestFullDisk(t *testing.T) {
	d, f := newFile(t, 8192)
	d.SetFree(3 * vfs.PageSize)
	free, total, err := d.Space("dir")
	require.NoError(t, err)
	require.EqualValues(t, 3*vfs.PageSize, free)
	require.EqualValues(t, 5*vfs.PageSize, total)
	write(t, f, 0, strings.Repeat("r", 8192)) // its blocks are reserved

	n, err := f.WriteAt(make([]byte, 5*vfs.PageSize), 8192-100)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.Equal(t, 100+3*vfs.PageSize, n, "a full disk takes what fits")
	requireSize(t, f, int64(8192+3*vfs.PageSize))

	require.ErrorIs(t, f.Allocate(0, 1<<20), vfs.ErrNoSpace)
	requireSize(t, f, int64(8192+3*vfs.PageSize))
	require.NoError(t, f.Truncate(4096))
	require.NoError(t, f.Allocate(0, 8192))

	require.NoError(t, f.Truncate(1<<20)) // a hole takes none
	m := mapped(t, f, 1<<20)

	// A removed file gives its blocks back when nobody has it open.
	require.NoError(t, d.Remove("dir/file"))
	before, _, _ := d.Space("dir")
	require.NoError(t, f.Close())
	open, _, _ := d.Space("dir")
	require.Equal(t, before, open, "it is mapped")
	require.NoError(t, m.Unmap())
	after, _, _ := d.Space("dir")
	require.Greater(t, after, before)
	require.EqualValues(t, 5*vfs.PageSize, after)
}

func TestReadsOfARangeFail(t *testing.T) {
	d, f := newFile(t, 1<<16)
	fault := d.FailRead("dir/file", 10000, 10)
	read(t, f, 0, 10000)
	read(t, f, 10010, 100)
	n, err := f.ReadAt(make([]byte, 2), 9999)
	require.Zero(t, n)
	require.ErrorIs(t, err, syscall.EIO)
	fault.Release()
	read(t, f, 9999, 2)
}

func TestFaultsPickTheirOperations(t *testing.T) {
	d := vfs.NewMem(1)
	d.Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate}, Name: "wal*", Skip: 1, Times: 2})
	for i, fails := range []bool{false, true, true, false} {
		create(t, d, "store"+string(rune('0'+i)))
		_, err := d.Create("wal" + string(rune('0'+i)))
		require.Equal(t, fails, errors.Is(err, syscall.EIO), i)
	}
}

func TestHookSeesEachOperation(t *testing.T) {
	d := vfs.NewMem(1)
	var seen []string
	refuse := errors.New("refused")
	d.SetHook(func(op vfs.Op) error {
		seen = append(seen, op.String())
		if op.Kind == vfs.OpRename {
			return refuse
		}
		return nil
	})
	f := create(t, d, "a")
	write(t, f, 5, "bytes")
	require.ErrorIs(t, d.Rename("a", "b"), refuse)
	read(t, f, 5, 5)
	require.Equal(t, []string{"1: create a 0+0", "2: write a 5+5", "3: rename a to b", "0: read a 5+5"}, seen)
	d.SetHook(nil)
	require.NoError(t, d.Rename("a", "b"))
	require.EqualValues(t, 4, d.Ops())
}

func TestDamageIsDurable(t *testing.T) {
	d, f := newFile(t, 8192)
	m := mapped(t, f, 8192)
	require.NoError(t, d.Damage("dir/file", 4090, 10, func(b []byte) { b[8] ^= 0xff }))
	require.Equal(t, byte(0xff), m.Bytes()[4098])
	require.Equal(t, byte(0xff), content(t, d.CrashKeeping(1, 0), "dir/file")[4098])
	require.Error(t, d.Damage("dir/file", 8190, 10, func(b []byte) {}))
	require.Error(t, d.Damage("dir/none", 0, 1, func(b []byte) {}))
}

func TestFailedSyncLosesTheSize(t *testing.T) {
	d, f := newFile(t, 4096)
	require.NoError(t, f.Allocate(0, 8192))
	fault := d.FailSync(1, nil)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	fault.Release()
	require.NoError(t, f.Sync())
	require.Len(t, content(t, d.CrashKeeping(1, 0), "dir/file"), 4096)
	require.NoError(t, f.Allocate(0, 12288))
	require.NoError(t, f.Sync())
	require.Len(t, content(t, d.CrashKeeping(1, 0), "dir/file"), 12288)
}

// More sizes than are remembered leave the first, the last, and some between.
func TestManyUnsyncedSizes(t *testing.T) {
	d, f := newFile(t, 100)
	for size := range int64(100) {
		require.NoError(t, f.Truncate(200+size))
	}
	seen := map[int]bool{}
	for seed := range uint64(200) {
		size := len(content(t, d.CrashClone(seed), "dir/file"))
		require.True(t, size == 100 || size >= 200 && size < 300, size)
		seen[size] = true
	}
	require.True(t, seen[100] && seen[299])
	require.Greater(t, len(seen), 5)
}
