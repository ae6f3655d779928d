package run

import (
	"context"
	"time"

	"raftmq/client"
)

var groupTopic = Topic{Name: "jepsen-members", Partitions: partitions, Queues: 2}

const membersGroup = "jepsen-members"

// groupLoad is a group of four: one stays, two leave and come back, and one is cut
// off without a word, handlers and all, again and again.
var groupLoad = Workload{
	Name: "group", Does: "a group whose members leave, come back, fail, and are cut off",
	Proves: []string{"P8", "P9"}, Topics: []Topic{groupTopic}, Groups: map[string]Topic{membersGroup: groupTopic}, Sends: 1,
	start: func(r *run, p *part) error {
		const senders = 4
		for i := range senders {
			s, err := r.sender(groupTopic, i)
			if err != nil {
				return err
			}
			p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate, i, senders)) })
		}
		for i := range 3 {
			m, err := r.member(membersGroup, groupTopic, i, i > 0)
			if err != nil {
				return err
			}
			p.watch(m)
		}
		p.watch(r.cutOff)
		p.watch(func(ctx context.Context) error { r.ask(ctx, membersGroup, groupTopic); return nil })
		return nil
	},
}

// cutOff runs one member after the other, each with a client of its own whose
// connections end while handlers run. What it handled and did not commit comes again.
func (r *run) cutOff(ctx context.Context) error {
	rng := r.o.Seed.Stream(membersGroup + "/cut-off")
	h := handler{r: r, group: membersGroup, topic: groupTopic, rng: r.o.Seed.Stream(membersGroup + "/cut-off/handler"), process: membersGroup + "/cut-off"}
	for ctx.Err() == nil {
		cl, err := client.Dial(ctx, client.WithEndpoints(r.cluster.Endpoints()...), client.WithDialer(r.cluster.Dial))
		if err != nil {
			sleep(ctx, awayFor)
			continue
		}
		s, err := cl.NewConsumer(membersGroup, client.WithStartAt(client.Earliest()), client.WithLocalRetry())
		if err == nil {
			err = s.Subscribe(groupTopic.Name, client.All())
		}
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.RunBatch(ctx, 32, h.handle) // fails when its client is closed
		}()
		sleep(ctx, shortStay+time.Duration(rng.Int64N(int64(longStay-shortStay))))
		cl.Close(context.WithoutCancel(ctx))
		<-ended
		sleep(ctx, awayFor)
	}
	return nil
}
