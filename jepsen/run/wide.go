package run

import (
	"context"
	"strconv"
)

// wideTopics have a Raft group for each partition.
const wideTopics = 16

// wideLoad is sends to many groups at once: what goes wrong in one of a hundred when a leader is stopped and goes on, or is slow, is
// likely to happen in one of these. It is left out of "mixed", whose runs it would make slower.
var wideLoad = Workload{
	Name: "wide", Does: "sends to 48 partitions, a Raft group each", Topics: wideNames(), Sends: 1, Unmixed: true,
	start: func(r *run, p *part) error {
		for i, t := range p.Topics {
			s, err := r.sender(t, i)
			if err != nil {
				return err
			}
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate, i, wideTopics)) })
		}
		return nil
	},
}

func wideNames() (out []Topic) {
	for i := range wideTopics {
		out = append(out, Topic{Name: "jepsen-wide-" + strconv.Itoa(i), Partitions: partitions, Queues: 1})
	}
	return out
}
