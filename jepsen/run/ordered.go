package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"raftmq/jepsen/history"
	"raftmq/remoting"
)

var orderedTopic = Topic{Name: "jepsen-ordered", Partitions: partitions, Queues: 1}

const orderedGroup = "jepsen-ordered"

// orderedLoad is a group that consumes under the queues' locks, as stock orderly
// consumers do, and members that commit without holding one.
var orderedLoad = Workload{
	Name: "ordered", Does: "a group that locks each queue before it consumes; who holds none tries to commit",
	Proves: []string{"P8", "P11"}, Topics: []Topic{orderedTopic}, Sends: 0.5,
	start: func(r *run, p *part) error {
		const clients = 6
		s, err := r.sender(orderedTopic, 0)
		if err != nil {
			return err
		}
		p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate/2, 0, 1)) })
		for i := range clients {
			name := fmt.Sprintf("ordered-%d", i)
			o := &orderly{r: r, rng: r.o.Seed.Stream(name), name: name, wire: r.wire("jepsen-" + name)}
			p.load(func(ctx context.Context) { o.run(ctx, newPace(p.rate/4, i, clients)) })
		}
		return nil
	},
}

// A holder does nothing before it goes on, for longestHold at most; one of longHolds for so long that leaders come and go.
const (
	longestHold = 300 * time.Millisecond
	longHolds   = 24
	longHold    = 6 * time.Second
)

// rest is how long a holder does nothing.
func (o *orderly) rest() time.Duration {
	if o.rng.IntN(longHolds) == 0 {
		return longHold/2 + time.Duration(o.rng.Int64N(int64(longHold/2)))
	}
	return time.Duration(o.rng.Int64N(int64(longestHold)))
}

// orderly is one consumer. All that it asks is written under its name, which is also
// whom a lock is given to.
type orderly struct {
	r    *run
	rng  *rand.Rand
	name string
	wire *wire
}

func (o *orderly) run(ctx context.Context, pace *pace) {
	defer o.wire.close()
	for pace.next(ctx) {
		on := context.WithoutCancel(ctx)
		q := o.rng.IntN(orderedTopic.count())
		if o.lock(on, q, history.Lock) {
			for range 1 + o.rng.IntN(3) {
				if !o.consume(on, q) {
					break
				}
			}
			sleep(ctx, o.rest())
			o.consume(on, q)
		} else if o.rng.IntN(3) > 0 {
			// It was not given the queue, but may have been.
			o.lock(on, q, history.Unlock)
			o.wire.commit(on, o.name, orderedGroup, orderedTopic, q, pick(o.rng, o.r.cluster.Nodes), o.rng.Int64N(1<<8))
			continue
		}
		for !o.lock(on, q, history.Unlock) {
			if !sleep(ctx, 100*time.Millisecond) {
				return
			}
		}
	}
}

// lock asks for a queue, or gives it back.
func (o *orderly) lock(ctx context.Context, q int, f string) bool {
	n, at := pick(o.rng, o.r.cluster.Nodes), orderedTopic.wireQueue(q)
	op := history.Op{Process: o.name, Type: history.Invoke, F: f, Group: orderedGroup, Queue: orderedTopic.Queue(q), Node: n.Name}
	o.r.history.Add(op)
	code := remoting.LockBatchMQ
	if f == history.Unlock {
		code = remoting.UnlockBatchMQ
	}
	req := remoting.NewRequest(code, nil)
	mq := remoting.MessageQueue{BrokerName: at.broker, QueueID: at.id, Topic: at.topic}
	req.Body = remoting.EncodeBody(remoting.LockBatch{ConsumerGroup: orderedGroup, ClientID: o.wire.id, MQSet: []remoting.MessageQueue{mq}})
	reply, typ, why := o.wire.ask(ctx, n, at.slot, req)
	if typ == history.OK && f == history.Lock {
		var got remoting.LockReply
		if err := remoting.DecodeBody(reply.Body, &got); err != nil || len(got.LockOKMQSet) == 0 {
			typ, why = history.Fail, "not granted"
		}
	}
	op.Type, op.Error = typ, why
	o.r.history.Add(op)
	return typ == history.OK
}

// consume handles a few messages from where the group is, and commits them. It
// reports whether all of it was answered.
func (o *orderly) consume(ctx context.Context, q int) bool {
	node := func() int { return o.rng.IntN(nodes) }
	from, typ := o.wire.groupOffset(ctx, o.name, orderedGroup, orderedTopic, q, o.r.cluster.Nodes[node()])
	if typ != history.OK {
		return false
	}
	from = max(0, from)
	ms, _, how, _ := o.wire.pull(ctx, o.r.cluster.Nodes[node()], orderedTopic, q, orderedGroup, from)
	if how != pullGiven || len(ms) == 0 {
		return how == pullEnd
	}
	op := history.Op{Process: o.name, Type: history.OK, F: history.Deliver, Group: orderedGroup, Node: o.name}
	for _, m := range ms[:min(len(ms), 1+o.rng.IntN(8))] {
		op.Messages = append(op.Messages, history.Message{Queue: orderedTopic.Queue(q), Offset: m.offset, Value: m.value})
	}
	o.r.history.Add(op)
	next := op.Messages[len(op.Messages)-1].Offset + 1
	return o.wire.commit(ctx, o.name, orderedGroup, orderedTopic, q, o.r.cluster.Nodes[node()], next) == history.OK
}
