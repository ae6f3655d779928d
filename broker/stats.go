package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// eachPartition runs read at the leader of each of the topic's partitions, when
// all that was acknowledged is applied there, and hands over the bodies. A request
// that came in on a slot of ours is answered for the whole topic; one that was
// forwarded for its slot only.
func (b *Broker) eachPartition(ctx context.Context, r *request, topic string, read func(context.Context, fsm.Topic, *partition) (*remoting.Command, error), take func(body []byte) error) error {
	t, refusal := b.topic(ctx, r, topic)
	if refusal != nil {
		return errReply{refusal}
	}
	for _, part := range t.Partitions {
		if r.forwarded && part.Slot != r.slot {
			continue
		}
		sub := *r
		sub.slot = part.Slot
		reply := b.atEnd(ctx, &sub, part, func(ctx context.Context, p *partition) (*remoting.Command, error) { return read(ctx, t, p) })
		if reply.Code != remoting.OK {
			return errReply{reply}
		}
		if err := take(reply.Body); err != nil {
			return err
		}
	}
	return nil
}

// errReply is a refusal as an error.
type errReply struct{ *remoting.Command }

func (e errReply) Error() string { return e.Remark }

func (r *request) orReply(err error, body any) *remoting.Command {
	var e errReply
	if errors.As(err, &e) {
		return e.Command
	}
	if err != nil {
		return r.failed(err)
	}
	return r.ReplyWith(nil, remoting.EncodeBody(body))
}

// gather is a take that lays the tables of queues over each other.
func gather[V any](all map[remoting.MessageQueue]V, part any, table func() map[remoting.MessageQueue]V) func([]byte) error {
	return func(body []byte) error {
		if err := remoting.DecodeBody(body, part); err != nil {
			return err
		}
		maps.Copy(all, table())
		return nil
	}
}

// named is a queue of p as clients name it.
func (p *partition) named(id int32) remoting.MessageQueue {
	return remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: id, Topic: p.desc.Topic}
}

// topicStats answers 202.
func (b *Broker) topicStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.TopicHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if group, ok := lettersOf(h.Topic); ok {
		return b.letterStats(ctx, r, h.Topic, group)
	}
	var part remoting.TopicStats
	out := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
	err := b.eachPartition(ctx, r, h.Topic, func(_ context.Context, t fsm.Topic, p *partition) (*remoting.Command, error) {
		part := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
		for i := range max(t.ReadQueues, t.WriteQueues) {
			part.OffsetTable[p.named(i)] = p.boundsOf(message.Queue{Topic: t.Name, ID: i})
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
	}, gather(out.OffsetTable, &part, func() map[remoting.MessageQueue]remoting.TopicOffset { return part.OffsetTable }))
	if err == nil {
		out.TopicPutTps = b.rateFor(ctx, r, topicPuts, h.Topic)
	}
	return r.orReply(err, out)
}

// boundsOf is where a queue begins and ends, and when the last of it was stored.
func (p *partition) boundsOf(q message.Queue) remoting.TopicOffset {
	lo, hi := p.store().Bounds(q)
	o := remoting.TopicOffset{MinOffset: int64(lo), MaxOffset: int64(hi)}
	if hi > lo {
		o.LastUpdateTimestamp = p.storedMs(q, hi-1)
	}
	return o
}

// letterStats is topicStats of a group's retries or dead letters, whose queues are in the partitions of the topics that it
// consumes.
func (b *Broker) letterStats(ctx context.Context, r *request, topic, group string) *remoting.Command {
	g, refusal := b.group(ctx, r, group)
	if refusal != nil {
		return r.refuse(remoting.TopicNotExist, "topic %s does not exist: %s", topic, refusal.Remark)
	}
	out := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
	for slot, ids := range g.Retry {
		if r.forwarded && slot != r.slot {
			continue
		}
		for j, id := range ids {
			if r.forwarded && r.Ext[extPartition] != strconv.FormatUint(id, 10) {
				continue
			}
			name := remoting.MessageQueue{BrokerName: brokerName(slot), QueueID: int32(j), Topic: topic}
			out.OffsetTable[name] = remoting.TopicOffset{}
			desc, ok := b.catalogue.Partition(id)
			if !ok { // its topic is gone
				continue
			}
			sub := *r
			sub.Command, sub.slot = remoting.NewRequest(r.Code, remoting.TopicHeader{Topic: topic}), slot
			sub.SetExt(extPartition, strconv.FormatUint(id, 10))
			reply := b.atEnd(ctx, &sub, desc, func(_ context.Context, p *partition) (*remoting.Command, error) {
				part := remoting.TopicStats{OffsetTable: map[remoting.MessageQueue]remoting.TopicOffset{name: p.boundsOf(message.Queue{Topic: topic, ID: int32(j)})}}
				return sub.ReplyWith(nil, remoting.EncodeBody(part)), nil
			})
			if reply.Code == remoting.TopicNotExist {
				continue // deleted meanwhile
			}
			if reply.Code != remoting.OK {
				return r.refuse(reply.Code, "%s", reply.Remark)
			}
			var part remoting.TopicStats
			if err := remoting.DecodeBody(reply.Body, &part); err != nil {
				return r.failed(err)
			}
			maps.Copy(out.OffsetTable, part.OffsetTable)
		}
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}

// What a request for a group's figures in one topic asks of its retry queues too, which
// are in the topic's partitions.
const (
	extRetries  = "_retries"
	withRetries = "1" // those in which something is or was
	onlyRetries = "2" // all, and the topic's queues not
)

// consumeStats answers 208: where a group is in the queues of a topic, or of all that it
// ever subscribed to and in its retries. What waits for its delay is in no queue yet, and
// counts from when it is due, as in RocketMQ.
func (b *Broker) consumeStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumeStatsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g, refusal := b.group(ctx, r, h.ConsumerGroup)
	if refusal != nil {
		return refusal
	}
	topics, retries := []string{h.Topic}, r.Ext[extRetries]
	switch h.Topic {
	case "":
		topics, retries = g.Topics, withRetries
	case message.RetryTopic(g.Name):
		topics, retries = g.Topics, onlyRetries
	}
	var part remoting.ConsumeStats
	out := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
	for _, topic := range topics {
		sub := *r
		sub.Command = remoting.NewRequest(r.Code, remoting.ConsumeStatsHeader{ConsumerGroup: g.Name, Topic: topic})
		if retries != "" {
			sub.SetExt(extRetries, retries)
		}
		err := b.eachPartition(ctx, &sub, topic, func(_ context.Context, t fsm.Topic, p *partition) (*remoting.Command, error) {
			return r.ReplyWith(nil, remoting.EncodeBody(p.consumeStats(t, g, retries))), nil
		}, gather(out.OffsetTable, &part, func() map[remoting.MessageQueue]remoting.OffsetWrapper { return part.OffsetTable }))
		var e errReply
		if errors.As(err, &e) && e.Code == remoting.TopicNotExist && h.Topic != topic {
			continue // deleted meanwhile
		}
		if err != nil {
			return r.orReply(err, nil)
		}
	}
	out.ConsumeTps = b.rateFor(ctx, r, groupGets, h.Topic+"@"+g.Name)
	return r.orReply(nil, out)
}

// rateFor is a rate of the last minute in the slot that a stock tool asked: it adds those of all broker names
// together. Clients of ours have no use for it.
func (b *Broker) rateFor(ctx context.Context, r *request, name, key string) float64 {
	if r.forwarded || r.ours() || r.slot == noSlot {
		return 0
	}
	s, _ := b.tally(ctx, r, remoting.StatsHeader{Name: name, Key: key})
	return s.Minute.TPS
}

// consumeStats is where a group is in p's queues.
func (p *partition) consumeStats(t fsm.Topic, g fsm.Group, retries string) remoting.ConsumeStats {
	out := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
	add := func(q message.Queue, evenUnused bool) {
		lo, hi := p.store().Bounds(q)
		off, ok := p.machine.Committed(g.Name, q)
		if !ok {
			off = lo
		}
		if ok || hi > 0 || evenUnused {
			name := remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: q.ID, Topic: q.Topic}
			w := remoting.OffsetWrapper{BrokerOffset: int64(hi), ConsumerOffset: int64(off), PullOffset: int64(off)}
			if off > lo {
				w.LastTimestamp = p.storedMs(q, off-1)
			}
			out.OffsetTable[name] = w
		}
	}
	if retries != onlyRetries {
		for i := range t.ReadQueues {
			add(message.Queue{Topic: t.Name, ID: i}, true)
		}
	}
	if j := slices.Index(g.Retry[p.desc.Slot], p.desc.ID); j >= 0 && retries != "" {
		add(message.Queue{Topic: message.RetryTopic(g.Name), ID: int32(j)}, retries == onlyRetries)
	}
	return out
}

// resetOffset answers 222: an operator moves a group, in one queue of the slot or
// in all of the topic. The name server's port has no slot, so no single queue.
func (b *Broker) resetOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ResetOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(h.Group); err != nil {
		return r.failed(err)
	}
	reset := func(ctx context.Context, p *partition, from, to int32) (*remoting.Command, error) {
		part := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
		for i := from; i < to; i++ {
			off, err := p.reset(ctx, &h, message.Queue{Topic: h.Topic, ID: i}, b.atMs())
			if err != nil && i > from {
				err = fmt.Errorf("%w: %d queues were moved, then: %v", raftlog.ErrUnknownOutcome, i-from, err)
			}
			if err != nil {
				return nil, err
			}
			part.OffsetTable[p.named(i)] = int64(off)
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part)), nil
	}
	if h.QueueID >= 0 && r.slot == noSlot {
		return r.refuse(remoting.InvalidParameter, "queue %d of topic %s: there is one in each slot, and this port is of none; nothing was moved", h.QueueID, h.Topic)
	}
	if h.QueueID >= 0 {
		t, desc, refusal := b.locate(ctx, r, h.Topic, h.QueueID)
		if refusal == nil && (desc.ID == 0 || h.QueueID >= t.ReadQueues) {
			refusal = r.refuse(remoting.InvalidParameter, "queue %d of topic %s: it has %d", h.QueueID, h.Topic, t.ReadQueues)
		}
		if refusal != nil {
			return refusal
		}
		return b.atEnd(ctx, r, desc, func(ctx context.Context, p *partition) (*remoting.Command, error) {
			return reset(ctx, p, h.QueueID, h.QueueID+1)
		})
	}
	var part remoting.ResetOffsetBody
	out := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
	err := b.eachPartition(ctx, r, h.Topic, func(ctx context.Context, t fsm.Topic, p *partition) (*remoting.Command, error) {
		return reset(ctx, p, 0, t.ReadQueues)
	}, gather(out.OffsetTable, &part, func() map[remoting.MessageQueue]int64 { return part.OffsetTable }))
	if n := len(out.OffsetTable); err != nil && n > 0 { // what is answered counts for all of them
		return r.refuse(remoting.SystemError, "%d queues were moved, then: %v; move the group again", n, err)
	}
	return r.orReply(err, out)
}

// reset moves the group in q to where h says, and returns where that is.
func (p *partition) reset(ctx context.Context, h *remoting.ResetOffsetHeader, q message.Queue, atMs int64) (message.Offset, error) {
	off := message.Offset(h.Offset)
	switch _, hi := p.store().Bounds(q); {
	case h.Offset >= 0:
	case h.Timestamp < 0:
		off = hi
	default:
		var err error
		if off, err = p.store().SeekTime(q, h.Timestamp, false); err != nil {
			return 0, err
		}
	}
	v, err := p.propose(ctx, fsm.EncodeReset(nil, atMs, h.Group, q, off))
	if err != nil {
		return 0, err
	}
	if off = v.(message.Offset); off < 0 {
		return 0, errNoRoom
	}
	p.turns() // a pull that is held is to tell it now
	return off, nil
}
