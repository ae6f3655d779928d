package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/remoting"
)

// comingTopics is how many names the topics have that come and go.
const comingTopics = 3

// topicsLoad creates, changes and deletes topics, asks every node for them, and puts
// messages in, which must be gone with their topic for ever.
var topicsLoad = Workload{
	Name: "topics", Does: "topics that come, change and go, with messages in them",
	Proves: []string{"P14"},
	start: func(r *run, p *part) error {
		const clients = 3
		for i := range clients {
			name := fmt.Sprintf("topics-%d", i)
			c := &comer{r: r, rng: r.o.Seed.Stream(name), wire: r.wire("jepsen-" + name), name: i}
			p.load(func(ctx context.Context) { c.run(ctx, newPace(p.rate, i, clients)) })
		}
		return nil
	},
	end: func(ctx context.Context, r *run) {
		w := r.wire("jepsen-topics-end")
		defer w.close()
		for i := range comingTopics {
			for _, n := range r.cluster.Nodes {
				count, ok := w.getTopic(ctx, "topics-end", comingTopic(i).Name, n)
				for try := 1; !ok && try < endTries && sleep(ctx, endPause); try++ {
					count, ok = w.getTopic(ctx, "topics-end", comingTopic(i).Name, n)
				}
				if count > 0 {
					w.notes(ctx, "topics-end", comingTopic(i), n)
				}
			}
		}
	},
}

// comingTopic has one partition, in the first slot.
func comingTopic(i int) Topic {
	return Topic{Name: fmt.Sprintf("jepsen-coming-%d", i), Partitions: 1, Queues: 1}
}

type comer struct {
	r    *run
	rng  *rand.Rand
	wire *wire
	name int
}

func (c *comer) run(ctx context.Context, pace *pace) {
	defer c.wire.close()
	process := "topics-" + c.r.nextProcess()
	for n := 0; pace.next(ctx); n++ {
		on := context.WithoutCancel(ctx)
		t := comingTopic(c.rng.IntN(comingTopics))
		node := pick(c.rng, c.r.cluster.Nodes)
		typ := history.OK
		x := c.rng.IntN(20)
		switch {
		case x < 2:
			typ = c.wire.putTopic(on, process, t.Name, 1+c.rng.IntN(4), node)
		case x < 3:
			typ = c.wire.change(on, history.Op{Process: process, F: history.DropTopic, Topic: t.Name, Node: node.Name}, node, 0,
				remoting.NewRequest(remoting.DeleteTopicInBroker, remoting.TopicHeader{Topic: t.Name}))
		case x < 10:
			c.wire.getTopic(on, process, t.Name, node)
		case x < 12:
			c.wire.notes(on, process, t, node)
		default:
			typ = c.wire.note(on, process, t, node, fmt.Sprintf("note-%d-%d", c.name, n))
		}
		if x < 3 && typ == history.OK { // at once: who answered knows of it, and who did not asks before it says that there is none
			if c.rng.IntN(2) == 0 {
				c.wire.routeTopic(on, process, t.Name, node)
			} else {
				c.wire.getTopic(on, process, t.Name, pick(c.rng, c.r.cluster.Nodes))
			}
		}
		if typ == history.Info {
			process = "topics-" + c.r.nextProcess()
		}
	}
}

// putTopic creates a topic in one partition, or changes how many queues it has.
func (w *wire) putTopic(ctx context.Context, process, name string, queues int, n *cluster.Node) history.Type {
	return w.change(ctx, history.Op{Process: process, F: history.PutTopic, Topic: name, Count: queues, Node: n.Name}, n, 0,
		remoting.NewRequest(remoting.UpdateAndCreateTopic, remoting.CreateTopicHeader{Topic: name, DefaultTopic: "TBW102", ReadQueueNums: int32(queues),
			WriteQueueNums: int32(queues), Perm: 6, TopicFilterType: "SINGLE_TAG", Partitions: 1}))
}

// getTopic asks a node how many queues a topic has; 0: there is none. The node asks the catalogue's leader first.
func (w *wire) getTopic(ctx context.Context, process, name string, n *cluster.Node) (int, bool) {
	return w.topic(ctx, process, name, n, remoting.NewRequest(remoting.GetTopicConfig, remoting.TopicHeader{Topic: name}), func(body []byte) (int32, error) {
		var c remoting.TopicConfig
		err := remoting.DecodeBody(body, &c)
		return c.ReadQueueNums, err
	})
}

// routeTopic is getTopic by what the node knows itself, unless it knows of no such topic.
func (w *wire) routeTopic(ctx context.Context, process, name string, n *cluster.Node) (int, bool) {
	return w.topic(ctx, process, name, n, remoting.NewRequest(remoting.GetRouteByTopic, remoting.RouteHeader{Topic: name}), func(body []byte) (queues int32, err error) {
		var route remoting.TopicRouteData
		err = remoting.DecodeBody(body, &route)
		for _, q := range route.QueueDatas {
			queues += q.ReadQueueNums
		}
		return queues, err
	})
}

func (w *wire) topic(ctx context.Context, process, name string, n *cluster.Node, req *remoting.Command, queues func(body []byte) (int32, error)) (int, bool) {
	op := history.Op{Process: process, Type: history.Invoke, F: history.GetTopic, Topic: name, Node: n.Name}
	w.r.history.Add(op)
	reply, typ, why := w.ask(ctx, n, 0, req)
	switch {
	case reply != nil && reply.Code == remoting.TopicNotExist:
		typ, why = history.OK, ""
	case typ == history.OK:
		count, err := queues(reply.Body)
		if op.Count = int(count); err != nil {
			typ, why = history.Fail, err.Error()
		}
	default:
		typ = history.Fail
	}
	op.Type, op.Error = typ, why
	w.r.history.Add(op)
	return op.Count, typ == history.OK
}

// slot asks for the one that a topic's partition is in.
func (w *wire) slot(ctx context.Context, name string, n *cluster.Node) (int, bool) {
	reply, typ, _ := w.ask(ctx, n, 0, remoting.NewRequest(remoting.GetRouteByTopic, remoting.RouteHeader{Topic: name}))
	if typ != history.OK {
		return 0, false
	}
	var route remoting.TopicRouteData
	if err := remoting.DecodeBody(reply.Body, &route); err != nil || len(route.QueueDatas) != 1 {
		return 0, false
	}
	slot, err := strconv.Atoi(route.QueueDatas[0].BrokerName[len("raftmq-"):])
	return slot, err == nil
}

// note puts a value into a topic's first queue.
func (w *wire) note(ctx context.Context, process string, t Topic, n *cluster.Node, value string) history.Type {
	slot, ok := w.slot(ctx, t.Name, n)
	if !ok {
		return history.Fail
	}
	h := remoting.SendHeader{ProducerGroup: "jepsen-wire", Topic: t.Name, DefaultTopic: "none", DefaultTopicQueueNums: 1, MaxReconsumeTimes: -1, BrokerName: fmt.Sprintf("raftmq-%d", slot)}
	req := remoting.NewRequest(remoting.SendMessageV2, h)
	req.Body = encode(value, smallest)
	return w.change(ctx, history.Op{Process: process, F: history.Note, Topic: t.Name, Values: []string{value}, Node: n.Name}, n, slot, req)
}

// notes reads a topic's first queue from its beginning to its end. A pull of an empty queue is answered as without a
// leader: then the leader is asked for the end.
func (w *wire) notes(ctx context.Context, process string, t Topic, n *cluster.Node) {
	op := history.Op{Process: process, Type: history.Invoke, F: history.Notes, Topic: t.Name, Node: n.Name}
	w.r.history.Add(op)
	op.Type, op.Error = history.Fail, "it has no route"
	if slot, ok := w.slot(ctx, t.Name, n); ok {
		op.Type, op.Error = history.OK, ""
		for next, how := int64(0), pullGiven; how == pullGiven; {
			var ms []pulled
			var why string
			q := wireQueue{t.Name, fmt.Sprintf("raftmq-%d", slot), slot, 0}
			ms, next, how, why = w.pullOf(ctx, n, q, "jepsen-notes", next)
			if how == pullFailed && next == 0 {
				end, typ, _ := w.offset(ctx, n, slot, remoting.NewRequest(remoting.GetMaxOffset, remoting.QueueHeader{Topic: q.topic, QueueID: q.id, BrokerName: q.broker}))
				if typ == history.OK && end == 0 {
					how = pullEnd
				}
			}
			for _, m := range ms {
				op.Values = append(op.Values, m.value)
			}
			if how == pullMoved || how == pullFailed {
				op.Type, op.Error, op.Values = history.Fail, why, nil
			}
		}
	}
	w.r.history.Add(op)
}
