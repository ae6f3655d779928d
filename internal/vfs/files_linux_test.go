package vfs

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// useUpFiles has all files open that the process may have, and returns one of them.
func useUpFiles(t *testing.T) *os.File {
	t.Helper()
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: old.Max}))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
	var last *os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			require.ErrorIs(t, err, unix.EMFILE)
			require.NotNil(t, last)
			return last
		}
		last = f
		t.Cleanup(func() { f.Close() })
	}
}

// Where no more files may be open, opening one says so, as a thing that passes. What needs
// a file only on the way does without, or waits.
func TestTooManyOpenFilesPass(t *testing.T) {
	dir := t.TempDir()
	f, err := OS{}.Create(dir + "/f")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Allocate(0, 4*Block))
	withFreshAIO(t)
	one := useUpFiles(t)

	_, err = OS{}.Create(dir + "/g")
	require.ErrorIs(t, err, ErrNoFiles)
	require.ErrorIs(t, err, ErrNoSpace, "who waits for room waits for it too")
	_, err = OS{}.Open(dir + "/f")
	require.ErrorIs(t, err, ErrNoFiles)

	require.NoError(t, f.WriteThrough(Aligned(Block), 0))
	require.False(t, f.(*osFile).direct.none, "it is looked for again")

	synced, listed := make(chan error, 1), make(chan error, 1)
	go func() { synced <- OS{}.SyncDir(dir) }()
	go func() {
		names, err := OS{}.List(dir)
		require.Equal(t, []string{"f"}, names)
		listed <- err
	}()
	require.NoError(t, one.Close())
	require.NoError(t, <-synced)
	require.NoError(t, <-listed)
}

// withFreshAIO has the next asynchronous write begin anew.
func withFreshAIO(t *testing.T) {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	free := aios.free
	aios.free = nil
	t.Cleanup(func() {
		aios.mu.Lock()
		defer aios.mu.Unlock()
		require.False(t, aios.none)
		aios.free = append(aios.free, free...)
	})
}
