package run

import "context"

var batchTopic = Topic{Name: "jepsen-batch", Partitions: partitions, Queues: 1}

// batchLoad is batches only, half of them by senders that lose replies.
var batchLoad = Workload{
	Name: "batch", Does: "batches of up to eight, stored side by side or not at all",
	Proves: []string{"P7", "P15"}, Topics: []Topic{batchTopic}, Sends: 1,
	start: func(r *run, p *part) error {
		const senders = 4
		for i := range senders {
			s, err := r.sender(batchTopic, i)
			if err != nil {
				return err
			}
			s.batches = 1
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate, i, senders)) })
		}
		p.watch(func(ctx context.Context) error { r.read(ctx, "batch-reader", batchTopic); return nil })
		return nil
	},
}
