//go:build linux || darwin

package vfs

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where the kernel cannot populate, pages are touched.
func TestTouchKeepsBytesAndFaults(t *testing.T) {
	f, err := OS{}.Create(t.TempDir() + "/a")
	require.NoError(t, err)
	defer f.Close()
	b := bytes.Repeat([]byte("keep"), int(osPage))
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	m, err := f.Map(8 * osPage)
	require.NoError(t, err)
	defer m.Unmap()
	require.NoError(t, touch(m.Bytes()[:4*osPage]))
	require.Equal(t, b, m.Bytes()[:4*osPage])
	require.ErrorIs(t, touch(m.Bytes()), ErrFault)
}

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
