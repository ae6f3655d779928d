package faultfs

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"raftmq/internal/vfs"
)

// Operations that a rule can strike.
const (
	OpRead  = "read"  // ReadAt
	OpWrite = "write" // WriteAt, Truncate, Allocate
	OpSync  = "sync"  // Sync and SyncData of files, Sync of maps, SyncDir
	OpName  = "name"  // Create, MkdirAll, Rename, Remove
)

var ops = []string{OpRead, OpWrite, OpSync, OpName}

// Rule is what is to go wrong.
type Rule struct {
	Ops   []string      `json:"ops,omitempty"`   // none: all
	Name  string        `json:"name,omitempty"`  // a pattern of path.Match for the path below the folder, or for its base name; "": all
	Skip  int64         `json:"skip,omitempty"`  // lets so many pass
	Times int64         `json:"times,omitempty"` // strikes so many then; 0: all
	Hang  time.Duration `json:"hang,omitempty"`  // waits first, until the rules are replaced at most
	Error string        `json:"error,omitempty"` // EIO, ENOSPC; "": goes on after the wait
	Full  bool          `json:"full,omitempty"`  // strikes only what needs more room than the file has, and no room is told
}

// active is a rule in force.
type active struct {
	Rule
	passed, hits atomic.Int64
	over         chan struct{} // closes when the rules are replaced
}

func (r *Rule) check() error {
	for _, o := range r.Ops {
		if !slices.Contains(ops, o) {
			return fmt.Errorf("faultfs: no operation %q", o)
		}
	}
	if r.Error != "" && r.Error != "EIO" && r.Error != "ENOSPC" {
		return fmt.Errorf("faultfs: no error %q", r.Error)
	}
	if _, err := path.Match(r.Name, ""); err != nil {
		return fmt.Errorf("faultfs: name %q: %w", r.Name, err)
	}
	return nil
}

func (a *active) meets(op, rel string, grows bool) bool {
	if len(a.Ops) > 0 && !slices.Contains(a.Ops, op) || a.Full && !grows {
		return false
	}
	if a.Name != "" {
		whole, _ := path.Match(a.Name, filepath.ToSlash(rel))
		base, _ := path.Match(a.Name, filepath.Base(rel))
		if !whole && !base {
			return false
		}
	}
	if a.passed.Add(1) <= a.Skip {
		return false
	}
	if n := a.hits.Add(1); a.Times > 0 && n > a.Times {
		a.hits.Add(-1)
		return false
	}
	return true
}

// strike does what the rule says.
func (a *active) strike(op, name string) error {
	if a.Hang > 0 {
		t := time.NewTimer(a.Hang)
		defer t.Stop()
		select {
		case <-t.C:
		case <-a.over:
		}
	}
	switch a.Error {
	case "EIO":
		return fmt.Errorf("%s %s: %w", op, name, syscall.EIO)
	case "ENOSPC":
		return fmt.Errorf("%s %s: %w: %w", op, name, vfs.ErrNoSpace, syscall.ENOSPC)
	}
	return nil
}

// Rules are those in force on a disk. The zero Rules are none. They may be used
// concurrently.
type Rules struct {
	mu   sync.RWMutex
	all  []*active
	over chan struct{} // closes when they are replaced
}

// Set puts rules in force in place of those before. What hangs goes on.
func (r *Rules) Set(rules []Rule) error {
	var all []*active
	over := make(chan struct{})
	for _, x := range rules {
		if err := x.check(); err != nil {
			return err
		}
		all = append(all, &active{Rule: x, over: over})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = all
	if r.over != nil {
		close(r.over)
	}
	r.over = over
	return nil
}

// Hits is how often each rule in force has struck.
func (r *Rules) Hits() (hits []int64) {
	for _, a := range r.inForce() {
		hits = append(hits, a.hits.Load())
	}
	return hits
}

func (r *Rules) inForce() []*active {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.all
}

// Meet lets the rules strike an operation on a name below the folder; an error: it is
// not to be done.
func (r *Rules) Meet(op, name string, grows bool) error {
	for _, a := range r.inForce() {
		if a.meets(op, name, grows) {
			if err := a.strike(op, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Full says that a rule takes all room away, to whoever asks for it.
func (r *Rules) Full() bool {
	for _, a := range r.inForce() {
		if a.Full {
			a.hits.Add(1)
			return true
		}
	}
	return false
}
