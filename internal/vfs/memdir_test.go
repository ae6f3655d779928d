package vfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRemovedTreesLeaveNothingPending(t *testing.T) {
	d := NewMem(1)
	for range 20 {
		require.NoError(t, MakeDir(d, "p/q/r"))
		require.NoError(t, WriteFile(d, "p/q/r/f", []byte("x")))
		require.NoError(t, d.RemoveAll("p"))
		require.NoError(t, d.SyncDir("/"))
		require.Empty(t, d.pending)
	}
	names, err := d.CrashKeeping(1, 0).List("/")
	require.NoError(t, err)
	require.Empty(t, names)
}
