package client_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

func TestOffsetsInAFileAreThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "offsets.json")
	f, err := client.NewFileOffsets(path)
	require.NoError(t, err)
	_, ok, err := f.Load(bg, "t", 0)
	require.NoError(t, err)
	require.False(t, ok)
	var wg sync.WaitGroup
	for q := range 50 {
		wg.Go(func() {
			for off := range int64(20) {
				if err := f.Store(bg, "t", q, off+1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	again, err := client.NewFileOffsets(path)
	require.NoError(t, err)
	for q := range 50 {
		off, ok, err := again.Load(bg, "t", q)
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 20, off)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 1, "nothing is left of writing")
}

func TestAFileThatHoldsNoOffsetsIsLeftAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes")
	for _, text := range []string{"", "my notes", `{"version":2,"offsets":{}}`, `{"version":1,"offsets":{"t":{"0":-1}}}`, `{"version":1,"offsets":{"t":{"x":1}}}`, "[]",
		`{"version":1,"name":"x"}`, `{"version":1,"offsets":{},"name":"x"}`, `{"version":1,"offsets":null}`, `{"version":1,"offsets":{}} {}`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := client.NewFileOffsets(path)
		require.ErrorIs(t, err, client.ErrInvalid, text)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
}

// What cannot be written is not said to be stored, and is written with the next.
func TestOffsetsThatCannotBeWrittenAreAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "there")
	path := filepath.Join(dir, "offsets.json")
	f, err := client.NewFileOffsets(path)
	require.NoError(t, err)
	require.ErrorIs(t, f.Store(bg, "t", -1, 7), client.ErrInvalid)
	require.ErrorIs(t, f.Store(bg, "t", 0, -7), client.ErrInvalid)
	require.Error(t, f.Store(bg, "t", 0, 7))
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, f.Store(bg, "t", 1, 8))
	again, err := client.NewFileOffsets(path)
	require.NoError(t, err)
	off, ok, err := again.Load(bg, "t", 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 7, off)
}
