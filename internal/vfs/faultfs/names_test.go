package faultfs

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// After a power cut a folder has the names that it had when it was synced last, whatever came before and after.
func TestNamesAreThoseOfTheLastSync(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := newDisk(t)
			rng := rand.New(rand.NewPCG(seed, 0))
			dirs := []string{"x", "y"}
			now, durable := map[string]map[string]string{}, map[string]map[string]string{}
			for _, dir := range dirs {
				require.NoError(t, d.MkdirAll(d.path(dir)))
				now[dir], durable[dir] = map[string]string{}, map[string]string{}
			}
			require.NoError(t, d.SyncDir(d.root))
			any := func() (dir, name string) { return dirs[rng.IntN(2)], fmt.Sprint(rng.IntN(6)) }
			for step := range 80 {
				dir, name := any()
				at := filepath.Join(dir, name)
				switch rng.IntN(6) {
				case 0, 1:
					if _, there := now[dir][name]; !there {
						content := fmt.Sprint("content ", step)
						require.NoError(t, d.create(at, content).Sync())
						now[dir][name] = content
					}
				case 2:
					if _, there := now[dir][name]; there {
						require.NoError(t, d.Remove(d.path(at)))
						delete(now[dir], name)
					}
				case 3:
					if content, there := now[dir][name]; there {
						other, as := any()
						require.NoError(t, d.Rename(d.path(at), d.path(filepath.Join(other, as))))
						delete(now[dir], name)
						now[other][as] = content
					}
				case 4:
					require.NoError(t, d.SyncDir(d.path(dir)))
					durable[dir] = maps.Clone(now[dir])
				case 5:
					if rng.IntN(8) == 0 { // the folder goes and comes
						require.NoError(t, d.RemoveAll(d.path(dir)))
						require.NoError(t, d.MkdirAll(d.path(dir)))
						require.NoError(t, d.SyncDir(d.root))
						require.NoError(t, d.SyncDir(d.path(dir)))
						now[dir], durable[dir] = map[string]string{}, map[string]string{}
					}
				}
			}
			d.cut(0)
			for _, dir := range dirs {
				has := map[string]string{}
				require.NoError(t, filepath.WalkDir(d.path(dir), func(path string, e fs.DirEntry, err error) error {
					if err != nil || e.IsDir() {
						return err
					}
					content, err := os.ReadFile(path)
					has[e.Name()] = string(content)
					return err
				}))
				require.Equal(t, durable[dir], has, dir)
			}
		})
	}
}
