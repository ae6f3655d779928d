package run

import (
	"context"
	"fmt"
	"math/rand/v2"

	"raftmq/client"
	"raftmq/jepsen/history"
)

var freshTopic = Topic{Name: "jepsen-fresh", Partitions: partitions, Queues: 1}

// freshLoad sends through one node and asks another at once what there is.
var freshLoad = Workload{
	Name: "fresh", Does: "sends through one node; ends and reads through another must know of them",
	Proves: []string{"P17"}, Topics: []Topic{freshTopic}, Sends: 0.5,
	start: func(r *run, p *part) error {
		const clients = 6
		for i := range clients {
			f, err := newFresh(r, i)
			if err != nil {
				return err
			}
			p.load(func(ctx context.Context) { f.run(ctx, newPace(p.rate/2, i, clients)) })
		}
		return nil
	},
}

// fresh is a client that has a sender at one node and looks through all of them.
type fresh struct {
	r       *run
	rng     *rand.Rand
	sender  *sender
	wire    *wire
	process string // of what is looked at
}

func newFresh(r *run, i int) (*fresh, error) {
	name := fmt.Sprintf("fresh-%d", i)
	p, err := r.pinned[i%nodes].NewProducer("jepsen-"+name, client.WithSendTimeout(impatient), client.WithRetries(client.RetryPolicy{}))
	if err != nil {
		return nil, err
	}
	s := &sender{r: r, topic: freshTopic, rng: r.o.Seed.Stream(name + "/sizes"), producer: p}
	s.next()
	return &fresh{r: r, rng: r.o.Seed.Stream(name), sender: s, wire: r.wire("jepsen-" + name), process: name}, nil
}

func (f *fresh) run(ctx context.Context, pace *pace) {
	defer f.wire.close()
	defer f.sender.close()
	ends := make(map[int]int64)
	for pace.next(ctx) {
		on := context.WithoutCancel(ctx)
		q := f.rng.IntN(freshTopic.count())
		if t := f.sender.send(on, 1, q); t == history.OK {
			ends[q] = max(ends[q], f.sender.last+1)
		}
		n := pick(f.rng, f.r.cluster.Nodes)
		switch f.rng.IntN(3) {
		case 0:
			f.wire.look(on, f.process, freshTopic, q, n, max(0, ends[q]-8), 64)
		default:
			if g, ok := f.wire.bounds(on, f.process, freshTopic, q, n); ok {
				ends[q] = max(ends[q], g.End)
			}
		}
	}
}
