package vfstest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/internal/vfs/vfstest"
)

// versions is a workload that replaces a file's content again and again.
func versions(save func(d vfs.FS, name string, b []byte) error) func() vfstest.Run {
	return func() vfstest.Run {
		saved, begun := 0, 0
		content := func(i int) []byte { return bytes.Repeat([]byte{byte('0' + i)}, 3000+i) }
		return vfstest.Run{
			Work: func(d *vfs.Mem) error {
				if err := vfs.MakeDir(d, "data"); err != nil {
					return err
				}
				for i := 1; i <= 5; i++ {
					begun = i
					if err := save(d, "data/file", content(i)); err != nil {
						return err
					}
					saved = i
				}
				return nil
			},
			Check: func(d *vfs.Mem) error {
				got, err := vfs.ReadFile(d, "data/file", 1<<20)
				if saved == 0 && errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				if err != nil {
					return err
				}
				for i := max(saved, 1); i <= begun; i++ {
					if bytes.Equal(got, content(i)) {
						return save(d, "data/file", got) // recovery writes, too
					}
				}
				return fmt.Errorf("version %d was saved, not there", saved)
			},
		}
	}
}

func TestWholeFilesSurvivePowerCuts(t *testing.T) {
	for seed := range uint64(20) {
		vfstest.CutPower(t, vfstest.Options{Seed: seed, Images: 6, Recover: true}, versions(vfs.WriteFile))
	}
}

// Each way to save a file that leaves out a step is found.
func TestPowerCutsFindWhatIsNotSynced(t *testing.T) {
	put := func(d vfs.FS, name string, b []byte, sync bool) error {
		d.Remove(name)
		f, err := d.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt(b, 0); err != nil {
			return err
		}
		if !sync {
			return nil
		}
		return f.Sync()
	}
	for name, save := range map[string]func(d vfs.FS, name string, b []byte) error{
		"in place": func(d vfs.FS, name string, b []byte) error {
			return errors.Join(put(d, name, b, true), d.SyncDir("data"))
		},
		"content not synced": func(d vfs.FS, name string, b []byte) error {
			return errors.Join(put(d, "data/tmp", b, false), d.Rename("data/tmp", name), d.SyncDir("data"))
		},
		"directory not synced": func(d vfs.FS, name string, b []byte) error {
			return errors.Join(put(d, "data/tmp", b, true), d.Rename("data/tmp", name))
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := vfstest.Try(vfstest.Options{}, versions(save))
			require.ErrorContains(t, err, "power cut before operation")
			require.ErrorContains(t, vfstest.Try(vfstest.Options{}, versions(save)), err.Error(), "the same again")
		})
	}
	// The process, not the power, may end at any time without a sync.
	require.NoError(t, vfstest.Try(vfstest.Options{Cuts: 10, Seed: 3}, versions(vfs.WriteFile)))
}
