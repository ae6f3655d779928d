package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// ErrChanged: the configuration is another than the caller took it to be; nothing
// was changed.
var ErrChanged = errors.New("raftlog: members have changed")

// Members returns the configuration in force here and the index of its entry. It may not
// be committed yet.
func (r *Replica) Members() (raft.Configuration, uint64) { return r.orCompacted(r.apply.members()) }

// orCompacted is the given configuration, unless what Raft has compacted, or was sent as a
// snapshot, has a later one.
func (r *Replica) orCompacted(conf raft.Configuration, index uint64) (raft.Configuration, uint64) {
	if r.cfg.Snapshots == nil {
		return conf, index
	}
	if metas, err := r.cfg.Snapshots.List(); err == nil && len(metas) > 0 && metas[0].ConfigurationIndex > index {
		return metas[0].Configuration, metas[0].ConfigurationIndex
	}
	return conf, index
}

// configuration is Members without the index, which the library does not tell;
// it costs nothing.
func (r *Replica) configuration() raft.Configuration {
	return r.raft.GetConfiguration().Configuration() // answered at once
}

// AddVoter makes id a voter, if the configuration is still the one of entry
// prev (0: whatever it is). id is both server id and address. ErrChanged,
// ErrNotLeader, ErrClosed: certainly not done.
func (r *Replica) AddVoter(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.change(ctx, func() raft.IndexFuture { return r.raft.AddVoter(id, raft.ServerAddress(id), prev, 0) })
}

// AddLearner makes id a member that gets entries and does not vote.
func (r *Replica) AddLearner(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.change(ctx, func() raft.IndexFuture { return r.raft.AddNonvoter(id, raft.ServerAddress(id), prev, 0) })
}

// Remove takes id out of the group.
func (r *Replica) Remove(ctx context.Context, id raft.ServerID, prev uint64) error {
	return r.change(ctx, func() raft.IndexFuture { return r.raft.RemoveServer(id, prev, 0) })
}

// Votes reports whether this replica is a voter, by what is applied here: a change that is
// not committed may yet be undone.
func (r *Replica) Votes() bool {
	at, _, _ := r.apply.progress()
	conf, _ := r.orCompacted(at.conf, at.confIndex)
	return slices.ContainsFunc(conf.Servers, func(s raft.Server) bool { return s.ID == r.self && s.Suffrage == raft.Voter })
}

// Holds reports whether id has the group open.
func (r *Replica) Holds(ctx context.Context, id raft.ServerID) bool {
	_, err := r.host.lastEntry(ctx, raft.ServerAddress(id), r.cfg.Group)
	return err == nil
}

// CaughtUp returns when id, member or not, has the entries that were committed here
// at the call. Of its log only the length is looked at: it counts for something only
// when this replica leads, and id got its log from leaders.
func (r *Replica) CaughtUp(ctx context.Context, id raft.ServerID) error {
	want := r.raft.CommitIndex()
	tick := time.NewTicker(transferPoll)
	defer tick.Stop()
	for {
		last, err := r.host.lastEntry(ctx, raft.ServerAddress(id), r.cfg.Group)
		if err == nil && last.index >= want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("raftlog: %s lacks entries of group %d, it has %d of %d: %w", id, r.cfg.Group, last.index, want, errors.Join(context.Cause(ctx), err))
		case <-r.closing:
			return ErrClosed
		}
	}
}

// change waits for a change of members; it is not begun before the one before is
// committed.
func (r *Replica) change(ctx context.Context, begin func() raft.IndexFuture) error {
	err := r.await(ctx, func() raft.Future { return begin() })
	if err != nil && strings.Contains(err.Error(), "configuration changed since") { // the library's, which is no value
		return fmt.Errorf("%w: %s", ErrChanged, err.Error())
	}
	return err
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Bounds of a transfer.
const (
	transferCatch = 2 * time.Second
	transferPoll  = 5 * time.Millisecond
	transferLook  = 50 * time.Millisecond // at how far behind the other is
	transferLag   = 256                   // entries that it may lack: it would not have them in time
)

// ErrLags: a node lacks too many entries to lead a group soon.
var ErrLags = errors.New("raftlog: it is far behind")

// Transfer hands leadership to node, which must be a voter. New proposals are
// answered ErrNotLeader meanwhile. The library's own transfer is not used: it can
// leave a node refusing writes for ever (hashicorp/raft issue 696). A leader that has
// no room to apply is handed over with proposals under way. One that lags far behind, as it does for
// minutes after it was away for long, is not waited for: ErrLags. ErrUnknownOutcome: it was told to stand, and may lead yet.
func (r *Replica) Transfer(ctx context.Context, node string) error {
	stalled := r.Stalled() != nil
	if _, ok := r.Leads(); !ok && !(stalled && r.raft.State() == raft.Leader) {
		return ErrNotLeader
	}
	var to raft.Server
	conf := r.configuration()
	for _, s := range conf.Servers {
		if name, _ := NodeOf(s.Address); name == node && s.Suffrage == raft.Voter {
			to = s
		}
	}
	if to.ID == "" || to.ID == r.self {
		return fmt.Errorf("raftlog: %q is no other voter of group %d", node, r.cfg.Group)
	}
	if lacks := r.lacks(ctx, to.Address); lacks > transferLag {
		return fmt.Errorf("%w: %s lacks %d entries of group %d", ErrLags, node, lacks, r.cfg.Group)
	}
	if !r.gate.close() {
		return fmt.Errorf("raftlog: group %d is being transferred already", r.cfg.Group)
	}
	defer r.gate.open()
	ctx, cancel := context.WithTimeout(ctx, transferCatch)
	defer cancel()
	drained := r.gate.drained()
	if stalled {
		drained = closedChan
	}
	select {
	case <-drained:
	case <-ctx.Done():
		return fmt.Errorf("raftlog: proposals of group %d are under way: %w", r.cfg.Group, context.Cause(ctx))
	}
	tick := time.NewTicker(transferPoll)
	defer tick.Stop()
	for {
		last, err := r.host.lastEntry(ctx, to.Address, r.cfg.Group)
		if err == nil && !last.less(r.end()) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("raftlog: %s did not catch up with group %d: %w", node, r.cfg.Group, errors.Join(context.Cause(ctx), err))
		}
	}
	var resp raft.TimeoutNowResponse
	if err := r.net.TimeoutNow(to.ID, to.Address, &raft.TimeoutNowRequest{RPCHeader: r.header()}, &resp); err != nil {
		if errors.Is(err, ErrLinkLost) {
			err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return fmt.Errorf("raftlog: tell %s to stand: %w", node, err)
	}
	for r.raft.State() == raft.Leader {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: group %d: %s was not elected yet: %w", ErrUnknownOutcome, r.cfg.Group, node, context.Cause(ctx))
		}
	}
	return nil
}

// lacks is how many entries that are committed here a member's log does not reach; 0 if it does not say so soon.
func (r *Replica) lacks(ctx context.Context, of raft.ServerAddress) uint64 {
	ctx, cancel := context.WithTimeout(ctx, transferLook)
	defer cancel()
	commit := r.raft.CommitIndex()
	last, err := r.host.lastEntry(ctx, of, r.cfg.Group)
	if err != nil || last.index >= commit {
		return 0
	}
	return commit - last.index
}

func (r *Replica) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(r.self), Addr: []byte(r.self)}
}
