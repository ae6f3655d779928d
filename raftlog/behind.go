package raftlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// A replica that was just opened has to learn what is committed, and to be sent what
// it missed. Its leader comes to it by itself, but late: a leader in hashicorp/raft
// whose connection to a follower broke tries again when it has something to send, or
// at the commit timeout, which is long here (see commitpush.go). So a replica asks.
//
//	question of kind 5, big-endian: group (8), term (8) and index (8) of the asker's last entry
//	answer: the commit index (8)

// Committed asks node, which may be this one, for the group's commit index, which a
// majority confirms. If node leads, it also sees to it that this replica is sent what
// it lacks. An error says that the index is not known; ErrNotLeader, that node is "".
func (r *Replica) Committed(ctx context.Context, node string) (uint64, error) {
	if _, ok := r.Leads(); ok {
		return r.readRound(ctx)
	}
	if node == "" {
		return 0, ErrNotLeader
	}
	end := r.end()
	b, err := r.host.transport.Call(ctx, node, kindBehind, uint64s(r.cfg.Group, end.term, end.index))
	if err == nil && len(b) != 8 {
		err = fmt.Errorf("raftlog: answer of %d bytes from %s", len(b), node)
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// Reached reports whether the machine has applied every command up to index.
func (r *Replica) Reached(index uint64) bool {
	at, _, err := r.apply.progress()
	return err == nil && r.reached(at.index, index)
}

// helpBehind answers a question of kind 5.
func (h *Host) helpBehind(ctx context.Context, from string, req []byte) ([]byte, error) {
	if len(req) != 24 {
		return nil, fmt.Errorf("raftlog: question of %d bytes", len(req))
	}
	r, ok := h.Replica(binary.BigEndian.Uint64(req))
	if !ok {
		return nil, errNoGroup
	}
	index, err := r.readRound(ctx)
	if err != nil {
		return nil, err
	}
	if r.holds(logEnd{binary.BigEndian.Uint64(req[8:]), binary.BigEndian.Uint64(req[16:])}, index) {
		r.pushes.remind(from)
	} else {
		r.wakeReplication()
	}
	return uint64s(index), nil
}

// holds reports whether a log that ends with end has all that is committed.
func (r *Replica) holds(end logEnd, commit uint64) bool {
	var l raft.Log
	return end.index >= commit && r.logs.GetLog(end.index, &l) == nil && l.Term == end.term
}

// wakeEvery bounds how many entries those who are behind can make a leader write.
const wakeEvery = time.Second

// wakeReplication makes Raft send its followers what they lack, at once: it does so
// whenever there is another entry, so it gets one that means nothing. At most one in
// wakeEvery.
func (r *Replica) wakeReplication() {
	now := time.Now().UnixNano()
	last := r.woken.Load()
	if last != 0 && now-last < int64(wakeEvery) || !r.woken.CompareAndSwap(last, now) || r.gate.ask() != nil {
		return
	}
	f := r.raft.Barrier(0)
	go func() { // ends when Raft answers: see Close
		f.Error()
		r.gate.leave()
	}()
}
