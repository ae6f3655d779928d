package vfs_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

func TestWhatAKilledProcessWroteIsThereAndNotDurable(t *testing.T) {
	d, f := newFile(t, 4*vfs.PageSize)
	write(t, f, 0, strings.Repeat("a", vfs.PageSize))
	require.NoError(t, f.SyncData())
	write(t, f, 0, strings.Repeat("b", vfs.PageSize))
	m, err := f.Map(4 * vfs.PageSize)
	require.NoError(t, err)
	write(t, f, 2*vfs.PageSize, "beside a map")
	require.NoError(t, create(t, d, "dir/new").Close())

	left := d.Kill()
	require.ErrorIs(t, f.Sync(), vfs.ErrPowerCut)
	_, err = d.List("dir")
	require.ErrorIs(t, err, vfs.ErrPowerCut)
	_, err = f.WriteAt([]byte("after the end"), 0)
	require.ErrorIs(t, err, vfs.ErrPowerCut)
	require.Equal(t, "bbb", string(m.Bytes()[:3]), "whoever still reads")
	require.NoError(t, m.Unmap())
	b := content(t, left, "dir/file")
	require.Equal(t, "bbb", string(b[:3]))
	require.Equal(t, "beside", string(b[2*vfs.PageSize:][:6]))

	gone := left.CrashKeeping(1, 0)
	b = content(t, gone, "dir/file")
	require.Equal(t, "aaa", string(b[:3]))
	require.Equal(t, byte(0), b[2*vfs.PageSize])
	names, err := gone.List("dir")
	require.NoError(t, err)
	require.Equal(t, []string{"file"}, names)
	lost := gone.Lost()
	require.Equal(t, vfs.Lost{Sectors: vfs.PageSize/vfs.SectorSize + 1, Names: 1}, lost)

	require.NoError(t, left.SyncDir("dir"))
	g, err := left.Open("dir/file")
	require.NoError(t, err)
	require.NoError(t, g.SyncData())
	kept := left.CrashKeeping(1, 0)
	require.Equal(t, "bbb", string(content(t, kept, "dir/file")[:3]))
	require.Empty(t, content(t, kept, "dir/new"))
	require.Zero(t, kept.Lost())
	require.NoError(t, g.Close())
}
