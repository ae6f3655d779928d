package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// keepMoved is for how long a partition stays with the leader that an operator chose before
// it is handed to its preferred one again.
const keepMoved = 10 * time.Minute

// listLeaders answers 9006: who leads a topic's partitions, or all and the catalogue.
func (b *Broker) listLeaders(ctx context.Context, r *request) *remoting.Command {
	topic := r.Ext["topic"]
	if topic != "" {
		if _, refusal := b.topic(ctx, r, topic); refusal != nil {
			return refusal
		}
	}
	return b.list(ctx, r, func() any {
		all := remoting.PartitionLeaders{Partitions: []remoting.PartitionLeader{}}
		if topic == "" {
			all.Partitions = append(all.Partitions, remoting.PartitionLeader{Leader: b.leaderOf(catalogueGroup), Voters: nodeNames(b.catalogue.Nodes())})
		}
		for _, part := range b.catalogue.Partitions() {
			if topic == "" || part.Topic == topic {
				all.Partitions = append(all.Partitions, remoting.PartitionLeader{Partition: part.ID, Topic: part.Topic, Slot: part.Slot, Leader: b.leaderOf(part.ID), Voters: nodeNames(part.Voters)})
			}
		}
		return all
	})
}

func nodeNames(nodes []fsm.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// moveLeader answers 9007: a node is to lead a partition. Whoever leads it hands it over, and it
// is the node that answers. Asked again it does nothing more.
func (b *Broker) moveLeader(ctx context.Context, r *request) *remoting.Command {
	var h remoting.MoveLeaderHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	unheard := b.catchUp(ctx)
	group, voters, what := uint64(h.Partition), b.catalogue.Nodes(), "the catalogue"
	if group != catalogueGroup {
		part, ok := b.catalogue.Partition(group)
		if !ok && unheard != nil {
			return r.failed(errNotHere)
		}
		if !ok {
			return r.refuse(remoting.InvalidParameter, "there is no partition %d", group)
		}
		voters, what = part.Voters, fmt.Sprintf("partition %d of %s", group, part.Topic)
	}
	if !slices.ContainsFunc(voters, func(n fsm.Node) bool { return n.Name == h.Node }) {
		return r.refuse(remoting.InvalidParameter, "%s has no vote in %s", h.Node, what)
	}
	return b.atLeader(ctx, r, group, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
		replica, ok := b.host.Replica(group)
		if !ok {
			return nil, errNotHere
		}
		if h.Node == b.id.Node {
			if p, ok := b.partition(group); ok {
				p.moved.Store(int64(b.uptime()))
			}
			return r.ReplyWith(nil, nil), nil
		}
		if group != catalogueGroup {
			looks, err := copyPeer{b, h.Node, group}.look(ctx)
			if err == nil && !isSound(looks) {
				return r.refuse(remoting.IllegalOperation, "the replica of %s is in quarantine: %v", h.Node, looks.Quarantine), nil
			}
			if err != nil {
				return r.refuse(remoting.IllegalOperation, "%s does not answer for its replica: %v", h.Node, err), nil
			}
		}
		err := replica.Transfer(ctx, h.Node)
		if errors.Is(err, raftlog.ErrUnknownOutcome) {
			return nil, err
		}
		if err != nil && !errors.Is(err, raftlog.ErrNotLeader) {
			return r.refuse(remoting.IllegalOperation, "%s was not handed to %s: %v", what, h.Node, err), nil
		}
		return nil, errNotHere // it is for the next leader to answer
	})
}

// keepsLeader reports whether an operator chose this node to lead the partition, not long ago.
func (b *Broker) keepsLeader(p *partition) bool {
	at := p.moved.Load()
	return at != 0 && b.uptime()-time.Duration(at) < keepMoved
}
