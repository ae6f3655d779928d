package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"raftmq/membership"
	"raftmq/raftlog"
)

// announce tells the cluster which partitions this node leads.
func (b *Broker) announce() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var leads []membership.Lead
		if term, ok := b.catalogue.replica.Leads(); ok {
			leads = append(leads, membership.Lead{Partition: catalogueGroup, Term: term})
		}
		for _, p := range b.local() {
			if term, ok := p.replica.Leads(); ok {
				leads = append(leads, membership.Lead{Partition: p.desc.ID, Term: term})
			}
		}
		b.members.Announce(leads)
		select {
		case <-b.leads:
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
	}
}

func (b *Broker) leadsChanged() {
	for _, c := range []chan struct{}{b.leads, b.kick} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

const (
	balanceEvery = 5 * time.Second
	balanceMoves = 16
)

// balance hands partitions to their preferred leaders, when those are alive and
// have been for a while.
func (b *Broker) balance() {
	tick := time.NewTicker(balanceEvery)
	defer tick.Stop()
	seen := make(map[string]int) // rounds a node has been alive
	last := uint64(0)            // that was tried
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		for _, n := range b.members.Nodes() {
			if b.transport.Alive(n.Name) {
				seen[n.Name]++
			} else {
				seen[n.Name] = 0
			}
		}
		moves := 0
		for _, p := range inTurn(b.local(), last) {
			to := b.preferred(p.desc)
			if !p.leads() || to == b.id.Node || to == "" || seen[to] < 3 || moves == balanceMoves || b.keepsLeader(p) {
				continue
			}
			moves++
			last = p.desc.ID
			if looks, err := (copyPeer{b, to, p.desc.ID}).look(b.ctx); err != nil || !isSound(looks) {
				continue // it would refuse
			}
			ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
			if err := p.replica.Transfer(ctx, to); err != nil && b.ctx.Err() == nil {
				log := b.log.Warn
				if errors.Is(err, raftlog.ErrLags) { // as it does in each partition for minutes, after it was away for long
					log = b.log.Debug
				}
				log("hand leadership to the preferred node", "partition", p.desc.ID, "node", to, "error", err)
			}
			cancel()
		}
	}
}

// inTurn is ps, which are in order of their ids, from behind one on: a round tries some only, and those that cannot be
// moved for long must not keep the others from their turn.
func inTurn(ps []*partition, behind uint64) []*partition {
	i, _ := slices.BinarySearchFunc(ps, behind+1, func(p *partition, id uint64) int { return cmp.Compare(p.desc.ID, id) })
	return slices.Concat(ps[i:], ps[:i])
}

// handOn gives leadership to the first of nodes that takes it: one may be in quarantine, or
// have no vote.
func handOn(ctx context.Context, r *raftlog.Replica, nodes []string) (err error) {
	for _, node := range nodes {
		if err = r.Transfer(ctx, node); err == nil || errors.Is(err, raftlog.ErrNotLeader) {
			return err
		}
	}
	return err
}

// handOver gives leadership to another node of each partition.
func (b *Broker) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	replicas := []*raftlog.Replica{b.catalogue.replica}
	for _, p := range b.local() {
		replicas = append(replicas, p.replica)
	}
	some := make(chan struct{}, balanceMoves)
	for _, r := range replicas {
		if _, ok := r.Leads(); !ok {
			continue
		}
		conf, _ := r.Members()
		var to []string
		for _, s := range conf.Servers {
			node, incarnation := raftlog.NodeOf(s.Address)
			now, _ := b.catalogue.Node(node)
			if node != b.id.Node && s.Suffrage == raft.Voter && incarnation == now.Incarnation && b.transport.Alive(node) {
				to = append(to, node)
			}
		}
		if len(to) == 0 {
			continue
		}
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			if err := handOn(ctx, r, to); err != nil {
				b.log.Debug("hand leadership over", "nodes", to, "error", err)
			}
		})
	}
	wg.Wait()
}
