package run

import "context"

// logLoad is sends of all kinds to a topic of six queues, a reader of all of them,
// and a group of two of whom one leaves and comes back.
var logLoad = Workload{
	Name: "log", Does: "sends and batches, a reader, a group of two",
	Proves: []string{"P7", "P8", "P9", "P15"},
	Topics: []Topic{logTopic}, Groups: map[string]Topic{"jepsen-group": logTopic}, Sends: 1,
	start: func(r *run, p *part) error {
		const senders, members = 12, 2
		for i := range senders {
			s, err := r.sender(logTopic, i)
			if err != nil {
				return err
			}
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate, i, senders)) })
		}
		for i := range members {
			m, err := r.member("jepsen-group", logTopic, i, i > 0)
			if err != nil {
				return err
			}
			p.watch(m)
		}
		p.watch(func(ctx context.Context) error { r.read(ctx, "reader", logTopic); return nil })
		p.watch(func(ctx context.Context) error { r.ask(ctx, "jepsen-group", logTopic); return nil })
		return nil
	},
}
