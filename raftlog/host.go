package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Kinds of control calls between hosts.
const (
	kindTerm    = 1 // group -> term and incarnation, for read indexes
	kindLast    = 2 // group -> term and index of the last entry, and incarnation, for transfers and learners
	kindSuspect = 3 // see nudge.go
	kindRead    = 4 // group -> read index, from its leader
)

// Host is a node's replicas, with what they share: the transport, the answers to
// other hosts' questions, and the nudging of elections.
type Host struct {
	transport *Transport
	id        raft.ServerID
	log       hclog.Logger
	nudges    nudges
	greetings greetings

	mu       sync.RWMutex
	replicas map[uint64]*Replica
}

// NewHost returns a host of replicas that talk over t. node and incarnation are
// the transport's.
func NewHost(t *Transport, node string, incarnation uint64, log hclog.Logger) *Host {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	h := &Host{transport: t, id: raft.ServerID(fmt.Sprintf("%s.%d", node, incarnation)), log: log, replicas: make(map[uint64]*Replica)}
	h.nudges.init(h)
	t.Handle(kindTerm, h.answer(func(_ context.Context, r *Replica) ([]byte, error) {
		return uint64s(r.raft.CurrentTerm(), t.incarnation.Load()), nil
	}))
	t.Handle(kindLast, h.answer(func(_ context.Context, r *Replica) ([]byte, error) {
		end := r.end()
		return uint64s(end.term, end.index, t.incarnation.Load()), nil
	}))
	t.Handle(kindRead, h.answer(func(ctx context.Context, r *Replica) ([]byte, error) {
		index, err := r.readRound(ctx)
		return uint64s(index), err
	}))
	t.Handle(kindSuspect, h.nudges.heard)
	t.Watch(h.nudges.link)
	h.greetings.init(h)
	return h
}

// ID is the server id, and address, of this host's replicas: node.incarnation.
func (h *Host) ID() raft.ServerID { return h.id }

// Adopt makes this node another incarnation, transport included: what is said from
// now on is said as that one. No replica was opened yet.
func (h *Host) Adopt(incarnation uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.replicas) > 0 {
		return fmt.Errorf("raftlog: %d replicas speak as %s", len(h.replicas), h.id)
	}
	h.transport.adopt(incarnation)
	h.id = raft.ServerID(nodeAddress(h.transport.node, incarnation))
	return nil
}

// Confirm asks node, which leads the group, to have that confirmed: nil means that
// a majority of the group's voters was there after the call. It works for groups
// that have no replica here.
func (h *Host) Confirm(ctx context.Context, node string, group uint64) error {
	_, err := h.ask(ctx, node, kindRead, group, 1)
	return err
}

// Replica returns the group's replica here.
func (h *Host) Replica(group uint64) (*Replica, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	r, ok := h.replicas[group]
	return r, ok
}

// Close stops nudging. The replicas are closed by whoever opened them, the
// transport too.
func (h *Host) Close() { h.nudges.close() }

func (h *Host) add(r *Replica) {
	h.mu.Lock()
	h.replicas[r.cfg.Group] = r
	h.mu.Unlock()
}

func (h *Host) remove(r *Replica) {
	h.mu.Lock()
	if h.replicas[r.cfg.Group] == r {
		delete(h.replicas, r.cfg.Group)
	}
	h.mu.Unlock()
}

func (h *Host) all() []*Replica {
	h.mu.RLock()
	defer h.mu.RUnlock()
	rs := make([]*Replica, 0, len(h.replicas))
	for _, r := range h.replicas {
		rs = append(rs, r)
	}
	return rs
}

var errNoGroup = errors.New("raftlog: no such group here")

// answer handles a question about a group.
func (h *Host) answer(f func(context.Context, *Replica) ([]byte, error)) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, _ string, req []byte) ([]byte, error) {
		if len(req) != 8 {
			return nil, fmt.Errorf("raftlog: group id of %d bytes", len(req))
		}
		r, ok := h.Replica(binary.BigEndian.Uint64(req))
		if !ok {
			return nil, errNoGroup
		}
		return f(ctx, r)
	}
}

func uint64s(all ...uint64) (b []byte) {
	for _, v := range all {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// ask returns a node's answer to a question about a group, n numbers.
func (h *Host) ask(ctx context.Context, node string, kind byte, group uint64, n int) ([]uint64, error) {
	b, err := h.transport.Call(ctx, node, kind, uint64s(group))
	if err != nil {
		return nil, err
	}
	if len(b) != 8*n {
		return nil, fmt.Errorf("raftlog: answer of %d bytes from %s", len(b), node)
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return all, nil
}

// askMember is ask of one replica: another incarnation of its node does not answer
// for it. The incarnation is the last number of such an answer.
func (h *Host) askMember(ctx context.Context, to raft.ServerAddress, kind byte, group uint64, n int) ([]uint64, error) {
	node, incarnation := NodeOf(to)
	v, err := h.ask(ctx, node, kind, group, n+1)
	if err != nil {
		return nil, err
	}
	if v[n] != incarnation {
		return nil, fmt.Errorf("raftlog: %s has incarnation %d", to, v[n])
	}
	return v[:n], nil
}

func (h *Host) lastEntry(ctx context.Context, of raft.ServerAddress, group uint64) (logEnd, error) {
	v, err := h.askMember(ctx, of, kindLast, group, 2)
	if err != nil {
		return logEnd{}, err
	}
	return logEnd{v[0], v[1]}, nil
}
