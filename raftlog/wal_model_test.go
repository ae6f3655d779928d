package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/hashicorp/raft"

	"raftmq/raftlog"
)

// groupModel is what one group's log must hold.
type groupModel struct {
	entries     map[uint64]string // by index: term and data; all different
	first, last uint64            // 0, 0: empty
	values      map[string]uint64
	checkpoint  raftlog.Checkpoint // Index 0: none
}

func (m groupModel) clone() groupModel {
	m.entries, m.values = maps.Clone(m.entries), maps.Clone(m.values)
	return m
}

func (m *groupModel) cut(from uint64) {
	for ; m.last >= from && m.last >= m.first && m.last > 0; m.last-- {
		delete(m.entries, m.last)
	}
	if m.last < m.first {
		m.first, m.last = 0, 0
	}
}

func (m *groupModel) store(l *raft.Log) {
	switch {
	case m.last == 0 || l.Index > m.last+1 || l.Index < m.first:
		clear(m.entries)
		m.first = l.Index
	default:
		m.cut(l.Index)
		if m.last == 0 {
			m.first = l.Index
		}
	}
	m.entries[l.Index], m.last = text(l), l.Index
}

func (m *groupModel) trim(through uint64) {
	for ; m.first <= through && m.first <= m.last; m.first++ {
		delete(m.entries, m.first)
	}
	if m.first > m.last {
		m.first, m.last = 0, 0
	}
}

func text(l *raft.Log) string { return fmt.Sprintf("%d %x", l.Term, l.Data) }

// check says in what the group differs from the model. What lies at or below the checkpoint may be gone.
func (m groupModel) check(g *raftlog.GroupLog) error {
	for i := max(1, min(m.first, m.last)-min(m.first, 3)); i <= m.last+20; i++ {
		var l raft.Log
		err := g.GetLog(i, &l)
		want, there := m.entries[i]
		switch {
		case err == nil && (!there || want != text(&l)):
			return fmt.Errorf("entry %d is %.20s, want %.20s", i, text(&l), want)
		case err != nil && err != raft.ErrLogNotFound:
			return err
		case err != nil && there && i > m.checkpoint.Index:
			return fmt.Errorf("entry %d is missing", i)
		}
	}
	last, err := g.LastIndex()
	if err != nil || last != m.last && (last != 0 || m.last > m.checkpoint.Index) {
		return fmt.Errorf("the last entry is %d, want %d: %w", last, m.last, err)
	}
	for k, v := range m.values {
		if got, err := g.GetUint64([]byte(k)); err != nil || got != v {
			return fmt.Errorf("%s is %d, want %d: %w", k, got, v, err)
		}
	}
	c, ok, err := g.Checkpoint()
	if err != nil || ok != (m.checkpoint.Index > 0) || c.Index != m.checkpoint.Index || c.Term != m.checkpoint.Term || !bytes.Equal(c.State, m.checkpoint.State) {
		return fmt.Errorf("the checkpoint is at %d, want %d: %w", c.Index, m.checkpoint.Index, err)
	}
	return nil
}

// groupRun makes random changes to a group. Until one is answered with nil, what is there may be any of states.
type groupRun struct {
	g      *raftlog.GroupLog
	r      *rand.Rand
	term   uint64
	states []groupModel
}

func newGroupRun(g *raftlog.GroupLog, seed uint64, was groupModel) *groupRun {
	return &groupRun{g: g, r: rand.New(rand.NewPCG(seed, 3)), term: seed << 20, states: []groupModel{was}}
}

func emptyModel() groupModel {
	return groupModel{entries: map[uint64]string{}, values: map[string]uint64{}}
}

// run makes n changes, or stops at the first that fails.
func (r *groupRun) run(n int) error {
	for range n {
		if err := r.change(); err != nil {
			return err
		}
		r.states = r.states[len(r.states)-1:]
	}
	return nil
}

func (r *groupRun) change() error {
	now := r.states[0]
	r.term++
	switch n := r.r.IntN(20); {
	case r.g.Bytes() > 24<<10: // or it will be refused
		after := now.clone()
		after.checkpoint = raftlog.Checkpoint{Index: now.last, Term: r.term}
		return r.try(after, func() error { return r.g.SaveCheckpoint(after.checkpoint) })
	case n < 8:
		return r.store(max(now.last, now.checkpoint.Index) + 1)
	case n < 10 && now.last > now.checkpoint.Index: // a conflict, as raft resolves it
		at := now.last - uint64(r.r.IntN(int(min(4, now.last-max(now.checkpoint.Index+1, now.first)+1))))
		after := now.clone()
		after.cut(at)
		r.states = append(r.states, after)
		if err := r.g.DeleteRange(at, now.last); err != nil {
			return err
		}
		r.states = r.states[len(r.states)-1:]
		return r.store(at)
	case n < 11 && now.last > now.checkpoint.Index: // over what is there
		return r.store(max(now.last-min(now.last, uint64(r.r.IntN(3))), now.checkpoint.Index+1, now.first))
	case n < 12 && now.checkpoint.Index > now.first && now.first > 0:
		through := min(now.last, now.checkpoint.Index) - uint64(r.r.IntN(2))
		after := now.clone()
		after.trim(through)
		return r.try(after, func() error { return r.g.DeleteRange(now.first, through) })
	case n < 15:
		after := now.clone()
		k := []string{"CurrentTerm", "other"}[r.r.IntN(2)]
		after.values[k] = r.term
		return r.try(after, func() error { return r.g.SetUint64([]byte(k), r.term) })
	case n < 16:
		after := now.clone()
		after.values["LastVoteTerm"], after.values["LastVoteCand"] = r.term, r.term
		return r.try(after, func() error {
			return errors.Join(r.g.SetUint64([]byte("LastVoteTerm"), r.term), r.g.SetUint64([]byte("LastVoteCand"), r.term))
		})
	case n < 17:
		after := emptyModel()
		after.values = now.clone().values
		after.checkpoint = raftlog.Checkpoint{Index: max(now.last, now.checkpoint.Index) + uint64(r.r.IntN(5)) + 1, Term: r.term, State: []byte("floor")}
		return r.try(after, func() error { return r.g.Reset(after.checkpoint) })
	default:
		after := now.clone()
		at := max(now.checkpoint.Index, now.last-min(now.last, uint64(r.r.IntN(3))))
		if at == 0 {
			return nil
		}
		after.checkpoint = raftlog.Checkpoint{Index: at, Term: r.term, State: fmt.Append(nil, r.term)}
		return r.try(after, func() error { return r.g.SaveCheckpoint(after.checkpoint) })
	}
}

// store stores some entries from the index; of those that are not answered a first part may be there.
func (r *groupRun) store(from uint64) error {
	var logs []*raft.Log
	after := r.states[0]
	for i := range uint64(1 + r.r.IntN(5)) {
		data := make([]byte, 8+r.r.IntN(1500))
		for j := range data {
			data[j] = byte(r.r.Uint32())
		}
		l := &raft.Log{Index: from + i, Term: r.term, Data: data}
		logs = append(logs, l)
		after = after.clone()
		after.store(l)
		r.states = append(r.states, after)
	}
	return r.g.StoreLogs(logs)
}

func (r *groupRun) try(after groupModel, f func() error) error {
	r.states = append(r.states, after)
	return f()
}

// now finds which of the possible states g is in, the newest first.
func (r *groupRun) now(g *raftlog.GroupLog) (groupModel, error) {
	var errs []error
	for i := len(r.states) - 1; i >= 0; i-- {
		err := r.states[i].check(g)
		if err == nil {
			return r.states[i], nil
		}
		errs = append(errs, err)
	}
	return groupModel{}, errors.Join(errs...)
}
