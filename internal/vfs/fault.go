package vfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"syscall"
)

// OpKind is a kind of operation on a Mem.
type OpKind uint8

const (
	OpCreate OpKind = iota + 1
	OpMkdirAll
	OpRename
	OpRemove
	OpRemoveAll
	OpSyncDir
	OpWrite
	OpTruncate
	OpAllocate
	OpSync
	OpSyncData
	OpWriteBack

	// Those below change nothing and are not counted.

	OpOpen
	OpList
	OpSpace
	OpLock
	OpRead
	OpSize
	OpMap
	OpDrop
)

var opNames = [...]string{
	OpCreate: "create", OpMkdirAll: "mkdir all", OpRename: "rename", OpRemove: "remove", OpRemoveAll: "remove all",
	OpSyncDir: "sync dir", OpWrite: "write", OpTruncate: "truncate", OpAllocate: "allocate", OpSync: "sync",
	OpSyncData: "sync data", OpWriteBack: "write back", OpOpen: "open", OpList: "list", OpSpace: "space",
	OpLock: "lock", OpRead: "read", OpSize: "size", OpMap: "map", OpDrop: "drop",
}

func (k OpKind) String() string { return opNames[k] }

func (k OpKind) counted() bool { return k <= OpWriteBack }

// Syncs are the kinds that make bytes durable.
var Syncs = []OpKind{OpSync, OpSyncData}

// Op is one operation on a Mem.
type Op struct {
	Kind     OpKind
	Name, To string // as given; To for OpRename
	Off, Len int64  // Off of OpTruncate is the size
	N        uint64 // place among the counted operations, from 1; else 0
}

func (o Op) String() string {
	if o.Kind == OpRename {
		return fmt.Sprintf("%d: %v %s to %s", o.N, o.Kind, o.Name, o.To)
	}
	return fmt.Sprintf("%d: %v %s %d+%d", o.N, o.Kind, o.Name, o.Off, o.Len)
}

// meets says whether op touches a byte of [off,off+n); a sync of a file does.
func (o Op) meets(off, n int64) bool {
	if o.Kind == OpSync || o.Kind == OpSyncData {
		return true
	}
	return o.Off < off+n && off < o.Off+max(o.Len, 1)
}

// Fault is what is to go wrong. The zero Fault fails every operation.
type Fault struct {
	Ops  []OpKind // kinds it strikes; nil: all
	Name string   // names it strikes, a pattern of path.Match for the base name; empty: all
	Off  int64    // with Len: the range of bytes it strikes
	Len  int64    // 0: all

	Skip  int // lets this many such operations pass
	Times int // strikes this many then; 0: all

	// What happens. Hang comes first; an operation that is released goes on to
	// the others, and is done if there are none.
	Hang bool  // waits for Injection.Release, or the power cut
	Lie  bool  // for syncs: says yes and does nothing
	Err  error // is returned, nothing was done; nil without Hang and Lie: EIO
}

// Injection is a Fault at work.
type Injection struct {
	fault   Fault
	struck  chan struct{}
	release chan struct{}

	strikeOnce, releaseOnce sync.Once

	passed, hits int // under the Mem's mu
}

// Inject sets a fault to work until Release.
func (m *Mem) Inject(f Fault) *Injection {
	if f.Err == nil && !f.Hang && !f.Lie {
		f.Err = syscall.EIO
	}
	i := &Injection{fault: f, struck: make(chan struct{}), release: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, i)
	return i
}

// FailSync fails the nth sync of bytes from here, counted from 1, and those
// after it.
func (m *Mem) FailSync(nth int, err error) *Injection {
	return m.Inject(Fault{Ops: Syncs, Skip: nth - 1, Err: err})
}

// HangSync hangs the nth sync of bytes from here, counted from 1, and those
// after it, until Release.
func (m *Mem) HangSync(nth int) *Injection {
	return m.Inject(Fault{Ops: Syncs, Skip: nth - 1, Hang: true})
}

// FailRead fails reads of name by ReadAt that meet the range.
func (m *Mem) FailRead(name string, off, n int64) *Injection {
	return m.Inject(Fault{Ops: []OpKind{OpRead}, Name: path.Base(name), Off: off, Len: n})
}

// Struck is closed when the fault first strikes, before it hangs.
func (i *Injection) Struck() <-chan struct{} { return i.struck }

// Release ends the fault and lets go what hangs.
func (i *Injection) Release() { i.releaseOnce.Do(func() { close(i.release) }) }

// errLie is what begin returns where the caller is to be told yes.
var errLie = errors.New("vfs: lie")

func (m *Mem) takeFaultsLocked(op Op) (taken []*Injection) {
	m.faults = slices.DeleteFunc(m.faults, (*Injection).isReleased)
	for _, i := range m.faults {
		f := i.fault
		if f.Ops != nil && !slices.Contains(f.Ops, op.Kind) || f.Len > 0 && !op.meets(f.Off, f.Len) {
			continue
		}
		if ok, _ := path.Match(f.Name, path.Base(op.Name)); f.Name != "" && !ok {
			continue
		}
		if i.passed++; i.passed <= f.Skip || f.Times > 0 && i.hits == f.Times {
			continue
		}
		i.hits++
		taken = append(taken, i)
	}
	return taken
}

func (i *Injection) isReleased() bool {
	select {
	case <-i.release:
		return true
	default:
		return false
	}
}

// strike does what the fault says and returns what the operation is to.
func (i *Injection) strike(down <-chan struct{}) error {
	i.strikeOnce.Do(func() { close(i.struck) })
	if i.fault.Hang {
		select {
		case <-i.release:
		case <-down:
			return ErrPowerCut
		}
	}
	if i.fault.Lie {
		return errLie
	}
	return i.fault.Err
}

// Damage lets change edit n bytes of a file from off as they are seen, and
// makes the result durable: what a disk that decays does. It is no operation,
// and must not run beside a user of those bytes.
func (m *Mem) Damage(name string, off, n int64, change func(b []byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, f, err := m.find(name)
	if err != nil || f == nil || f.isDir() {
		return pathError("damage", name, syscall.ENOENT)
	}
	if err := checkRange("damage", name, off, n, f.size); err != nil {
		return err
	}
	b := make([]byte, n)
	f.read(b, off)
	change(b)
	f.write(m.seed, b, off)
	f.sync(off, n)
	return nil
}
