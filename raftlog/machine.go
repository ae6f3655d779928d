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
	// It returns one result per entry. An error is a local fault: the replica stops;
	// but for vfs.ErrNoSpace, which comes with the results of the entries before: of
	// the next nothing was done, and it is given again until there is room.
	Apply(entries []*raft.Log) ([]any, error)
	// Applied is the last entry applied; 0, 0 for none.
	Applied() (index, term uint64)
	// Checkpoint captures the state at Applied; it takes milliseconds at most.
	// sync makes everything through it durable and may run beside Apply. An error is
	// final, but for vfs.ErrNoSpace, after which the state before is still the kept one.
	Checkpoint() (state []byte, sync func() error)
	// Floor is the state from which a peer can start that lags behind all that is
	// retained: everything after index can be had from the log. index is 0 when the
	// log still goes back to its start.
	Floor() (state []byte, index, term uint64, err error)
	// Restore replaces everything by a floor. After vfs.ErrNoSpace nothing was done.
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
	advanced func() // applied has grown
	answer   func(logs []*raft.Log, results []any)

	// Of a group with floors, which says what came with the one being restored, and
	// makes it durable in the log.
	floors *floors
	reset  func(applied) error

	closing <-chan struct{} // closed when the replica ends; nil: never
	ending  <-chan struct{} // before, when it begins to
	onStall func(error)     // see ReplicaConfig; nil: nobody asks

	save    chan struct{} // full while a checkpoint is taken or a floor restored; before mu
	mu      sync.Mutex    // held while entries are applied or the state is captured
	machine Machine
	applied applied
	err     error
	stalled error         // why applying waits for room; nil: it does not
	grown   chan struct{} // closed at the next change of applied
	// restored: the state is a snapshot's of Raft, and nothing was applied since. Raft
	// counts to the snapshot what never reaches a machine, so that between the state
	// and the log there may be a gap of such entries.
	restored bool
}

// applied is how far a machine has got, with the configuration in force there.
type applied struct {
	index, term uint64
	conf        raft.Configuration
	confIndex   uint64
}

func (at applied) checkpoint(state []byte) Checkpoint {
	return Checkpoint{Index: at.index, Term: at.term, Configuration: at.conf, ConfigurationIndex: at.confIndex, State: state}
}

func (a *applier) Apply(l *raft.Log) any { return a.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (a *applier) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	for i := range results {
		results[i] = errFault
	}
	a.mu.Lock()
	a.applyLocked(logs, results)
	a.mu.Unlock()
	a.answer(logs, results)
	return results
}

// applyLocked applies what lies between the last entry applied and the last of
// logs, and fills in the results of logs. Those that are applied already (after a
// floor Raft may hand them over again) have none. While the disk is full it waits, and
// lets go of the lock.
func (a *applier) applyLocked(logs []*raft.Log, results []any) error {
	for i, l := range logs {
		if l.Index <= a.applied.index {
			results[i] = nil
		}
	}
	for {
		if a.err != nil {
			return a.err
		}
		entries, err := a.fillLocked(logs)
		if err == nil && len(entries) == 0 {
			return nil
		}
		var all []any
		if err == nil {
			all, err = a.machine.Apply(entries)
		}
		if err != nil && !lacksRoom(err) {
			return a.failLocked(fmt.Errorf("apply entry %d: %w", a.applied.index+1+uint64(len(all)), err))
		}
		if len(all) > 0 {
			a.advanceLocked(entries[:len(all)])
		}
		for i, l := range logs {
			if l.Index >= entries[0].Index && l.Index-entries[0].Index < uint64(len(all)) {
				results[i] = all[l.Index-entries[0].Index]
			}
		}
		if err == nil {
			a.goesOnLocked()
			return nil
		}
		if err := a.awaitRoomLocked(err, a.closing); err != nil {
			return err
		}
	}
}

func (a *applier) failLocked(err error) error {
	a.err = err
	a.fault(err)
	return err
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
			if errors.Is(err, raft.ErrLogNotFound) && a.restored {
				*missing, err = raft.Log{Index: next, Term: a.applied.term, Type: raft.LogNoop}, nil
			}
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
	return all, nil
}

func (a *applier) advanceLocked(entries []*raft.Log) {
	for _, l := range entries {
		if l.Type == raft.LogConfiguration {
			a.applied.conf, a.applied.confIndex = raft.DecodeConfiguration(l.Data), l.Index
		}
	}
	last := entries[len(entries)-1]
	a.restored = false
	a.movedLocked(last.Index, last.Term)
}

func (a *applier) movedLocked(index, term uint64) {
	a.applied.index, a.applied.term = index, term
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
	// maxSnapshot bounds the floor that a peer can make us hold: the machine's state is
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

// Restore implements raft.FSM.
func (a *applier) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	b, err := io.ReadAll(rc) // a floor is bounded as it is received; what Raft kept is as large as the machine has made it
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	state, index, term, err := decodeSnapshot(b)
	if err != nil {
		return err
	}
	a.save <- struct{}{}
	a.mu.Lock()
	defer a.mu.Unlock()
	through, err := a.restoreLocked(state, index, term)
	<-a.save // what is applied from here on waits for room like any other: a checkpoint may win it
	if err != nil || through == nil {
		return err
	}
	return a.applyLocked([]*raft.Log{through}, make([]any, 1)) // a floor is committed
}

// restoreLocked takes a state. through: nothing was changed, the log goes to that entry and is to be applied through it.
func (a *applier) restoreLocked(state []byte, index, term uint64) (through *raft.Log, err error) {
	if a.err != nil {
		return nil, a.err
	}
	if a.floors != nil {
		return a.installLocked(state, index, term)
	}
	if index <= a.applied.index {
		return nil, nil
	}
	if err := a.machine.Restore(state, index, term); err != nil {
		return nil, a.failLocked(fmt.Errorf("restore at entry %d: %w", index, err))
	}
	a.movedLocked(index, term)
	a.restored = true
	return nil, nil
}

// installLocked takes a floor. One that the log goes through changes nothing: its
// entries are here already, and perhaps some after it that count towards a
// majority (Raft's rule 6 for InstallSnapshot).
func (a *applier) installLocked(state []byte, index, term uint64) (through *raft.Log, err error) {
	meta, err := a.floors.takeInstalled()
	if err != nil {
		return nil, err
	}
	inLog := index > a.applied.index && a.floors.group.Has(index, term)
	if index <= a.applied.index || inLog {
		if err := a.refuseOldLocked(meta); err != nil || !inLog {
			return nil, err
		}
		var l raft.Log
		if err := a.logs.GetLog(index, &l); err != nil { // readable or not: what lies behind it may count towards a majority
			return nil, fmt.Errorf("floor at entry %d, which is in the log: %w", index, err)
		}
		return &l, nil
	}
	err = a.machine.Restore(state, index, term)
	if lacksRoom(err) { // the leader sends it again
		return nil, fmt.Errorf("restore at entry %d: %w", index, err)
	}
	if err != nil {
		return nil, a.failLocked(fmt.Errorf("restore at entry %d: %w", index, err))
	}
	a.applied.conf, a.applied.confIndex = meta.Configuration, meta.ConfigurationIndex
	a.movedLocked(index, term)
	err = a.reset(a.applied)
	for lacksRoom(err) { // there is no way back: the machine is at the floor
		if err := a.awaitRoomLocked(err, a.ending); err != nil { // a last checkpoint would wait for this one
			return nil, err
		}
		err = a.reset(a.applied)
	}
	if err != nil {
		return nil, a.failLocked(fmt.Errorf("install floor at entry %d: %w", index, err))
	}
	a.goesOnLocked()
	return nil, nil
}

// refuseOldLocked keeps Raft from going back: to an old configuration, or to
// entries that are no longer retained here, as a floor that was long on its way
// would have it do.
func (a *applier) refuseOldLocked(meta raft.SnapshotMeta) error {
	if _, confIndex := a.latestConfiguration(a.applied); meta.ConfigurationIndex < confIndex {
		return fmt.Errorf("raftlog: floor at entry %d knows configuration %d, here is %d", meta.Index, meta.ConfigurationIndex, confIndex)
	}
	first, err := a.logs.FirstIndex()
	if err == nil && meta.Index+1 < first {
		err = fmt.Errorf("raftlog: floor at entry %d is below entry %d, the first here", meta.Index, first)
	}
	return err
}

// members returns the configuration that is last in the log, and its index.
func (a *applier) members() (raft.Configuration, uint64) {
	at, _, _ := a.progress()
	return a.latestConfiguration(at)
}

func (a *applier) latestConfiguration(at applied) (raft.Configuration, uint64) {
	last, err := a.logs.LastIndex()
	var l raft.Log
	for ; err == nil && last > at.index; last-- {
		if a.logs.GetLog(last, &l) == nil && l.Type == raft.LogConfiguration {
			return raft.DecodeConfiguration(l.Data), last
		}
	}
	return at.conf, at.confIndex
}
