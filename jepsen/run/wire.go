package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/message"
	"raftmq/remoting"
)

// wire speaks the protocol to the nodes that its user names, one request each, and
// tries nothing again. It is one client to all nodes. Not safe for concurrent use.
type wire struct {
	r     *run
	id    string        // its client id
	wait  time.Duration // for an answer, until it counts as none
	conns map[string]*remoting.Conn
}

// wireWait is how long most clients wait for an answer.
const wireWait = 3 * time.Second

func (r *run) wire(id string) *wire {
	return &wire{r: r, id: id, wait: wireWait, conns: make(map[string]*remoting.Conn)}
}

// close hangs up.
func (w *wire) close() {
	for _, c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// wireQueue is a queue as the wire names it.
type wireQueue struct {
	topic, broker string
	slot          int
	id            int32
}

// wireQueue is that of a number. The bundled client counts by queue id, then by broker.
func (t Topic) wireQueue(number int) wireQueue {
	slot := number % t.Partitions
	return wireQueue{t.Name, fmt.Sprintf("raftmq-%d", slot), slot, int32(number / t.Partitions)}
}

// ask sends a request to a node's listener of a slot. OK: it was done. Fail: the
// node refused, or never had it. Info: nobody knows.
func (w *wire) ask(ctx context.Context, n *cluster.Node, slot int, req *remoting.Command) (reply *remoting.Command, t history.Type, why string) {
	ctx, cancel := context.WithTimeout(ctx, w.wait)
	defer cancel()
	c, err := w.conn(ctx, n, n.Listeners[slot])
	if err != nil {
		return nil, history.Fail, err.Error()
	}
	req.Language, req.Version = remoting.Go, 317
	req.SetExt("rmq", "1")
	reply, err = c.Call(ctx, req)
	if err != nil {
		c.Close()
		delete(w.conns, n.Listeners[slot])
		if errors.Is(err, remoting.ErrNotSent) {
			return nil, history.Fail, err.Error()
		}
		return nil, history.Info, err.Error()
	}
	return reply, wireOutcome(reply.Code), reply.Remark
}

// wireOutcome is what a reply says of what was asked.
func wireOutcome(code remoting.Code) history.Type {
	switch code {
	case remoting.OK:
		return history.OK
	case remoting.OutcomeUnknown, remoting.SystemError:
		return history.Info
	}
	return history.Fail
}

// conn is the connection to a listener, on which the node has been told who this is.
func (w *wire) conn(ctx context.Context, n *cluster.Node, addr string) (*remoting.Conn, error) {
	if c := w.conns[addr]; c != nil {
		if c.Err() == nil {
			return c, nil
		}
		delete(w.conns, addr)
	}
	c, err := remoting.Dial(ctx, addr, remoting.DialOptions{Dial: w.r.cluster.Only(n)})
	if err != nil {
		return nil, err
	}
	beat := remoting.NewRequest(remoting.Heartbeat, nil)
	beat.Body = remoting.EncodeBody(remoting.HeartbeatData{ClientID: w.id, ProducerDataSet: []remoting.ProducerData{{GroupName: "jepsen-wire"}}})
	reply, err := c.Call(ctx, beat)
	if err == nil && reply.Code != remoting.OK {
		err = fmt.Errorf("heartbeat: %d %s", reply.Code, reply.Remark)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	w.conns[addr] = c
	return c, nil
}

// offset asks for one number of a queue: 30, 31, 14.
func (w *wire) offset(ctx context.Context, n *cluster.Node, slot int, req *remoting.Command) (int64, history.Type, string) {
	reply, t, why := w.ask(ctx, n, slot, req)
	if t != history.OK {
		return 0, history.Fail, why // nothing was to be done
	}
	var h remoting.OffsetReply
	if err := h.Decode(reply.Ext); err != nil {
		return 0, history.Fail, err.Error()
	}
	return h.Offset, history.OK, ""
}

// bounds asks a node for a queue's, and writes the two lines of it.
func (w *wire) bounds(ctx context.Context, process string, t Topic, number int, n *cluster.Node) (history.Range, bool) {
	q := t.wireQueue(number)
	op := history.Op{Process: process, Type: history.Invoke, F: history.End, Queue: t.Queue(number), Node: n.Name}
	w.r.history.Add(op)
	h := remoting.QueueHeader{Topic: q.topic, QueueID: q.id, BrokerName: q.broker}
	var g history.Range
	// The minimum first: the end cannot be below it.
	g.Min, op.Type, op.Error = w.offset(ctx, n, q.slot, remoting.NewRequest(remoting.GetMinOffset, h))
	if op.Type == history.OK {
		g.End, op.Type, op.Error = w.offset(ctx, n, q.slot, remoting.NewRequest(remoting.GetMaxOffset, h))
	}
	if op.Type == history.OK {
		op.Range = &g
	}
	w.r.history.Add(op)
	return g, op.Type == history.OK
}

// look reads a queue through a node from an offset to its end, at most so many
// messages, and writes the two lines of it.
func (w *wire) look(ctx context.Context, process string, t Topic, number int, n *cluster.Node, from int64, most int) {
	op := history.Op{Process: process, Type: history.Invoke, F: history.Look, Queue: t.Queue(number), Node: n.Name, Range: &history.Range{Min: from}}
	w.r.history.Add(op)
	op.Range = nil
	for next := from; ; {
		ms, after, at, why := w.pull(ctx, n, t, number, "jepsen-look", next)
		for _, m := range ms {
			op.Messages = append(op.Messages, history.Message{Queue: op.Queue, Offset: m.offset, Value: m.value})
		}
		switch {
		case at == pullEnd:
			op.Type, op.Range = history.OK, &history.Range{Min: from, End: after}
		case at == pullMoved:
			op.Type, op.Range, op.Error = history.Fail, &history.Range{Min: after}, "not kept any more"
		case at == pullFailed:
			op.Type, op.Error = history.Fail, why
		case len(op.Messages) >= most:
			op.Type = history.OK
		default:
			next = after
			continue
		}
		w.r.history.Add(op)
		return
	}
}

// How a pull ended.
const (
	pullGiven  = iota // messages
	pullEnd           // the queue ends there
	pullMoved         // that is not kept any more; goes on at next
	pullFailed        // not answered, or there is no leader to say
)

type pulled struct {
	offset, physical int64
	times            int    // how often its group was given it before
	value            string // of bytes that nobody sent it begins with "!"
}

// pull asks once, without waiting for messages to come. next is where it goes on.
func (w *wire) pull(ctx context.Context, n *cluster.Node, t Topic, number int, group string, from int64) (ms []pulled, next int64, how int, why string) {
	return w.pullOf(ctx, n, t.wireQueue(number), group, from)
}

func (w *wire) pullOf(ctx context.Context, n *cluster.Node, q wireQueue, group string, from int64) (ms []pulled, next int64, how int, why string) {
	reply, typ, why := w.ask(ctx, n, q.slot, remoting.NewRequest(remoting.PullMessage, remoting.PullHeader{ConsumerGroup: group, Topic: q.topic, QueueID: q.id,
		QueueOffset: from, MaxMsgNums: 32, SysFlag: remoting.PullSubscription, Subscription: "*", BrokerName: q.broker}))
	if reply == nil {
		return nil, from, pullFailed, why
	}
	var h remoting.PullReply
	if typ == history.OK || reply.Code == remoting.PullNotFound || reply.Code == remoting.PullOffsetMoved {
		if err := h.Decode(reply.Ext); err != nil {
			return nil, from, pullFailed, err.Error()
		}
	}
	switch {
	case reply.Code == remoting.PullOffsetMoved && h.NextBeginOffset > from:
		return nil, h.NextBeginOffset, pullMoved, why
	case reply.Code == remoting.PullOffsetMoved && h.NextBeginOffset == h.MaxOffset:
		return nil, h.MaxOffset, pullEnd, "" // from lies beyond the end
	case reply.Code == remoting.PullNotFound && h.MaxOffset == from && from > 0:
		return nil, from, pullEnd, "" // of an empty queue it says the same as without a leader
	case typ != history.OK:
		return nil, from, pullFailed, fmt.Sprintf("%d %s", reply.Code, why)
	}
	for body := reply.Body; len(body) > 0; {
		rec, err := message.ParseRecord(body)
		if err != nil {
			return nil, from, pullFailed, err.Error()
		}
		p := pulled{int64(rec.QueueOffset()), rec.PhysicalOffset(), int(rec.ReconsumeTimes()), valueIn(rec)}
		if rec.Verify() != nil {
			p.value = fmt.Sprintf("!a record that fails its checksum, body %.16q", rec.Body())
		}
		ms = append(ms, p)
		body = body[len(rec):]
	}
	return ms, h.NextBeginOffset, pullGiven, ""
}
