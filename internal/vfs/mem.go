package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
)

// ErrPowerCut is what every call to a Mem returns once its power is cut. An
// operation that was under way did not happen.
var ErrPowerCut = errors.New("vfs: power cut")

// Mem is a disk in memory. It keeps what was written and what is durable
// apart, by the rules in the package's documentation taken at their word: of
// what is not durable, a power cut keeps or loses each sector, each size and
// each change of a name by itself. A file's content survives a cut only if the
// names on the way to it do.
//
// Reading through a map is no operation: it is not counted, and no fault, hook or
// power cut meets it. Writes of the file change a map's memory in place, and the race
// detector sees who reads the same bytes meanwhile; syncs and power cuts do not touch
// it. Beyond the end of the file, where the real disk faults, a map reads as zeros.
//
// Names are cleaned and taken from the root: "a", "/a" and "./a" are one.
type Mem struct {
	seed uint64
	down chan struct{} // closed by a power cut

	mu       sync.Mutex
	root     *node
	pending  []*change         // changes of names not durable yet, oldest first
	births   map[string]uint64 // how often a name was made or changed
	locks    map[string]bool
	used     int64 // bytes of blocks
	capacity int64 // 0: no limit
	ops      uint64
	hook     func(Op) error
	faults   []*Injection
	cutAt    uint64 // operation before which the power goes; 0: none
	cuts     []Cut
	cutOp    Op
	isDown   bool
	left     []*Mem // what the cut left
	lost     Lost   // what the cut did that left this
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty disk. The seed decides which versions of an
// unsynced page, of several, a power cut may leave.
func NewMem(seed uint64) *Mem {
	return &Mem{
		seed:   seed,
		down:   make(chan struct{}),
		root:   newDir(),
		births: map[string]uint64{},
		locks:  map[string]bool{},
	}
}

// Ops returns the number of operations counted so far: all but reads (Open,
// List, Free, ReadAt, Size, Map), Lock, and the closing of things.
func (m *Mem) Ops() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// SetHook has f called before each operation, from its goroutine and with no
// lock held; what f returns, if not nil, is returned in place of doing it. A
// nil f ends it.
func (m *Mem) SetHook(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// SetFree leaves free bytes of blocks to be written; a negative number lifts
// the limit, which is how a Mem begins.
func (m *Mem) SetFree(free int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = 0
	if free >= 0 {
		m.capacity = m.used + free
	}
}

// begin counts op and lets the power cut, the hook and the faults have their
// say. With a nil error m.mu is locked and the operation must be done.
func (m *Mem) begin(op Op) error {
	m.mu.Lock()
	if m.isDown {
		m.mu.Unlock()
		return ErrPowerCut
	}
	if op.Kind.counted() {
		m.ops++
		op.N = m.ops
		if m.ops == m.cutAt {
			m.cutLocked(op, m.cuts)
			m.mu.Unlock()
			return ErrPowerCut
		}
	}
	if m.hook == nil && len(m.faults) == 0 {
		return nil
	}
	hook, faults := m.hook, m.takeFaultsLocked(op)
	m.mu.Unlock()
	for _, f := range faults {
		if err := f.strike(m.down); err != nil {
			return err
		}
	}
	if hook != nil {
		if err := hook(op); err != nil {
			return err
		}
	}
	m.mu.Lock()
	if m.isDown {
		m.mu.Unlock()
		return ErrPowerCut
	}
	return nil
}

func (m *Mem) Create(name string) (File, error) {
	if err := m.begin(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, pathError("create", name, err)
	}
	defer m.mu.Unlock()
	f, err := m.createLocked(name)
	if err != nil {
		return nil, pathError("create", name, err)
	}
	f.handles++
	return &memFile{m: m, name: name, node: f}, nil
}

func (m *Mem) createLocked(name string) (*node, error) {
	dir, base, n, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if n != nil {
		return nil, fs.ErrExist
	}
	f := newFile(m.birth(name))
	m.changeLocked("create", name, entry{dir, base, f})
	return f, nil
}

func (m *Mem) Open(name string) (File, error) {
	if err := m.begin(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, pathError("open", name, err)
	}
	defer m.mu.Unlock()
	_, _, n, err := m.find(name)
	switch {
	case err != nil:
	case n == nil:
		err = fs.ErrNotExist
	case n.isDir():
		err = syscall.EISDIR
	default:
		n.handles++
		return &memFile{m: m, name: name, node: n}, nil
	}
	return nil, pathError("open", name, err)
}

func (m *Mem) List(dir string) ([]string, error) {
	if err := m.begin(Op{Kind: OpList, Name: dir}); err != nil {
		return nil, pathError("list", dir, err)
	}
	defer m.mu.Unlock()
	n, err := m.findDir(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (m *Mem) MkdirAll(dir string) error {
	if err := m.begin(Op{Kind: OpMkdirAll, Name: dir}); err != nil {
		return pathError("mkdir", dir, err)
	}
	defer m.mu.Unlock()
	return pathError("mkdir", dir, m.mkdirAllLocked(dir))
}

func (m *Mem) mkdirAllLocked(dir string) error {
	at, name := m.root, ""
	for _, base := range split(dir) {
		name += "/" + base
		next := at.names[base]
		if next == nil {
			next = newDir()
			m.changeLocked("mkdir", name, entry{at, base, next})
		}
		if !next.isDir() {
			return syscall.ENOTDIR
		}
		at = next
	}
	return nil
}

func (m *Mem) Rename(from, to string) error {
	if err := m.begin(Op{Kind: OpRename, Name: from, To: to}); err != nil {
		return pathError("rename", from, err)
	}
	defer m.mu.Unlock()
	return pathError("rename", from, m.renameLocked(from, to))
}

func (m *Mem) renameLocked(from, to string) error {
	fromDir, fromBase, n, err := m.find(from)
	if err != nil {
		return err
	}
	if n == nil {
		return fs.ErrNotExist
	}
	toDir, toBase, old, err := m.find(to)
	switch {
	case err != nil:
		return err
	case old == n:
		return nil
	case old != nil && (old.isDir() || n.isDir()):
		return fs.ErrExist
	}
	m.changeLocked("rename", to, entry{fromDir, fromBase, nil}, entry{toDir, toBase, n})
	m.unlinkedLocked(old)
	return nil
}

func (m *Mem) Remove(name string) error {
	if err := m.begin(Op{Kind: OpRemove, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	defer m.mu.Unlock()
	dir, base, n, err := m.find(name)
	switch {
	case err != nil:
	case n == nil:
		err = fs.ErrNotExist
	case n.isDir() && len(n.names) > 0:
		err = syscall.ENOTEMPTY
	default:
		m.changeLocked("remove", name, entry{dir, base, nil})
		m.unlinkedLocked(n)
	}
	return pathError("remove", name, err)
}

func (m *Mem) RemoveAll(name string) error {
	if err := m.begin(Op{Kind: OpRemoveAll, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	defer m.mu.Unlock()
	dir, base, n, err := m.find(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && n == nil {
		return nil
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	m.removeAllLocked(dir, base, path.Clean("/"+name), n)
	return nil
}

func (m *Mem) removeAllLocked(dir *node, base, name string, n *node) {
	for _, child := range sortedNames(n.names) {
		m.removeAllLocked(n, child, name+"/"+child, n.names[child])
	}
	m.changeLocked("remove", name, entry{dir, base, nil})
	m.unlinkedLocked(n)
}

func (m *Mem) SyncDir(dir string) error {
	err := m.begin(Op{Kind: OpSyncDir, Name: dir})
	if err == errLie {
		return nil
	}
	if err != nil {
		return pathError("sync", dir, err)
	}
	defer m.mu.Unlock()
	n, err := m.findDir(dir)
	if err != nil {
		return pathError("sync", dir, err)
	}
	m.syncDirLocked(n)
	return nil
}

func (m *Mem) Space(dir string) (free, total uint64, err error) {
	if err := m.begin(Op{Kind: OpSpace, Name: dir}); err != nil {
		return 0, 0, pathError("space", dir, err)
	}
	defer m.mu.Unlock()
	if _, err := m.findDir(dir); err != nil {
		return 0, 0, pathError("space", dir, err)
	}
	if m.capacity == 0 {
		return 1 << 40, 1 << 40, nil
	}
	return uint64(max(0, m.capacity-m.used)), uint64(max(m.capacity, m.used)), nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	if err := m.begin(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, pathError("lock", name, err)
	}
	defer m.mu.Unlock()
	clean := path.Clean("/" + name)
	if m.locks[clean] {
		return nil, pathError("lock", name, ErrLocked)
	}
	err := m.mkdirAllLocked(path.Dir(clean))
	if err == nil {
		_, err = m.createLocked(name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, pathError("lock", name, err)
	}
	m.locks[clean] = true
	return &memLock{m: m, name: clean}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	err := error(fs.ErrClosed)
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.name)
		err = nil
	})
	return err
}

// find returns the node of name, nil if it is not there, and the directory
// and base name that hold it.
func (m *Mem) find(name string) (dir *node, base string, n *node, err error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", nil, fs.ErrInvalid
	}
	base = parts[len(parts)-1]
	dir = m.root
	for _, part := range parts[:len(parts)-1] {
		dir = dir.names[part]
		if dir == nil {
			return nil, "", nil, fs.ErrNotExist
		}
		if !dir.isDir() {
			return nil, "", nil, syscall.ENOTDIR
		}
	}
	return dir, base, dir.names[base], nil
}

func (m *Mem) findDir(name string) (*node, error) {
	if len(split(name)) == 0 {
		return m.root, nil
	}
	_, _, n, err := m.find(name)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, fs.ErrNotExist
	case !n.isDir():
		return nil, syscall.ENOTDIR
	}
	return n, nil
}

// birth gives the next thing that happens to name an identity that depends on
// nothing else, so that a seed decides the same with other goroutines about.
func (m *Mem) birth(name string) uint64 {
	name = path.Clean("/" + name)
	m.births[name]++
	return mix(hashString(name), m.births[name])
}

func split(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func sortedNames(names map[string]*node) []string {
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// mix is SplitMix64 over its arguments in order.
func mix(values ...uint64) uint64 {
	var h uint64
	for _, v := range values {
		h += v + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// hashString is FNV-1a.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
