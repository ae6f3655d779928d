//go:build linux || darwin

package vfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Where blocks cannot be reserved, zeros are written.
func TestFillGrowsAndKeepsBytes(t *testing.T) {
	file, err := OS{}.Create(t.TempDir() + "/a")
	require.NoError(t, err)
	defer file.Close()
	f := file.(*osFile)
	_, err = f.WriteAt([]byte("keep"), 0)
	require.NoError(t, err)
	const end = 3<<20 + 5
	require.NoError(t, f.fill(end))
	require.NoError(t, f.fill(10))
	b, err := ReadFile(OS{}, f.Name(), end)
	require.NoError(t, err)
	require.Equal(t, append([]byte("keep"), make([]byte, end-4)...), b)
}
