package sim

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"raftmq/internal/vfs"
	"raftmq/internal/vfs/faultfs"
)

const (
	folder  = "data"      // of a node, on its disk
	outside = "./outside" // before the names of whoever is no node: no rule strikes them
)

// How long a sync takes: that of a good disk up to that of a bad one, which is drawn for
// each node, and now and then that of a busy one.
const (
	shortestSync, longestSync = 50 * time.Microsecond, 2 * time.Millisecond // doubled up to slowest times
	slowest                   = 3
	rareSync                  = 30 * time.Millisecond
)

// disk is a node's, through all its lives.
type disk struct {
	mu    sync.Mutex
	mem   *vfs.Mem // of the life that runs, or what the last one left
	rules *faultfs.Rules

	rngMu   sync.Mutex
	rng     *rand.Rand
	longest time.Duration // of its syncs
}

func newDisk(rng *rand.Rand) *disk {
	return &disk{mem: vfs.NewMem(rng.Uint64()), rules: &faultfs.Rules{}, rng: rng, longest: longestSync << rng.IntN(slowest+1)}
}

// begin gives a life its disk.
func (d *disk) begin() *vfs.Mem {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = &faultfs.Rules{}
	mem, rules := d.mem, d.rules
	mem.SetFree(-1)
	mem.SetHook(func(op vfs.Op) error { return d.meet(mem, rules, op) })
	return mem
}

// end takes it from a life. What hangs there is over.
func (d *disk) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.Kill()
	d.rules.Set(nil)
}

// now is the disk as it is.
func (d *disk) now() *vfs.Mem {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem
}

// cut takes what is not durable, but for what is kept by chance.
func (d *disk) cut(keep float64, seed uint64) faultfs.Lost {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.CrashKeeping(seed, keep)
	l := d.mem.Lost()
	return faultfs.Lost{Sectors: l.Sectors, Names: l.Names, SectorsKept: l.SectorsKept, NamesKept: l.NamesKept}
}

// wipe takes everything.
func (d *disk) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = vfs.NewMem(d.draw())
}

func (d *disk) draw() uint64 {
	d.rngMu.Lock()
	defer d.rngMu.Unlock()
	return d.rng.Uint64()
}

// order puts rules in force, and returns how often those before struck.
func (d *disk) order(rules *[]faultfs.Rule) ([]int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hits := d.rules.Hits()
	if rules == nil {
		return hits, nil
	}
	free := int64(-1)
	for _, r := range *rules {
		if r.Full {
			free = 0
		}
	}
	if err := d.rules.Set(*rules); err != nil {
		return hits, err
	}
	d.mem.SetFree(free)
	return hits, nil
}

// meet is what an operation of a node meets.
func (d *disk) meet(mem *vfs.Mem, rules *faultfs.Rules, op vfs.Op) error {
	if strings.HasPrefix(op.Name, outside) {
		return nil
	}
	kind := ""
	switch op.Kind {
	case vfs.OpSpace:
		rules.Full() // counts; the disk itself is full
		return nil
	case vfs.OpRead:
		kind = faultfs.OpRead
	case vfs.OpWrite, vfs.OpTruncate, vfs.OpAllocate:
		kind = faultfs.OpWrite
	case vfs.OpSync, vfs.OpSyncData, vfs.OpSyncDir:
		kind = faultfs.OpSync
	case vfs.OpCreate, vfs.OpMkdirAll, vfs.OpRename, vfs.OpRemove:
		kind = faultfs.OpName
	default:
		return nil
	}
	if err := rules.Meet(kind, strings.TrimPrefix(op.Name, folder+"/"), false); err != nil {
		return err
	}
	if kind == faultfs.OpSync {
		t := time.NewTimer(d.sync())
		defer t.Stop()
		select {
		case <-t.C:
		case <-mem.Down():
		}
	}
	return nil
}

// sync draws how long one takes.
func (d *disk) sync() time.Duration {
	d.rngMu.Lock()
	defer d.rngMu.Unlock()
	most := d.longest
	if d.rng.IntN(rare) == 0 {
		most = max(most, rareSync)
	}
	return shortestSync + time.Duration(d.rng.Int64N(int64(most-shortestSync)))
}

// files are those on the disk, for who is no node.
type files struct{ d *disk }

// foreign names a file so that no rule strikes. A Mem takes names from its root.
func foreign(name string) string { return outside + "/../" + path.Join(folder, name) }

func (f files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	mem := f.d.now()
	file, err := mem.Open(foreign(name))
	if errors.Is(err, syscall.EISDIR) {
		names, err := mem.List(foreign(name))
		return &folderFile{info: info{name: path.Base(name), dir: true}, files: f, in: name, names: names}, err
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	return &openFile{File: file, info: info{name: path.Base(name), size: size}}, nil
}

// openFile is one that is read from its beginning to its end.
type openFile struct {
	vfs.File
	info
	at int64
}

func (f *openFile) Name() string               { return f.info.name }
func (f *openFile) Size() (int64, error)       { return f.info.size, nil }
func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Read(b []byte) (int, error) {
	n, err := f.File.ReadAt(b, f.at)
	f.at += int64(n)
	return n, err
}

type folderFile struct {
	info
	files files
	in    string
	names []string // not given yet
}

func (f *folderFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *folderFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.in, Err: fs.ErrInvalid}
}
func (f *folderFile) Close() error { return nil }

func (f *folderFile) ReadDir(n int) (out []fs.DirEntry, err error) {
	if n > 0 && len(f.names) == 0 {
		return nil, io.EOF
	}
	for len(f.names) > 0 && (n <= 0 || len(out) < n) {
		is, err := fs.Stat(f.files, path.Join(f.in, f.names[0]))
		if f.names = f.names[1:]; errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return out, err
		}
		out = append(out, fs.FileInfoToDirEntry(is))
	}
	return out, nil
}

type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string { return i.name }
func (i info) Size() int64  { return i.size }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
