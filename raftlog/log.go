package raftlog

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Log is a group's log as Raft sees it.
//
// Raft remembers where its log ends and is not told when an installed floor takes
// the end away (hashicorp/raft issue 697): it would look in vain, for ever, for
// the entries that it must replace. So those that are lost are answered as entries
// of no term, which match nothing, until others are stored in their place. And if
// the floor's entry is just the one that it remembers, of another term, it would
// never take what follows: see vouch.
//
// It also ends Raft's goroutine where the library would take the process down:
// when an entry to be applied cannot be read, and when it would no longer know
// where its log ends. fault says why, once; the deferred calls run, the replica can
// be closed.
type Log struct {
	raft.LogStore
	fault   func(error)
	told    sync.Once
	applied atomic.Pointer[func() uint64]     // nil while Raft starts
	ahead   atomic.Pointer[func([]*raft.Log)] // what will be stored here, if this replica leads; nil: nobody asked

	mu    sync.Mutex
	cuts  uint64 // odd while the end is being cut off
	floor logEnd // installed over a log that went through it or further
	lost  uint64 // where that ended: entries from floor to here are lost; 0: none
	torn  bool   // truncated, and nothing stored since
}

// NewLog returns the view of store for one Raft.
func NewLog(store raft.LogStore, fault func(error)) *Log {
	return &Log{LogStore: store, fault: fault}
}

// lostEntry is no type of Raft's: it would rather panic than apply one.
const lostEntry = raft.LogType(255)

// lose has drop remove all entries, since the log goes on after a floor.
func (l *Log) lose(floor logEnd, drop func() error) error {
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.floor = floor
	if l.lost = max(last, l.lost); l.lost < floor.index {
		l.lost = 0
	}
	l.mu.Unlock()
	return l.cut(drop)
}

// vouch is given each request before Raft. One that goes on after an installed
// floor needs no check of the entry before, which Raft would make against the one
// that it remembers.
func (l *Log) vouch(a *raft.AppendEntriesRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 && l.floor == (logEnd{a.PrevLogTerm, a.PrevLogEntry}) {
		a.PrevLogEntry, a.PrevLogTerm = 0, 0
	}
}

func (l *Log) cut(drop func() error) error {
	count := func() {
		l.mu.Lock()
		l.cuts++
		l.mu.Unlock()
	}
	count()
	defer count()
	return drop()
}

// whole runs read and says whether all that it read was in the log at one time.
func (l *Log) whole(read func()) bool {
	cuts := func() uint64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.cuts
	}
	before := cuts()
	read()
	return before%2 == 0 && before == cuts()
}

func (l *Log) GetLog(index uint64, out *raft.Log) error {
	err := l.LogStore.GetLog(index, out)
	if errors.Is(err, raft.ErrLogNotFound) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if index > l.floor.index && index <= l.lost {
			*out = raft.Log{Index: index, Type: lostEntry}
			return nil
		}
		return err
	}
	if applied := l.applied.Load(); err != nil && applied != nil && index > (*applied)() {
		l.halt(fmt.Errorf("read entry %d: %w", index, err))
	}
	return err
}

func (l *Log) halt(err error) {
	l.told.Do(func() { l.fault(err) })
	runtime.Goexit()
}

func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs refuses what would follow lost entries. When it fails after a
// truncation, Raft no longer knows where its log ends.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	l.mu.Lock()
	lost, after, torn := l.lost, l.floor.index+1, l.torn
	l.mu.Unlock()
	if len(logs) > 0 && lost > 0 && logs[0].Index != after {
		return fmt.Errorf("store entry %d: those from %d are lost", logs[0].Index, after)
	}
	if ahead := l.ahead.Load(); ahead != nil && len(logs) > 0 {
		(*ahead)(logs)
	}
	if err := l.LogStore.StoreLogs(logs); err != nil {
		if torn && !errors.Is(err, ErrWALClosed) {
			l.halt(fmt.Errorf("store entry %d after a truncation: %w", logs[0].Index, err))
		}
		return err
	}
	l.mu.Lock()
	l.lost, l.torn = 0, false
	l.mu.Unlock()
	return nil
}

func (l *Log) DeleteRange(first, last uint64) error {
	end, err := l.LastIndex()
	if err != nil {
		return err
	}
	if last < end { // Raft compacts
		return l.LogStore.DeleteRange(first, last)
	}
	err = l.cut(func() error { return l.LogStore.DeleteRange(first, last) })
	if errors.Is(err, ErrWALFull) && !errors.Is(err, ErrWALFailed) {
		return err // nothing was removed
	}
	l.mu.Lock()
	l.torn = l.torn || l.lost == 0 // those that are lost are answered for until others are stored
	l.mu.Unlock()
	return err
}
