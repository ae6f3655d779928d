package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Raft saves a vote by two writes; a crash between them would pair the new term with the old candidate. So the term waits in memory
// and both go into one record.
const (
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
)

// errNoKey is what raft asks a stable store for when the key is missing: exactly this text.
var errNoKey = errors.New("not found")

// Set makes the value durable, but for LastVoteTerm, which becomes so, and readable, with the next LastVoteCand. An equal value is not
// written again. A group's keys and values, with 6 bytes for each pair, may take 484 bytes: raft's take less than 200.
func (g *GroupLog) Set(key, value []byte) error {
	if m, err := g.stage(string(key), value); m == nil || err != nil {
		return err
	}
	n := controlNeed(g, walMaxStable)
	if err := g.w.admit(n); err != nil {
		return fmt.Errorf("set %.20q of group %d: %w", key, g.id, err)
	}
	defer g.w.release(n)
	g.write.Lock()
	defer g.write.Unlock()
	m, err := g.stageLocked(string(key), value)
	if m == nil || err != nil {
		return err
	}
	return g.submit(walAppendStable(nil, g.id, m), func(p walPos) {
		g.stableLocked(m, p)
		if string(key) == keyVoteCandidate {
			g.staged = nil
		}
	})
}

func (g *GroupLog) stage(key string, value []byte) (map[string][]byte, error) {
	g.write.Lock()
	defer g.write.Unlock()
	return g.stageLocked(key, value)
}

// stageLocked gives the values with this one, nil if there is nothing to write. It needs the write lock.
func (g *GroupLog) stageLocked(key string, value []byte) (map[string][]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	m := maps.Clone(g.stable)
	if m == nil {
		m = map[string][]byte{}
	}
	m[key] = slices.Clone(value)
	if key == keyVoteCandidate && g.staged != nil {
		m[keyVoteTerm] = g.staged
	}
	if n := walStableSize(m); n > walMaxStable {
		return nil, fmt.Errorf("set %.20q of group %d: %d bytes of keys and values, at most %d", key, g.id, n, walMaxStable)
	}
	if key == keyVoteTerm {
		g.staged = m[key]
		return nil, nil
	}
	if maps.EqualFunc(m, g.stable, bytes.Equal) {
		g.staged = nil
		return nil, nil
	}
	return m, nil
}

// Get reads a durable value; an error with the text "not found" without one.
func (g *GroupLog) Get(key []byte) ([]byte, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	v, ok := g.stable[string(key)]
	if !ok {
		return nil, errNoKey
	}
	return slices.Clone(v), nil
}

// SetUint64 is Set of eight bytes.
func (g *GroupLog) SetUint64(key []byte, v uint64) error {
	return g.Set(key, walLE.AppendUint64(nil, v))
}

// GetUint64 is Get of what SetUint64 set; 0 without one.
func (g *GroupLog) GetUint64(key []byte) (uint64, error) {
	v, err := g.Get(key)
	switch {
	case errors.Is(err, errNoKey):
		return 0, nil
	case len(v) != 8:
		return 0, fmt.Errorf("get %.20q of group %d: %d bytes, 8 expected", key, g.id, len(v))
	}
	return walLE.Uint64(v), nil
}
