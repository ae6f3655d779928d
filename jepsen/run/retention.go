package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"raftmq/client"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
)

// retentionTopic keeps little more than two segments of the shortest length.
var retentionTopic = Topic{Name: "jepsen-retention", Partitions: partitions, Queues: 1, Attributes: map[string]string{"retention-bytes": "150000"}}

// retentionGroups is how many groups commit there now and then.
const retentionGroups = 16

// retentionLoad fills a topic that keeps little, and looks below, at and above its
// minimum through all nodes.
var retentionLoad = Workload{
	Name: "retention", Does: "a topic that keeps little: what is trimmed, and that nothing else is",
	Proves: []string{"P8", "P19"}, Topics: []Topic{retentionTopic}, Sends: 0.5, Args: []string{"--segment-bytes", "65536"},
	start: func(r *run, p *part) error {
		const senders, lookers = 4, 3
		for i := range senders {
			s, err := r.sender(retentionTopic, i)
			if err != nil {
				return err
			}
			s.batches, s.large = 1<<30, true
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate/2, i, senders)) })
		}
		for i := range lookers {
			name := fmt.Sprintf("retention-%d", i)
			l := &looker{r: r, rng: r.o.Seed.Stream(name), name: name, wire: r.wire("jepsen-" + name)}
			p.load(func(ctx context.Context) { l.run(ctx, newPace(p.rate/2, i, lookers)) })
		}
		for _, n := range r.cluster.Nodes {
			p.load(func(ctx context.Context) { r.keeps(ctx, n, retentionTopic) })
		}
		return nil
	},
	settle: keepAll,
}

// keptEvery is how often nodes are asked how much they keep, after a trim nearly at once: what comes soon makes up for what went.
const keptEvery = 250 * time.Millisecond

// keeps writes how much a node keeps of the logs of a topic that it leads, once for each beginning.
func (r *run) keeps(ctx context.Context, n *cluster.Node, t Topic) {
	before, told := make(map[uint64]cluster.Replica), make(map[uint64]int64)
	for sleep(ctx, keptEvery) {
		rs, err := n.Replicas(ctx, t.Name)
		if err != nil {
			clear(before)
			continue
		}
		for _, is := range rs {
			if was := before[is.ID]; hadAll(was) && is.State == was.State && is.Term == was.Term && is.First == was.First && is.First > told[is.ID] {
				told[is.ID] = is.First
				r.history.Add(history.Op{Process: "keeper", Type: history.Info, F: history.Kept, Node: n.Name, Topic: t.Name, Range: &history.Range{Min: was.First, End: is.Position}})
			}
			before[is.ID] = is
		}
	}
}

// hadAll reports whether a replica led and had applied all that it had: one that is started again, or copied, begins where it was trimmed before it has
// what follows, and leads in no term in which it led before. An answer is put together bit by bit, so how far the log goes is taken from the next.
func hadAll(x cluster.Replica) bool { return x.State == "Leader" && x.Applied == x.Last }

// keepAll ends the trimming, so that all replicas are read from one beginning on, and
// returns when all nodes know of it.
func keepAll(ctx context.Context, r *run) error {
	const attribute, unlimited = "retention-bytes", "unlimited"
	err := r.clients[0].Admin().UpdateTopic(ctx, client.TopicConfig{Name: retentionTopic.Name, Queues: retentionTopic.Queues, Attributes: map[string]string{attribute: unlimited}})
	for i, cl := range r.pinned {
		if err == nil {
			err = heard(ctx, r.cluster.Nodes[i].Name, func(ctx context.Context) (bool, error) {
				t, err := cl.Admin().Topic(ctx, retentionTopic.Name)
				return t.Attributes[attribute] == unlimited, err
			})
		}
	}
	return err
}

// heard asks a node until it knows of a change.
func heard(ctx context.Context, node string, knows func(ctx context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, alikeLimit, fmt.Errorf("%s has not heard of a change of a topic after %v", node, alikeLimit))
	defer cancel()
	for {
		if is, err := knows(ctx); is || err != nil {
			return err
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

type looker struct {
	r    *run
	rng  *rand.Rand
	name string
	wire *wire
}

func (l *looker) run(ctx context.Context, pace *pace) {
	defer l.wire.close()
	for pace.next(ctx) {
		on := context.WithoutCancel(ctx)
		q := l.rng.IntN(retentionTopic.count())
		g, ok := l.wire.bounds(on, l.name, retentionTopic, q, pick(l.rng, l.r.cluster.Nodes))
		if !ok {
			continue
		}
		from := g.Min
		switch l.rng.IntN(3) {
		case 0: // what lies below may be gone
			from = l.rng.Int64N(g.Min + 1)
		case 1:
			from += l.rng.Int64N(max(0, g.End-g.Min) + 1)
		}
		// Here replicas make checkpoints, since files go. Of what a group commits seldom, a node that is
		// back knows from there only.
		switch group := fmt.Sprintf("jepsen-retention-%d", l.rng.IntN(retentionGroups)); l.rng.IntN(8) {
		case 0:
			l.wire.commit(on, l.name, group, retentionTopic, q, pick(l.rng, l.r.cluster.Nodes), from)
		case 1, 2, 3:
			l.wire.committed(on, l.name, group, retentionTopic, q, pick(l.rng, l.r.cluster.Nodes))
		}
		l.wire.look(on, l.name, retentionTopic, q, pick(l.rng, l.r.cluster.Nodes), from, 64)
	}
}
