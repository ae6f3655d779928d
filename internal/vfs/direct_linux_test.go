package vfs

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whichever way a system allows, the bytes are there, and it is told which way they went and
// why no better one.
func TestWriteThroughByEachWay(t *testing.T) {
	for name, c := range map[string]struct {
		way Way
		why error
		set func(t *testing.T, f *osFile)
	}{
		"asynchronous":           {DirectSubmits, nil, func(*testing.T, *osFile) {}},
		"no asynchronous writes": {DirectWrite, unix.EAGAIN, func(t *testing.T, _ *osFile) { withoutAIO(t, unix.EAGAIN) }},
		"no direct writes":       {WriteAndSync, unix.EINVAL, func(_ *testing.T, f *osFile) { f.direct.none, f.direct.why = true, unix.EINVAL }},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OS{}.Create(t.TempDir() + "/f")
			require.NoError(t, err)
			defer f.Close()
			way, why := WayOf(f)
			require.Equal(t, NotWritten, way)
			require.NoError(t, why)
			c.set(t, f.(*osFile))
			require.NoError(t, f.Allocate(0, 64*Block))
			var wg sync.WaitGroup
			for i := range 16 { // more at once than are kept
				wg.Go(func() {
					b := Aligned(2 * Block)
					for n := range 10 {
						for k := range b {
							b[k] = byte(i + n)
						}
						if err := f.WriteThrough(b, int64(2*i)*Block); err != nil {
							t.Error(err)
							return
						}
						got := make([]byte, len(b))
						if _, err := f.ReadAt(got, int64(2*i)*Block); err != nil || string(got) != string(b) {
							t.Errorf("file %d differs after write %d: %v", i, n, err)
							return
						}
					}
				})
			}
			wg.Wait()
			way, why = WayOf(f)
			if c.way == DirectSubmits && way != c.way && why != nil {
				t.Skipf("not here: %v, %v", way, why)
			}
			require.Equal(t, c.way, way)
			require.ErrorIs(t, why, c.why)
		})
	}
}

func withoutAIO(t *testing.T, why error) {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	free := aios.free
	aios.free, aios.none, aios.why = nil, true, why
	t.Cleanup(func() {
		aios.mu.Lock()
		defer aios.mu.Unlock()
		aios.free, aios.none, aios.why = free, false, nil
	})
}

// A write that fails says so: past the limit of a file's size nothing is written.
func TestWriteThroughTellsFailures(t *testing.T) {
	f, err := OS{}.Open("/dev/full")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	require.ErrorIs(t, f.WriteThrough(Aligned(Block), 0), ErrNoSpace)
}
