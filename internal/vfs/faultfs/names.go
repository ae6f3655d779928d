package faultfs

import (
	"os"
	"path/filepath"
	"strings"
)

// names are, for each folder whose names were all synced in this process, those that changed since. A folder that is not among them is
// read whole once. A node keeps tens of thousands of files in an hour, and syncs a folder with each that it makes.
type names map[string]map[string]bool

// changed notes that a name was made, removed, or given another file.
func (n names) changed(name string) {
	if since, ok := n[filepath.Dir(name)]; ok {
		since[filepath.Base(name)] = true
	}
}

// of returns what changed in a folder; all: that is not known.
func (n names) of(dir string) (changed map[string]bool, all bool) {
	changed, known := n[filepath.Clean(dir)]
	return changed, !known
}

func (n names) synced(dir string) { n[filepath.Clean(dir)] = make(map[string]bool) }

func (n names) forget(dir string) { delete(n, filepath.Clean(dir)) }

// gone forgets a folder and those in it.
func (n names) gone(dir string) {
	dir = filepath.Clean(dir)
	for d := range n {
		if d == dir || strings.HasPrefix(d, dir+string(filepath.Separator)) {
			delete(n, d)
		}
	}
}

// namesIn are the names in either of two folders.
func namesIn(dirs ...string) (map[string]bool, error) {
	all := make(map[string]bool)
	for _, dir := range dirs {
		var entries []os.DirEntry
		err := patiently(func() (err error) {
			entries, err = os.ReadDir(dir)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			all[e.Name()] = true
		}
	}
	return all, nil
}
