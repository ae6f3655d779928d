package run

import (
	"context"
	"fmt"
	"math/rand/v2"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/remoting"
)

var offsetsTopic = Topic{Name: "jepsen-offsets", Partitions: partitions, Queues: 1}

// keyOps is after how many operations a group is left for a new one: what is
// searched for an order must be short.
const keyOps = 90

// offsetsLoad commits, asks and moves offsets of groups that nobody consumes in,
// through all nodes. Every second group is never moved by an operator.
var offsetsLoad = Workload{
	Name: "offsets", Does: "commits, questions and resets of groups' offsets through all nodes",
	Proves: []string{"P8", "P8r"}, Topics: []Topic{offsetsTopic}, Sends: 0.2,
	start: func(r *run, p *part) error {
		const clients = 3
		s, err := r.sender(offsetsTopic, 0)
		if err != nil {
			return err
		}
		p.load(func(ctx context.Context) { s.run(ctx, newPace(p.rate/5, 0, 1)) })
		for i := range clients {
			o := &offsets{r: r, rng: r.o.Seed.Stream(fmt.Sprintf("offsets-%d", i)), name: i, wire: r.wire(fmt.Sprintf("jepsen-offsets-%d", i))}
			p.load(func(ctx context.Context) { o.run(ctx, newPace(p.rate*4/5, i, clients)) })
		}
		return nil
	},
}

type offsets struct {
	r    *run
	rng  *rand.Rand
	name int
	wire *wire
}

// run works on the same groups as the other clients at about the same time: each
// goes on to the next after its share of the operations.
func (o *offsets) run(ctx context.Context, pace *pace) {
	defer o.wire.close()
	process := "offsets-" + o.r.nextProcess()
	var ends [3]int64
	for n := 0; pace.next(ctx); n++ {
		on := context.WithoutCancel(ctx)
		q := o.rng.IntN(offsetsTopic.count())
		round := n / keyOps
		group := fmt.Sprintf("jepsen-offsets-%d", round)
		node := pick(o.rng, o.r.cluster.Nodes)
		if n%10 == 0 {
			if g, ok := o.wire.bounds(on, process, offsetsTopic, q, node); ok {
				ends[q] = g.End
			}
			continue
		}
		var t history.Type
		switch x := o.rng.IntN(10); {
		case x < 4:
			t = o.wire.committed(on, process, group, offsetsTopic, q, node)
		case x < 9 || round%2 == 0:
			to := o.rng.Int64N(ends[q] + 2)
			if o.rng.IntN(20) == 0 {
				to += 1 << 20 // far past the end
			}
			t = o.wire.commit(on, process, group, offsetsTopic, q, node, to)
		default:
			t = o.wire.reset(on, process, group, offsetsTopic, q, node, o.rng.Int64N(ends[q]+1))
		}
		if t == history.Info {
			process = "offsets-" + o.r.nextProcess()
		}
	}
}

// committed asks for a group's offset in one queue; -1: it has none.
func (w *wire) committed(ctx context.Context, process, group string, t Topic, number int, n *cluster.Node) history.Type {
	_, typ := w.groupOffset(ctx, process, group, t, number, n)
	return typ
}

func (w *wire) groupOffset(ctx context.Context, process, group string, t Topic, number int, n *cluster.Node) (int64, history.Type) {
	op := history.Op{Process: process, Type: history.Invoke, F: history.Committed, Group: group, Queue: t.Queue(number), Node: n.Name}
	w.r.history.Add(op)
	off, typ, why := w.askOffset(ctx, group, t, number, n)
	if op.Type = typ; typ == history.OK {
		op.Messages = []history.Message{{Queue: op.Queue, Offset: off}}
	} else {
		op.Error = why
	}
	w.r.history.Add(op)
	return off, typ
}

// askOffset is groupOffset without its lines.
func (w *wire) askOffset(ctx context.Context, group string, t Topic, number int, n *cluster.Node) (int64, history.Type, string) {
	q := t.wireQueue(number)
	reply, typ, why := w.ask(ctx, n, q.slot, remoting.NewRequest(remoting.QueryConsumerOffset,
		remoting.QueryOffsetHeader{ConsumerGroup: group, Topic: q.topic, QueueID: q.id, BrokerName: q.broker}))
	var h remoting.OffsetReply
	switch {
	case reply != nil && reply.Code == remoting.QueryNotFound:
		h.Offset, typ = -1, history.OK
	case typ != history.OK:
		typ = history.Fail
	default:
		if err := h.Decode(reply.Ext); err != nil {
			typ, why = history.Fail, err.Error()
		}
	}
	return h.Offset, typ, why
}

// commit raises a group's offset in one queue and waits for the answer.
func (w *wire) commit(ctx context.Context, process, group string, t Topic, number int, n *cluster.Node, to int64) history.Type {
	q := t.wireQueue(number)
	return w.change(ctx, history.Op{Process: process, F: history.Commit, Group: group, Queue: t.Queue(number), Node: n.Name,
		Places: []history.Place{{Queue: t.Queue(number), Offset: to}}}, n, q.slot, remoting.NewRequest(remoting.UpdateConsumerOffset,
		remoting.UpdateOffsetHeader{ConsumerGroup: group, Topic: q.topic, QueueID: q.id, CommitOffset: to, BrokerName: q.broker}))
}

// reset moves a group's offset in one queue as an operator does.
func (w *wire) reset(ctx context.Context, process, group string, t Topic, number int, n *cluster.Node, to int64) history.Type {
	q := t.wireQueue(number)
	return w.change(ctx, history.Op{Process: process, F: history.Reset, Group: group, Queue: t.Queue(number), Node: n.Name,
		Places: []history.Place{{Queue: t.Queue(number), Offset: to}}}, n, q.slot, remoting.NewRequest(remoting.InvokeBrokerToResetOffset,
		remoting.ResetOffsetHeader{Topic: q.topic, Group: group, Timestamp: -1, Force: true, QueueID: q.id, Offset: to}))
}

// change asks for something and writes the two lines of it.
func (w *wire) change(ctx context.Context, op history.Op, n *cluster.Node, slot int, req *remoting.Command) history.Type {
	op.Type = history.Invoke
	w.r.history.Add(op)
	_, op.Type, op.Error = w.ask(ctx, n, slot, req)
	w.r.history.Add(op)
	return op.Type
}
