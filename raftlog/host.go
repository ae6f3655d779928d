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
	kindTerm    = 1 // group -> term, for read indexes
	kindLast    = 2 // group -> last index, for transfers
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
	t.Handle(kindTerm, h.answer(func(r *Replica) uint64 { return r.raft.CurrentTerm() }))
	t.Handle(kindLast, h.answer(func(r *Replica) uint64 { return r.raft.LastIndex() }))
	t.Handle(kindRead, h.readIndex)
	t.Handle(kindSuspect, h.nudges.heard)
	t.Watch(h.nudges.link)
	return h
}

// ID is the server id, and address, of this host's replicas: node.incarnation.
func (h *Host) ID() raft.ServerID { return h.id }

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

func (h *Host) answer(f func(*Replica) uint64) func(context.Context, string, []byte) ([]byte, error) {
	return func(_ context.Context, _ string, req []byte) ([]byte, error) {
		if len(req) != 8 {
			return nil, fmt.Errorf("raftlog: group id of %d bytes", len(req))
		}
		r, ok := h.Replica(binary.BigEndian.Uint64(req))
		if !ok {
			return nil, errNoGroup
		}
		return binary.BigEndian.AppendUint64(nil, f(r)), nil
	}
}

// readIndex answers a follower that wants to read.
func (h *Host) readIndex(ctx context.Context, _ string, req []byte) ([]byte, error) {
	if len(req) != 8 {
		return nil, fmt.Errorf("raftlog: group id of %d bytes", len(req))
	}
	r, ok := h.Replica(binary.BigEndian.Uint64(req))
	if !ok {
		return nil, errNoGroup
	}
	index, err := r.readRound(ctx)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

func (h *Host) ask(ctx context.Context, node string, kind byte, group uint64) (uint64, error) {
	b, err := h.transport.Call(ctx, node, kind, groupBytes(group))
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("raftlog: answer of %d bytes from %s", len(b), node)
	}
	return binary.BigEndian.Uint64(b), nil
}

func (h *Host) lastIndex(ctx context.Context, node string, group uint64) (uint64, error) {
	return h.ask(ctx, node, kindLast, group)
}
