package vfs_test

import (
	"bytes"
	"errors"
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
		b[1<<19] = 1
		return errors.New("not reached")
	})
	require.ErrorIs(t, err, vfs.ErrFault)
	require.True(t, cleaned)

	var sum int
	require.ErrorIs(t, vfs.Guard(func() error { sum += int(b[1<<19]); return nil }), vfs.ErrFault)
	require.ErrorIs(t, vfs.Guard(func() error { bytes.Clone(b[:1<<19]); return nil }), vfs.ErrFault)
	require.ErrorIs(t, vfs.Guard(func() error {
		return vfs.Guard(func() error { b[1<<19] = 1; return nil })
	}), vfs.ErrFault)

	require.NoError(t, f.Allocate(0, 1<<20))
	require.NoError(t, vfs.Guard(func() error { b[1<<19] = 1; return nil }))
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
