package vfs_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// The real disk: a map longer than its file, touched beyond the end.
func TestGuardTurnsAFaultIntoAnError(t *testing.T) {
	f := create(t, vfs.OS{}, t.TempDir()+"/a")
	require.NoError(t, f.Allocate(0, 4096))
	b := mapped(t, f, 1<<20).Bytes()

	cleaned := false
	err := vfs.Guard(func() error {
		defer func() { cleaned = true }()
		sink += b[1<<19]
		return errors.New("not reached")
	})
	require.ErrorIs(t, err, vfs.ErrFault)
	require.True(t, cleaned)

	require.ErrorIs(t, vfs.Guard(func() error { bytes.Clone(b[:1<<19]); return nil }), vfs.ErrFault)
	require.ErrorIs(t, vfs.Guard(func() error {
		return vfs.Guard(func() error { sink += b[1<<19]; return nil })
	}), vfs.ErrFault)

	require.NoError(t, f.Allocate(0, 1<<20))
	require.NoError(t, vfs.Guard(func() error { sink += b[1<<19]; return nil }))
}

var sink byte

// A store to a map, with the file there and reserved, faults and changes nothing.
func TestStoresToAMapFault(t *testing.T) {
	f := create(t, vfs.OS{}, t.TempDir()+"/a")
	write(t, f, 0, "log")
	require.NoError(t, f.Allocate(0, 8192))
	b := mapped(t, f, 8192).Bytes()
	require.ErrorIs(t, vfs.Guard(func() error { b[0] = 'f'; return nil }), vfs.ErrFault)
	require.ErrorIs(t, vfs.Guard(func() error { copy(b[4096:], "frog"); return nil }), vfs.ErrFault)
	require.ErrorIs(t, vfs.Guard(func() error { clear(b); return nil }), vfs.ErrFault)
	require.Equal(t, "log\x00", string(b[:4]))
	require.Equal(t, "log"+strings.Repeat("\x00", 8189), read(t, f, 0, 8192))
}

func TestGuardPassesOnTheRest(t *testing.T) {
	mine := errors.New("mine")
	require.Equal(t, mine, vfs.Guard(func() error { return mine }))
	require.NoError(t, vfs.Guard(func() error { return nil }))
	require.PanicsWithValue(t, "bug", func() { vfs.Guard(func() error { panic("bug") }) })
	require.Panics(t, func() {
		var p *int
		vfs.Guard(func() error { *p = 1; return nil })
	})
}

func BenchmarkGuard(b *testing.B) {
	for b.Loop() {
		vfs.Guard(func() error { return nil })
	}
}
