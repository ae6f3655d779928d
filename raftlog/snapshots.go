package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// floors is the raft.SnapshotStore of a group whose entries stay in an archive.
//
// While Raft starts, List answers the group's own durable checkpoint: Raft takes
// its last applied index from it and replays what comes after. Once Raft runs,
// List is asked only for a peer that lags behind all retained entries, and the
// answer is the floor: small, and followed by ordinary AppendEntries. Its
// configuration is the latest one: a peer that has the entries already does not look
// again at the configurations among them.
type floors struct {
	group   *GroupLog
	machine Machine
	conf    func() (raft.Configuration, uint64)

	mu        sync.Mutex
	running   bool
	installed *installed
}

func (f *floors) started() {
	f.mu.Lock()
	f.running = true
	f.mu.Unlock()
}

func (f *floors) List() ([]*raft.SnapshotMeta, error) {
	f.mu.Lock()
	running := f.running
	f.mu.Unlock()
	if !running {
		c, ok, err := f.group.Checkpoint()
		if err != nil || !ok {
			return nil, err
		}
		return []*raft.SnapshotMeta{{
			Version: raft.SnapshotVersionMax, ID: "checkpoint", Index: c.Index, Term: c.Term,
			Configuration: c.Configuration, ConfigurationIndex: c.ConfigurationIndex,
		}}, nil
	}
	state, index, term, err := f.machine.Floor()
	if err != nil || index == 0 {
		return nil, err
	}
	return []*raft.SnapshotMeta{f.meta(state, index, term)}, nil
}

func (f *floors) meta(state []byte, index, term uint64) *raft.SnapshotMeta {
	conf, confIndex := f.conf()
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: "floor", Index: index, Term: term,
		Configuration: conf, ConfigurationIndex: confIndex, Size: int64(snapshotHead + len(state)),
	}
}

func (f *floors) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f.mu.Lock()
	in := f.installed
	f.mu.Unlock()
	if in != nil && in.meta.ID == id {
		return &in.meta, io.NopCloser(bytes.NewReader(in.b.Bytes())), nil
	}
	if id != "floor" {
		return nil, nil, fmt.Errorf("raftlog: no snapshot %q", id)
	}
	state, index, term, err := f.machine.Floor()
	if err != nil {
		return nil, nil, err
	}
	return f.meta(state, index, term), io.NopCloser(bytes.NewReader(encodeSnapshot(state, index, term))), nil
}

// Create receives a floor that a leader installs here.
func (f *floors) Create(_ raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &installed{store: f, meta: raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: fmt.Sprintf("installed-%d-%d", term, index), Index: index, Term: term,
		Configuration: conf, ConfigurationIndex: confIndex,
	}}, nil
}

// installed is a floor in memory, until the machine has restored it.
type installed struct {
	store *floors
	meta  raft.SnapshotMeta
	b     bytes.Buffer
	done  bool
}

func (s *installed) ID() string { return s.meta.ID }

func (s *installed) Write(p []byte) (int, error) {
	if s.b.Len()+len(p) > maxSnapshot {
		return 0, fmt.Errorf("raftlog: snapshot of more than %d bytes", maxSnapshot)
	}
	return s.b.Write(p)
}

// Close keeps the floor; Raft calls it more than once.
func (s *installed) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.meta.Size = int64(s.b.Len())
	s.store.mu.Lock()
	s.store.installed = s
	s.store.mu.Unlock()
	return nil
}

func (s *installed) Cancel() error {
	s.done = true
	return nil
}

// takeInstalled returns the floor that was installed last, and forgets it.
func (f *floors) takeInstalled() (raft.SnapshotMeta, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.installed == nil {
		return raft.SnapshotMeta{}, errors.New("raftlog: restore without an installed floor")
	}
	m := f.installed.meta
	f.installed = nil
	return m, nil
}
