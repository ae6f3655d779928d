package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Machine is what a Replica applies entries to.
type Machine interface {
	// Apply applies entries in order. Every index is given exactly once, of every
	// type (a no-op or a barrier too), without a gap, from the one after the state
	// that the machine was opened with; but in different batches on each replica.
	// It returns one result per entry. An error is a local fault: the replica stops.
	Apply(entries []*raft.Log) ([]any, error)
	// Applied is the last entry applied; 0, 0 for none.
	Applied() (index, term uint64)
	// Checkpoint captures the state at Applied; it takes milliseconds at most.
	// sync makes everything through it durable and may run beside Apply.
	Checkpoint() (state []byte, sync func() error)
	// Floor is the state from which a peer can start that lags behind all that is
	// retained: everything after index can be had from the log. index is 0 when the
	// log still goes back to its start.
	Floor() (state []byte, index, term uint64, err error)
	// Restore replaces everything by a floor.
	Restore(state []byte, index, term uint64) error
}

// errFault answers proposals whose entry could not be applied here, or not known
// to have been.
var errFault = errors.New("raftlog: local fault while applying")

// applier stands between Raft's state-machine goroutine and a Machine. Raft
// hands over commands and configurations only; the applier fetches what lies
// between them, so that the Machine sees every index.
type applier struct {
	logs     raft.LogStore
	fault    func(error)
	reset    func(applied) error // makes an installed floor durable in the log
	advanced func()              // applied has grown

	mu      sync.Mutex // held while entries are applied or the state is captured
	machine Machine
	applied applied
	err     error
	grown   chan struct{} // closed at the next change of applied
}

// applied is how far a machine has got, with the configuration in force there.
type applied struct {
	index, term uint64
	conf        raft.Configuration
	confIndex   uint64
}

func (a *applier) Apply(l *raft.Log) any { return a.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (a *applier) ApplyBatch(logs []*raft.Log) []any {
	a.mu.Lock()
	defer a.mu.Unlock()
	results := make([]any, len(logs))
	entries, err := a.fillLocked(logs)
	if a.err == nil && err == nil {
		var all []any
		if all, err = a.machine.Apply(entries); err == nil {
			a.advanceLocked(entries)
			for i, l := range logs {
				if at := len(entries) - int(entries[len(entries)-1].Index-l.Index) - 1; at >= 0 {
					results[i] = all[at]
				}
			}
			return results
		}
	}
	if a.err == nil {
		a.err = fmt.Errorf("apply entry %d: %w", a.applied.index+1, err)
		a.fault(a.err)
	}
	for i := range results {
		results[i] = errFault
	}
	return results
}

// fillLocked returns the entries from applied+1 through the last of logs.
func (a *applier) fillLocked(logs []*raft.Log) ([]*raft.Log, error) {
	next := a.applied.index + 1
	if len(logs) > 0 && logs[0].Index == next && logs[len(logs)-1].Index == next+uint64(len(logs))-1 {
		return logs, nil
	}
	var all []*raft.Log
	for _, l := range logs {
		for ; next < l.Index; next++ {
			missing := new(raft.Log)
			err := a.logs.GetLog(next, missing)
			if errors.Is(err, raft.ErrLogNotFound) {
				return nil, fmt.Errorf("entry %d is no longer in the log", next)
			}
			if err != nil {
				return nil, err
			}
			all = append(all, missing)
		}
		if l.Index == next {
			all = append(all, l)
			next++
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("entries %d to %d are applied already", logs[0].Index, logs[len(logs)-1].Index)
	}
	return all, nil
}

func (a *applier) advanceLocked(entries []*raft.Log) {
	for _, l := range entries {
		if l.Type == raft.LogConfiguration {
			a.applied.conf, a.applied.confIndex = raft.DecodeConfiguration(l.Data), l.Index
		}
	}
	last := entries[len(entries)-1]
	a.applied.index, a.applied.term = last.Index, last.Term
	close(a.grown)
	a.grown = make(chan struct{})
	a.advanced()
}

// progress returns how far the machine is, and a channel that closes when it
// goes on.
func (a *applier) progress() (applied, <-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied, a.grown, a.err
}

// capture takes a checkpoint between two batches.
func (a *applier) capture() (at applied, state []byte, sync func() error, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return applied{}, nil, nil, a.err
	}
	state, sync = a.machine.Checkpoint()
	return a.applied, state, sync, nil
}

// A snapshot, and a floor on its way to a peer:
//
//	offset  size  field (big-endian)
//	     0     4  magic "rqSN"
//	     4     1  version 1
//	     5     8  index
//	    13     8  term
//	    21   ...  the machine's state
const (
	snapshotMagic   = "rqSN"
	snapshotVersion = 1
	snapshotHead    = 21
	// maxSnapshot bounds what a peer can make us hold: the machine's state is
	// bounded by 4 MiB, the bounds of its queues come on top.
	maxSnapshot = 64 << 20
)

func encodeSnapshot(state []byte, index, term uint64) []byte {
	b := make([]byte, 0, snapshotHead+len(state))
	b = append(b, snapshotMagic...)
	b = append(b, snapshotVersion)
	b = binary.BigEndian.AppendUint64(b, index)
	b = binary.BigEndian.AppendUint64(b, term)
	return append(b, state...)
}

func decodeSnapshot(b []byte) (state []byte, index, term uint64, err error) {
	if len(b) < snapshotHead || string(b[:4]) != snapshotMagic {
		return nil, 0, 0, fmt.Errorf("raftlog: not a snapshot: %d bytes", len(b))
	}
	if b[4] != snapshotVersion {
		return nil, 0, 0, fmt.Errorf("raftlog: snapshot version %d, this program knows %d", b[4], snapshotVersion)
	}
	return b[snapshotHead:], binary.BigEndian.Uint64(b[5:]), binary.BigEndian.Uint64(b[13:]), nil
}

// Snapshot implements raft.FSM. Raft asks for it only in groups whose log it
// compacts itself (the catalogue).
func (a *applier) Snapshot() (raft.FSMSnapshot, error) {
	at, state, sync, err := a.capture()
	if err != nil {
		return nil, err
	}
	return stateSnapshot{encodeSnapshot(state, at.index, at.term), sync}, nil
}

type stateSnapshot struct {
	b    []byte
	sync func() error
}

func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.sync(); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if _, err := sink.Write(s.b); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (stateSnapshot) Release() {}

// Restore implements raft.FSM. A floor at or below what is applied changes
// nothing: the entries it stands for are here already (Raft's rule 6 for
// InstallSnapshot).
func (a *applier) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if len(b) > maxSnapshot {
		return fmt.Errorf("raftlog: snapshot of more than %d bytes", maxSnapshot)
	}
	state, index, term, err := decodeSnapshot(b)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if index <= a.applied.index {
		return nil
	}
	if err := a.machine.Restore(state, index, term); err != nil {
		a.err = fmt.Errorf("restore at entry %d: %w", index, err)
		a.fault(a.err)
		return a.err
	}
	a.applied.index, a.applied.term = index, term
	close(a.grown)
	a.grown = make(chan struct{})
	if a.reset != nil {
		return a.reset(a.applied)
	}
	return nil
}
