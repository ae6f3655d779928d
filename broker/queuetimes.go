package broker

import (
	"context"
	"errors"
	"slices"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// storedMs is when the message at an offset was stored, Unix ms; 0 if it is not kept, or cannot
// be said.
func (p *partition) storedMs(q message.Queue, off message.Offset) int64 {
	es, err := p.store().Entries(q, off, 1)
	if err != nil {
		return 0
	}
	return es[0].StoredMs
}

// timeSpans answers 303: when the first, the last and the last consumed message of each
// queue were stored. Tools ask every broker name of a topic, and each answers for itself.
func (b *Broker) timeSpans(ctx context.Context, r *request) *remoting.Command {
	var h remoting.TopicOfGroupHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if r.slot == noSlot {
		r.slot = 0
	}
	t, part, refusal := b.locate(ctx, r, h.Topic, 0)
	if refusal != nil {
		return refusal
	}
	if part.ID == 0 {
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.TimeSpans{}))
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		var out remoting.TimeSpans
		for i := range t.WriteQueues {
			out.ConsumeTimeSpanSet = append(out.ConsumeTimeSpanSet, p.timeSpan(h.Group, message.Queue{Topic: h.Topic, ID: i}, b.atMs()))
		}
		return r.ReplyWith(nil, remoting.EncodeBody(out)), nil
	})
}

func (p *partition) timeSpan(group string, q message.Queue, now int64) remoting.TimeSpan {
	s := remoting.TimeSpan{MessageQueue: remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: q.ID, Topic: q.Topic}, MinTimestamp: -1, MaxTimestamp: -1, ConsumeTimestamp: -1}
	lo, hi := p.store().Bounds(q)
	if lo == hi {
		return s
	}
	s.MinTimestamp, s.MaxTimestamp = p.storedMs(q, lo), p.storedMs(q, hi-1)
	s.ConsumeTimestamp = s.MinTimestamp
	off, ok := p.machine.Committed(group, q)
	if ok && off > lo {
		s.ConsumeTimestamp = p.storedMs(q, off-1)
	}
	if off = max(off, lo); off < hi {
		s.DelayTime = max(0, now-p.storedMs(q, off))
	}
	return s
}

// maxQueueEntries bounds what 321 is answered with.
const maxQueueEntries = 4096

// consumeQueue answers 321: where the messages of a queue lie.
func (b *Broker) consumeQueue(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumeQueueHeader
	q, part, refusal := b.queueRequest(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	var want wants
	var out remoting.ConsumeQueue
	if h.ConsumerGroup != "" {
		sub, bad := b.clients.subscription(h.ConsumerGroup, h.Topic, 0)
		if bad != 0 {
			out.FilterData = h.ConsumerGroup + "@" + h.Topic + " is not online!"
		} else {
			out.SubscriptionData = &sub
			want, _ = b.wanted(sub.ExpressionType, sub.SubString)
		}
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		lo, hi := p.store().Bounds(q)
		out.MinQueueIndex, out.MaxQueueIndex, out.QueueData = int64(lo), int64(hi), nil
		es, err := p.store().Entries(q, message.Offset(h.Index), int(min(h.Count, maxQueueEntries)))
		if err != nil && !errors.Is(err, store.ErrOffset) {
			return nil, err
		}
		var only *store.Filter
		if want != nil {
			only = want()
		}
		for _, e := range es {
			one := remoting.ConsumeEntry{PhysicOffset: p.machine.PhysicalOffset(e.Position), PhysicSize: int32(e.Size), TagsCode: int64(e.TagHash)}
			one.Eval = only == nil || only.Tag == nil || only.Tag(e.TagHash)
			out.QueueData = append(out.QueueData, one)
		}
		return r.ReplyWith(nil, remoting.EncodeBody(out)), nil
	})
}

// brokerConsumeStats answers 317: where every group is in the partitions of a slot. An answer that
// would not fit a frame is refused.
func (b *Broker) brokerConsumeStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.BrokerConsumeStatsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if r.slot == noSlot {
		r.slot = 0
	}
	if err := b.catchUp(ctx); err != nil {
		return r.refuse(remoting.ServiceNotAvailable, "the catalogue has no leader")
	}
	out := remoting.ConsumeStatsList{BrokerAddr: b.addrs.Listeners[min(r.slot, len(b.addrs.Listeners)-1)]}
	bytes := 0
	for _, g := range b.catalogue.Groups() {
		var all []remoting.ConsumeStats
		for _, topic := range g.Topics {
			t, ok := b.catalogue.Topic(topic)
			i := slices.IndexFunc(t.Partitions, func(p fsm.Partition) bool { return p.Slot == r.slot })
			if !ok || i < 0 || h.Ordered && !t.Order {
				continue
			}
			sub := *r
			sub.Command = remoting.NewRequest(remoting.GetConsumeStats, remoting.ConsumeStatsHeader{ConsumerGroup: g.Name, Topic: topic})
			sub.SetExt(extRetries, withRetries)
			reply := b.atEnd(ctx, &sub, t.Partitions[i], func(_ context.Context, p *partition) (*remoting.Command, error) {
				return sub.ReplyWith(nil, remoting.EncodeBody(p.consumeStats(t, g, withRetries))), nil
			})
			if reply.Code == remoting.TopicNotExist {
				continue // deleted meanwhile
			}
			if reply.Code != remoting.OK {
				return r.refuse(reply.Code, "group %s in topic %s: %s", g.Name, topic, reply.Remark)
			}
			if bytes += len(reply.Body); bytes > maxPullBytes {
				return r.refuse(remoting.SystemError, "the offsets of all groups take more than %d bytes: ask for one group after the other (consumerProgress -g)", maxPullBytes)
			}
			var s remoting.ConsumeStats
			if err := remoting.DecodeBody(reply.Body, &s); err != nil {
				return r.failed(err)
			}
			for _, o := range s.OffsetTable {
				out.TotalDiff += o.BrokerOffset - o.ConsumerOffset
				out.TotalInflightDiff += o.PullOffset - o.ConsumerOffset
			}
			all = append(all, s)
		}
		if len(all) > 0 {
			out.ConsumeStatsList = append(out.ConsumeStatsList, map[string][]remoting.ConsumeStats{g.Name: all})
		}
	}
	return r.ReplyWith(nil, remoting.EncodeBody(out))
}
