package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/fsm"
	"raftmq/raftlog"
)

// A node that was replaced takes its old incarnation's place in each Raft group in
// three changes, one after the other, which the leader of the group makes: it
// becomes a learner; when it has caught up the old incarnation is removed; then it
// becomes a voter. So the group always names the node in one of its lives: whoever
// leads compares that with what the catalogue says, and a change of leader, or a
// restart, goes on where it stopped. The old one, which is not there, counts among
// the voters until it is removed; with it or without, as many others must be there.
// There are never two voters of one node.

const (
	votersEvery  = 200 * time.Millisecond // while a node is being replaced
	votersAtOnce = 8                      // groups that a leader moves at a time
	learnerWait  = 10 * time.Second       // for a learner to catch up, before another group has its turn
	settleWait   = 2 * time.Second

	// kindSettled tells the leader of the catalogue that the node votes everywhere:
	// its incarnation, 8 bytes, big-endian.
	kindSettled = 17
)

// keepVoters moves the groups that are led here while a node is being replaced.
func (b *Broker) keepVoters() {
	for {
		changed := b.catalogue.Changed()
		var again <-chan time.Time
		if name := b.catalogue.Replacing(); name != "" {
			if node, ok := b.catalogue.Node(name); ok {
				b.moveVoters(node)
				b.settle(node)
			}
			again = time.After(votersEvery)
		}
		select {
		case <-changed:
		case <-again:
		case <-b.ctx.Done():
			return
		}
	}
}

// moveVoters makes a node's incarnation a voter where an earlier one is, in the
// groups that are led here.
func (b *Broker) moveVoters(node fsm.Node) {
	to := raft.ServerID(fmt.Sprintf("%s.%d", node.Name, node.Incarnation))
	replicas := []*raftlog.Replica{b.catalogue.replica} // first: it says which others there are
	for _, p := range b.local() {
		replicas = append(replicas, p.replica)
	}
	var wg sync.WaitGroup
	some := make(chan struct{}, votersAtOnce)
	for _, r := range replicas {
		if _, leads := r.Leads(); !leads || b.ctx.Err() != nil {
			continue
		}
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			ctx, cancel := context.WithTimeout(b.ctx, learnerWait)
			defer cancel()
			if err := moveVoter(ctx, r, to); err != nil && b.ctx.Err() == nil {
				b.log.Debug("replace a voter", "node", to, "error", err)
			}
		})
	}
	wg.Wait()
}

// moveVoter makes to a voter of a group where another incarnation of its node is a
// member, step by step. An error says that a later call must go on.
func moveVoter(ctx context.Context, r *raftlog.Replica, to raft.ServerID) error {
	for {
		conf, index := r.Members()
		now, old := membersOf(conf, to)
		var err error
		switch {
		case now.ID == "" && old == "":
			return nil // the node has no part in this group
		case now.ID == "":
			if !r.Holds(ctx, to) { // asked in vain, Raft would wait ever longer
				return fmt.Errorf("%s has not opened the group", to)
			}
			err = r.AddLearner(ctx, to, index)
		case now.Suffrage == raft.Voter && old == "":
			return nil
		default:
			err = exchange(ctx, r, now, old, index)
		}
		if err != nil && !errors.Is(err, raftlog.ErrChanged) {
			return err
		}
		select {
		case <-time.After(votersPause): // what was changed may not be applied here yet
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// exchange makes the next change where a node's present incarnation is a member.
func exchange(ctx context.Context, r *raftlog.Replica, now raft.Server, old raft.ServerID, index uint64) error {
	for lag := votersLag; now.Suffrage != raft.Voter && lag >= votersLag; {
		began := time.Now()
		if err := r.CaughtUp(ctx, now.ID); err != nil {
			return err
		}
		lag = time.Since(began)
	}
	if old != "" {
		return r.Remove(ctx, old, index)
	}
	return r.AddVoter(ctx, now.ID, index)
}

const (
	votersPause = 10 * time.Millisecond
	// votersLag is how far behind, in time, a learner may be that becomes a voter: a
	// group of which it makes the majority would wait so long.
	votersLag = time.Second
)

// membersOf finds a member, and another incarnation of its node.
func membersOf(conf raft.Configuration, id raft.ServerID) (now raft.Server, old raft.ServerID) {
	name, _ := raftlog.NodeOf(raft.ServerAddress(id))
	for _, s := range conf.Servers {
		other, _ := raftlog.NodeOf(s.Address)
		switch {
		case s.ID == id:
			now = s
		case other == name:
			old = s.ID
		}
	}
	return now, old
}

// settle tells the catalogue's leader when this node, which was replaced, has its
// votes back.
func (b *Broker) settle(node fsm.Node) {
	if node.Name != b.id.Node || node.Incarnation != b.id.Incarnation || b.catchUp(b.ctx) != nil || b.voteless() != "" {
		return
	}
	leader := b.leaderOf(catalogueGroup)
	if leader == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, settleWait)
	defer cancel()
	if _, err := b.transport.Call(ctx, leader, kindSettled, binary.BigEndian.AppendUint64(nil, node.Incarnation)); err != nil {
		b.log.Debug("say that this node votes again", "node", leader, "error", err)
	}
}

// settled is told by a node that it votes wherever its earlier life did.
func (b *Broker) settled(ctx context.Context, from string, req []byte) ([]byte, error) {
	if len(req) != 8 || !b.begun.Load() {
		return nil, errNotHere
	}
	n := fsm.Node{Name: from, Incarnation: binary.BigEndian.Uint64(req)}
	v, err := b.decide(ctx, fsm.EncodeSettleNode(nil, n))
	if err != nil {
		return nil, err
	}
	if res := v.(fsm.CatalogueResult); res.Err != nil || !res.Changed {
		return nil, res.Err
	}
	b.log.Info("the node that was replaced votes again", "node", from, "incarnation", n.Incarnation)
	return nil, nil
}

// voteless says in which groups this node has no vote, though the catalogue wants
// it there; "" if it votes in all.
func (b *Broker) voteless() string {
	if !b.catalogue.replica.Votes() {
		return "it has no vote in the catalogue yet"
	}
	want, vote := 0, 0
	for _, desc := range b.catalogue.Partitions() {
		if !b.holds(desc) {
			continue
		}
		want++
		if p, ok := b.partition(desc.ID); ok && p.replica.Votes() {
			vote++
		}
	}
	if vote < want {
		return fmt.Sprintf("it has a vote in %d of %d partitions", vote, want)
	}
	return ""
}

// learnLives notes which nodes have been replaced, hangs up on their earlier lives,
// which dial again and are told, and ends this one if it has been replaced itself.
func (b *Broker) learnLives() error {
	var errs []error
	for name, l := range b.catalogue.Lives() {
		if name == b.id.Node {
			if l.Incarnation > b.id.Incarnation && !b.broken.Load() {
				return b.wasReplaced(fmt.Sprintf("the catalogue has replaced this node by incarnation %d", l.Incarnation))
			}
		} else if err := b.peers.set(name, life{l.Folder, l.Incarnation}); err != nil {
			errs = append(errs, err)
		} else {
			b.transport.Expel(name, l.Incarnation)
		}
	}
	return errors.Join(errs...)
}
