package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"raftmq/internal/vfs"
)

// Lost is what a power cut did to a folder.
type Lost struct {
	Sectors     int `json:"sectors"`     // that were not durable and are gone
	SectorsKept int `json:"sectorsKept"` // that were not durable and are there
	Names       int `json:"names"`       // changes of names that are gone
	NamesKept   int `json:"namesKept"`
}

// Any reports whether anything was lost.
func (l Lost) Any() bool { return l.Sectors+l.Names > 0 }

func (l Lost) String() string {
	return fmt.Sprintf("%d sectors and %d names lost, %d and %d not synced kept", l.Sectors, l.Names, l.SectorsKept, l.NamesKept)
}

// Cut cuts the power of a folder whose process is gone: it leaves what is durable, and
// each other sector, size and change of a name with the chance keep. What it leaves
// counts as durable from then on: the twin is gone. An error leaves the folder as it
// was, or says that it is broken.
func Cut(root, twin string, keep float64, rng *rand.Rand) (Lost, error) {
	c := &cut{root: root, twin: twin, keep: keep, rng: rng, there: make(map[uint64]string),
		moved: make(map[uint64]bool), placed: make(map[uint64]bool), left: make(map[string]image)}
	if _, err := os.Stat(twin); err != nil {
		return c.lost, err
	}
	to := root + ".cut"
	if err := os.RemoveAll(to); err != nil {
		return c.lost, err
	}
	if err := c.run(to); err != nil {
		return c.lost, fmt.Errorf("power cut of %s: %w", root, err)
	}
	return c.lost, errors.Join(os.RemoveAll(root), os.Rename(to, root), os.RemoveAll(twin))
}

type cut struct {
	root, twin string
	keep       float64
	rng        *rand.Rand
	there      map[uint64]string // the folder's files that have twins: inode to path below it
	moved      map[uint64]bool   // those of them whose name is not durable: whether they have it
	placed     map[uint64]bool   // those that are in left
	left       map[string]image  // what is left, by path below the folder
	lost       Lost
}

// image is what a file is made of.
type image struct{ twin, is string }

func (c *cut) coin() bool { return c.keep > 0 && c.rng.Float64() < c.keep }

func (c *cut) run(to string) error {
	if err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(c.root, path)
		if d.IsDir() {
			return nil
		}
		inode, err := inodeOf(path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(twinOf(c.twin, inode)); err == nil {
			c.there[inode] = rel
			return nil
		}
		return c.place(path, filepath.Join(to, rel), d) // not used through the layer
	}); err != nil {
		return err
	}
	inodes, err := c.inodes()
	if err != nil {
		return err
	}
	names := filepath.Join(c.twin, "n")
	if err := filepath.WalkDir(names, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(names, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o750)
		}
		return c.name(rel, path, inodes)
	}); err != nil {
		return err
	}
	for _, inode := range slices.Sorted(maps.Keys(c.there)) {
		if _, decided := c.moved[inode]; !decided && !c.placed[inode] && c.move(inode) {
			c.put(c.there[inode], inode)
		}
	}
	for _, rel := range slices.Sorted(maps.Keys(c.left)) {
		x := c.left[rel]
		if err := c.leave(x.twin, x.is, filepath.Join(to, rel)); err != nil {
			return err
		}
	}
	return nil
}

// inodes are those of the folder's files by those of their twins.
func (c *cut) inodes() (map[uint64]uint64, error) {
	entries, err := os.ReadDir(filepath.Join(c.twin, "i"))
	if err != nil {
		return nil, err
	}
	of := make(map[uint64]uint64)
	for _, e := range entries {
		inode, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil {
			return nil, err
		}
		twin, err := inodeOf(twinOf(c.twin, inode))
		if err != nil {
			return nil, err
		}
		of[twin] = inode
	}
	return of, nil
}

// move draws whether an inode is under the name that it has in the folder, which is not
// durable. A rename is there or not, never in part.
func (c *cut) move(inode uint64) bool {
	kept, ok := c.moved[inode]
	if !ok {
		if kept = c.coin(); kept {
			c.lost.NamesKept++
		} else {
			c.lost.Names++
		}
		c.moved[inode] = kept
	}
	return kept
}

// put has the file with an inode under a name.
func (c *cut) put(rel string, inode uint64) {
	c.placed[inode] = true
	c.left[rel] = image{twinOf(c.twin, inode), filepath.Join(c.root, c.there[inode])}
}

// name decides what is under a durable name: the file that has it durably, or the one
// that has it now, or none if it was taken away.
func (c *cut) name(rel, twin string, inodes map[uint64]uint64) error {
	t, err := inodeOf(twin)
	if err != nil {
		return err
	}
	was, alive := inodes[t]
	alive = alive && c.there[was] != "" // its process may have been killed amid the removal
	now, err := inodeOf(filepath.Join(c.root, rel))
	there := err == nil
	if there && !(alive && now == was) && c.there[now] == "" {
		return nil // one that is not used through the layer has the name
	}
	replaced := there && !(alive && now == was) && c.move(now)
	if replaced {
		c.put(rel, now)
	}
	switch {
	case alive && there && now == was:
		c.put(rel, was)
	case alive && c.move(was):
		c.put(c.there[was], was)
	case alive && !replaced:
		c.put(rel, was)
	case !alive && !there && c.coin():
		c.lost.NamesKept++ // its removal
	case !alive && !replaced:
		if !there {
			c.lost.Names++
		}
		c.left[rel] = image{twin, ""}
	}
	return nil
}

// leave writes what is left of a file: its twin's bytes, with those of is by chance; is
// may be empty.
func (c *cut) leave(twin, is, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	b, err := os.ReadFile(twin)
	if err != nil {
		return err
	}
	var now []byte
	if is != "" {
		if now, err = os.ReadFile(is); err != nil {
			return err
		}
		if bytes.Equal(b, now) {
			return os.Link(is, to)
		}
	}
	if is != "" && len(now) != len(b) && c.coin() {
		b = append(b, make([]byte, max(0, len(now)-len(b)))...)[:len(now)]
	}
	for at := 0; is != "" && at < max(len(b), len(now)); at += vfs.SectorSize {
		was, will := sector(b, at), sector(now, at)
		if bytes.Equal(was, will) {
			continue
		}
		if bytes.Equal(pad(was), pad(will)) {
			continue // where one is longer, by zeros
		}
		if c.coin() && at < len(b) {
			copy(was, pad(will))
			c.lost.SectorsKept++
		} else {
			c.lost.Sectors++
		}
	}
	return os.WriteFile(to, b, 0o640)
}

func sector(b []byte, at int) []byte { return b[min(at, len(b)):min(at+vfs.SectorSize, len(b))] }

var zeros [vfs.SectorSize]byte

func pad(b []byte) []byte { return append(append([]byte(nil), b...), zeros[len(b):]...) }

// place moves a file that has no twin.
func (c *cut) place(from, to string, d fs.DirEntry) error {
	if !d.Type().IsRegular() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.Link(from, to)
}
