package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"raftmq/client"
)

var freshTopic = Topic{Name: "jepsen-fresh", Partitions: partitions, Queues: 1}

// freshLoad sends through each node, and asks each node what there is. Who asks gives up
// soon, so that at any moment somebody has just asked: a leader that was stopped and
// replaced meanwhile must not answer them from what it had.
var freshLoad = Workload{
	Name: "fresh", Does: "sends through each node; ends and reads through any other must know of them",
	Proves: []string{"P17"}, Topics: []Topic{freshTopic}, Sends: 0.5,
	start: func(r *run, p *part) error {
		const lookers = 8
		for i := range nodes {
			s, err := newFreshSender(r, i)
			if err != nil {
				return err
			}
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate/2, i, nodes)) })
		}
		for i := range lookers {
			name := fmt.Sprintf("fresh-%d", i)
			f := &fresh{r: r, rng: r.o.Seed.Stream(name), wire: r.wire("jepsen-" + name), process: name}
			f.wire.wait = freshPatience
			p.load(func(ctx context.Context) { f.run(ctx, newPace(p.rate/2, i, lookers)) })
		}
		return nil
	},
}

const freshPatience = time.Second

// newFreshSender sends through one node only.
func newFreshSender(r *run, node int) (*sender, error) {
	name := fmt.Sprintf("fresh-sender-%d", node)
	p, err := r.pinned[node].NewProducer("jepsen-"+name, client.WithSendTimeout(impatient), client.WithRetries(client.RetryPolicy{}))
	if err != nil {
		return nil, err
	}
	s := &sender{r: r, topic: freshTopic, rng: r.o.Seed.Stream(name), producer: p, batches: 1 << 30}
	s.next()
	return s, nil
}

// fresh asks nodes for ends, and for what lies before them.
type fresh struct {
	r       *run
	rng     *rand.Rand
	wire    *wire
	process string
}

func (f *fresh) run(ctx context.Context, pace *pace) {
	defer f.wire.close()
	ends := make(map[int]int64)
	for pace.next(ctx) {
		on := context.WithoutCancel(ctx)
		q, n := f.rng.IntN(freshTopic.count()), pick(f.rng, f.r.cluster.Nodes)
		if f.rng.IntN(3) == 0 {
			f.wire.look(on, f.process, freshTopic, q, n, max(0, ends[q]-8), 64)
		} else if g, ok := f.wire.bounds(on, f.process, freshTopic, q, n); ok {
			ends[q] = max(ends[q], g.End)
		}
	}
}
