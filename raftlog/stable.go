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
// written again.
func (g *GroupLog) Set(key, value []byte) error {
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.check(); err != nil {
		return err
	}
	if len(key) > 1<<10 || len(value) > 16<<10 {
		return fmt.Errorf("set %.20q of group %d: %d bytes: too large", key, g.id, len(key)+len(value))
	}
	k := string(key)
	if k == keyVoteTerm {
		g.staged = slices.Clone(value)
		return nil
	}
	m := maps.Clone(g.stable)
	if m == nil {
		m = map[string][]byte{}
	}
	old, had := m[k]
	same := had && bytes.Equal(old, value)
	if k == keyVoteCandidate && g.staged != nil {
		same = same && bytes.Equal(m[keyVoteTerm], g.staged)
		m[keyVoteTerm] = g.staged
	}
	if same {
		g.staged = nil
		return nil
	}
	m[k] = slices.Clone(value)
	records := walAppendStable(nil, g.id, m)
	if len(records) > 64<<10 {
		return fmt.Errorf("set %.20q of group %d: %d bytes of keys: too many", key, g.id, len(records))
	}
	return g.w.submit(&walRequest{records: records, count: 1, publish: func(seg uint64, off int) {
		g.mu.Lock()
		g.stable, g.stablePos = m, walPos{seg, uint32(off), uint32(len(records))}
		if k == keyVoteCandidate {
			g.staged = nil
		}
		g.mu.Unlock()
	}})
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
