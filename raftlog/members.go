package raftlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Voters returns the configuration in force and the index of its entry.
func (r *Replica) Members() (raft.Configuration, uint64) { return r.configuration() }

func (r *Replica) configuration() (raft.Configuration, uint64) {
	f := r.raft.GetConfiguration() // answered at once
	return f.Configuration(), f.Index()
}

// AddVoter makes id a voter, if the configuration is still the one of entry
// prev (0: whatever it is). id is both server id and address.
func (r *Replica) AddVoter(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.await(ctx, r.raft.AddVoter(id, raft.ServerAddress(id), prev, 0))
}

// AddLearner makes id a member that gets entries and does not vote.
func (r *Replica) AddLearner(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.await(ctx, r.raft.AddNonvoter(id, raft.ServerAddress(id), prev, 0))
}

// Remove takes id out of the group.
func (r *Replica) Remove(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.await(ctx, r.raft.RemoveServer(id, prev, 0))
}

// Bounds of a transfer.
const (
	transferDrain = 200 * time.Millisecond // proposals wait this long at most
	transferCatch = 2 * time.Second
	transferPoll  = 5 * time.Millisecond
)

// Transfer hands leadership to node, which must be a voter. New proposals are
// answered ErrNotLeader meanwhile. The library's own transfer is not used: it can
// leave a node refusing writes for ever (hashicorp/raft issue 696).
func (r *Replica) Transfer(ctx context.Context, node string) error {
	if r.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	var to raft.Server
	conf, _ := r.configuration()
	for _, s := range conf.Servers {
		if name, _ := NodeOf(s.Address); name == node && s.Suffrage == raft.Voter {
			to = s
		}
	}
	if to.ID == "" || to.ID == r.self {
		return fmt.Errorf("raftlog: %q is no other voter of group %d", node, r.cfg.Group)
	}
	if !r.gate.close() {
		return fmt.Errorf("raftlog: group %d is being transferred already", r.cfg.Group)
	}
	defer func() {
		select {
		case <-r.closing:
		default:
			r.gate.open()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, transferCatch)
	defer cancel()
	tick := time.NewTicker(transferPoll)
	defer tick.Stop()
	for {
		last, err := r.host.lastIndex(ctx, node, r.cfg.Group)
		if err == nil && last >= r.raft.LastIndex() && r.gate.drained() {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("raftlog: %s did not catch up with group %d in %v", node, r.cfg.Group, transferCatch)
		}
	}
	var resp raft.TimeoutNowResponse
	if err := r.net.TimeoutNow(to.ID, to.Address, &raft.TimeoutNowRequest{RPCHeader: r.header()}, &resp); err != nil {
		return fmt.Errorf("raftlog: tell %s to stand: %w", node, err)
	}
	for r.raft.State() == raft.Leader {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("raftlog: group %d: %s was not elected in %v", r.cfg.Group, node, transferCatch)
		}
	}
	return nil
}

func (r *Replica) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(r.self), Addr: []byte(r.self)}
}

// groupBytes is a control request's body: a group id.
func groupBytes(group uint64) []byte { return binary.BigEndian.AppendUint64(nil, group) }
