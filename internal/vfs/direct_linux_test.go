package vfs

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whichever way a system allows, the bytes are there.
func TestWriteThroughByEachWay(t *testing.T) {
	for name, set := range map[string]func(f *osFile){
		"asynchronous":           func(*osFile) {},
		"no asynchronous writes": func(*osFile) { withoutAIO(t) },
		"no direct writes":       func(f *osFile) { f.direct.none = true },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OS{}.Create(t.TempDir() + "/f")
			require.NoError(t, err)
			defer f.Close()
			set(f.(*osFile))
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
		})
	}
}

func withoutAIO(t *testing.T) {
	aios.mu.Lock()
	defer aios.mu.Unlock()
	free := aios.free
	aios.free, aios.none = nil, true
	t.Cleanup(func() {
		aios.mu.Lock()
		defer aios.mu.Unlock()
		aios.free, aios.none = free, false
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
