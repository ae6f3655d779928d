package raftlog_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// ledger is a raftlog.Machine that keeps every entry in a file, as its own archive of the newest keep entries. A command's result is its
// place among the commands, from 1.
type ledger struct {
	disk    vfs.FS
	dir     string
	keep    uint64 // entries that can be had again, in steps of half of it; 0: all
	witness *witness
	node    string
	slow    time.Duration // of each Apply

	mu      sync.Mutex
	name    string
	file    vfs.File
	size    int64
	marks   []ledgerMark // the first is what the file begins after, then one per entry
	entries []raft.Log
}

// ledgerMark is the state after an entry.
type ledgerMark struct{ Index, Term, Commands, Digest uint64 }

type ledgerState struct {
	Name       string
	Size       int64
	Base, Last ledgerMark
}

const ledgerHead = 21 // index 8, term 8, type 1, length 4

// openLedger opens the state of a checkpoint, or an empty ledger.
func openLedger(disk vfs.FS, dir string, keep uint64, w *witness, node string, state []byte) (*ledger, error) {
	l := &ledger{disk: disk, dir: dir, keep: keep, witness: w, node: node}
	if err := vfs.MakeDir(disk, dir); err != nil {
		return nil, err
	}
	if len(state) == 0 {
		return l, l.begin(ledgerMark{})
	}
	var s ledgerState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, err
	}
	b, err := vfs.ReadFile(disk, s.Name, 1<<30)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < s.Size {
		return nil, fmt.Errorf("ledger %s: %d bytes, the checkpoint names %d", s.Name, len(b), s.Size)
	}
	l.marks = []ledgerMark{s.Base}
	for b = b[:s.Size]; len(b) > 0; {
		n := ledgerHead + int(binary.BigEndian.Uint32(b[17:]))
		l.put(raft.Log{Index: binary.BigEndian.Uint64(b), Term: binary.BigEndian.Uint64(b[8:]), Type: raft.LogType(b[16]), Data: b[ledgerHead:n]})
		b = b[n:]
	}
	if got := l.last(); got != s.Last {
		return nil, fmt.Errorf("ledger %s: %v, the checkpoint is %v", s.Name, got, s.Last)
	}
	l.name, l.size = s.Name, s.Size
	if l.file, err = disk.Open(s.Name); err != nil {
		return nil, err
	}
	return l, l.file.Truncate(s.Size)
}

// begin starts a new file after a mark.
func (l *ledger) begin(m ledgerMark) error {
	names, err := l.disk.List(l.dir)
	if err != nil {
		return err
	}
	n := len(names)
	for slices.Contains(names, fmt.Sprintf("%d-%d", m.Index, n)) {
		n++
	}
	name := path.Join(l.dir, fmt.Sprintf("%d-%d", m.Index, n))
	f, err := l.disk.Create(name)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.name, l.file, l.size, l.marks, l.entries = name, f, 0, []ledgerMark{m}, nil
	return nil
}

func (l *ledger) last() ledgerMark { return l.marks[len(l.marks)-1] }

func (l *ledger) put(e raft.Log) {
	m := l.last()
	h := fnv.New64a()
	fmt.Fprint(h, m.Digest, e.Index, e.Term, e.Type, string(e.Data))
	m.Index, m.Term, m.Digest = e.Index, e.Term, h.Sum64()
	if e.Type == raft.LogCommand {
		m.Commands++
	}
	l.marks, l.entries = append(l.marks, m), append(l.entries, e)
}

func (l *ledger) Apply(entries []*raft.Log) ([]any, error) {
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	var results []any
	for _, e := range entries {
		if e.Index != l.last().Index+1 {
			return nil, fmt.Errorf("entry %d after %d", e.Index, l.last().Index)
		}
		b := binary.BigEndian.AppendUint64(nil, e.Index)
		b = append(binary.BigEndian.AppendUint64(b, e.Term), byte(e.Type))
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(e.Data))), e.Data...)
		if _, err := l.file.WriteAt(b, l.size); err != nil {
			return nil, err
		}
		l.size += int64(len(b))
		l.put(raft.Log{Index: e.Index, Term: e.Term, Type: e.Type, Data: e.Data})
		l.witness.applied(l.node, *e, l.last())
		results = append(results, l.last().Commands)
	}
	return results, nil
}

func (l *ledger) Applied() (index, term uint64) {
	m := l.mark()
	return m.Index, m.Term
}

func (l *ledger) mark() ledgerMark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last()
}

func (l *ledger) Checkpoint() ([]byte, func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state, err := json.Marshal(ledgerState{l.name, l.size, l.marks[0], l.last()})
	if err != nil {
		panic(err)
	}
	f := l.file
	return state, func() error {
		if err := f.Sync(); err != nil {
			return err
		}
		return l.disk.SyncDir(l.dir)
	}
}

// floorLocked is the place in marks of the oldest state from which a peer can start.
func (l *ledger) floorLocked() int {
	base, last := l.marks[0].Index, l.last().Index
	if l.keep == 0 || last <= l.keep {
		return 0
	}
	step := l.keep / 2
	return int(max(base, (last-l.keep)/step*step) - base)
}

func (l *ledger) Floor() (state []byte, index, term uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.marks[l.floorLocked()]
	if m.Index == 0 {
		return nil, 0, 0, nil
	}
	state, err = json.Marshal(m)
	return state, m.Index, m.Term, err
}

func (l *ledger) Restore(state []byte, index, term uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m ledgerMark
	if err := json.Unmarshal(state, &m); err != nil {
		return err
	}
	if m.Index != index || m.Term != term {
		return fmt.Errorf("floor %v at entry %d of term %d", m, index, term)
	}
	l.witness.restored(l.node, m)
	return l.begin(m)
}

func (l *ledger) FirstIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0
	}
	return l.marks[l.floorLocked()].Index + 1
}

func (l *ledger) LastIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0
	}
	return l.last().Index
}

func (l *ledger) GetLog(index uint64, out *raft.Log) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch floor := l.marks[l.floorLocked()]; {
	case index == floor.Index && index > 0:
		*out = raft.Log{Index: floor.Index, Term: floor.Term, Type: raft.LogNoop}
		return nil
	case index <= floor.Index || index > l.last().Index:
		return raft.ErrLogNotFound
	}
	*out = l.entries[index-l.marks[0].Index-1]
	return nil
}

var (
	_ raftlog.Machine = (*ledger)(nil)
	_ raftlog.Archive = (*ledger)(nil)
)

// witness sees what the replicas of a group apply and knows of each entry what it is for all of them.
type witness struct {
	mu    sync.Mutex
	log   []raft.Log // from 1, as first applied
	marks []ledgerMark
	found []string // what must not be
}

func (w *witness) applied(node string, e raft.Log, m ledgerMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Index == uint64(len(w.log)+1) {
		w.log, w.marks = append(w.log, e), append(w.marks, m)
	}
	if e.Index > uint64(len(w.log)) {
		w.found = append(w.found, fmt.Sprintf("%s applied entry %d, and nobody the one before", node, e.Index))
		return
	}
	w.compareLocked(node, m)
}

func (w *witness) restored(node string, m ledgerMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compareLocked(node, m)
}

func (w *witness) compareLocked(node string, m ledgerMark) {
	if want := w.marks[m.Index-1]; m != want {
		w.found = append(w.found, fmt.Sprintf("%s is at %v, another was at %v", node, m, want))
	}
}

// last is how far any replica got.
func (w *witness) last() ledgerMark {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.marks) == 0 {
		return ledgerMark{}
	}
	return w.marks[len(w.marks)-1]
}

// commands gives the applied commands in order, and what was found wrong.
func (w *witness) commands() (all []string, found []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.log {
		if e.Type == raft.LogCommand {
			all = append(all, string(e.Data))
		}
	}
	return all, slices.Clone(w.found)
}
