package broker

import (
	"context"
	"errors"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// eachPartition runs read at the leader of each of the topic's partitions and
// hands over the bodies. A request that came in on a slot of ours is answered for
// the whole topic; one that was forwarded for its slot only.
func (b *Broker) eachPartition(ctx context.Context, r *request, topic string, read func(fsm.Topic, *partition) *remoting.Command, take func(body []byte) error) error {
	t, ok := b.topic(ctx, topic)
	if !ok {
		return errReply{r.refuse(remoting.TopicNotExist, "topic %s does not exist", topic)}
	}
	for _, part := range t.Partitions {
		if r.forwarded && part.Slot != r.slot {
			continue
		}
		sub := *r
		sub.slot = part.Slot
		reply := b.atLeader(ctx, &sub, part.ID, forwardWait, true, func(context.Context) (*remoting.Command, error) {
			p, ok := b.partition(part.ID)
			if !ok {
				return nil, errNotHere
			}
			return read(t, p), nil
		})
		if reply.Code != remoting.OK {
			return errReply{reply}
		}
		if err := take(reply.Body); err != nil {
			return err
		}
	}
	return nil
}

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

// topicStats answers 202.
func (b *Broker) topicStats(ctx context.Context, r *request) *remoting.Command {
	out := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
	err := b.eachPartition(ctx, r, r.Ext["topic"], func(t fsm.Topic, p *partition) *remoting.Command {
		part := remoting.TopicStats{OffsetTable: make(map[remoting.MessageQueue]remoting.TopicOffset)}
		for i := range max(t.ReadQueues, t.WriteQueues) {
			lo, hi := p.store().Bounds(message.Queue{Topic: t.Name, ID: i})
			part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = remoting.TopicOffset{MinOffset: int64(lo), MaxOffset: int64(hi)}
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part))
	}, func(body []byte) error {
		var part remoting.TopicStats
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		for k, v := range part.OffsetTable {
			out.OffsetTable[k] = v
		}
		return nil
	})
	return r.orReply(err, out)
}

// consumeStats answers 208.
func (b *Broker) consumeStats(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ConsumeStatsHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	b.catchUp(ctx) // the group may have subscribed just now
	g, ok := b.catalogue.Group(h.ConsumerGroup)
	if !ok {
		return r.refuse(remoting.SubscriptionGroupNotExist, "group %s does not exist", h.ConsumerGroup)
	}
	topics := g.Topics
	if h.Topic != "" {
		topics = []string{h.Topic}
	}
	out := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
	for _, topic := range topics {
		sub := *r
		sub.Command = remoting.NewRequest(r.Code, remoting.ConsumeStatsHeader{ConsumerGroup: h.ConsumerGroup, Topic: topic})
		err := b.eachPartition(ctx, &sub, topic, func(t fsm.Topic, p *partition) *remoting.Command {
			part := remoting.ConsumeStats{OffsetTable: make(map[remoting.MessageQueue]remoting.OffsetWrapper)}
			for i := range t.ReadQueues {
				q := message.Queue{Topic: t.Name, ID: i}
				_, hi := p.store().Bounds(q)
				off, ok := p.machine.Committed(h.ConsumerGroup, q)
				if !ok {
					off, _ = p.store().Bounds(q)
				}
				part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = remoting.OffsetWrapper{BrokerOffset: int64(hi), ConsumerOffset: int64(off), PullOffset: int64(off)}
			}
			return r.ReplyWith(nil, remoting.EncodeBody(part))
		}, func(body []byte) error {
			var part remoting.ConsumeStats
			if err := remoting.DecodeBody(body, &part); err != nil {
				return err
			}
			for k, v := range part.OffsetTable {
				out.OffsetTable[k] = v
			}
			return nil
		})
		if err != nil {
			return r.orReply(err, nil)
		}
	}
	return r.orReply(nil, out)
}

// resetOffset answers 222: an operator moves a group.
func (b *Broker) resetOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ResetOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(h.Group); err != nil {
		return r.failed(err)
	}
	out := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
	one := h.QueueID >= 0 && r.slot != noSlot
	err := b.eachPartition(ctx, r, h.Topic, func(t fsm.Topic, p *partition) *remoting.Command {
		part := remoting.ResetOffsetBody{OffsetTable: make(map[remoting.MessageQueue]int64)}
		for i := range t.ReadQueues {
			if one && (i != h.QueueID || p.desc.Slot != r.slot) {
				continue
			}
			q := message.Queue{Topic: t.Name, ID: i}
			off := message.Offset(h.Offset)
			switch _, hi := p.store().Bounds(q); {
			case h.Offset >= 0:
			case h.Timestamp < 0:
				off = hi
			default:
				var err error
				if off, err = p.store().SeekTime(q, h.Timestamp, false); err != nil {
					return r.failed(err)
				}
			}
			v, err := p.propose(ctx, fsm.EncodeReset(nil, b.now().UnixMilli(), h.Group, q, off))
			if err != nil {
				return r.failed(err)
			}
			part.OffsetTable[remoting.MessageQueue{BrokerName: brokerName(p.desc.Slot), QueueID: i, Topic: t.Name}] = int64(v.(message.Offset))
		}
		return r.ReplyWith(nil, remoting.EncodeBody(part))
	}, func(body []byte) error {
		var part remoting.ResetOffsetBody
		if err := remoting.DecodeBody(body, &part); err != nil {
			return err
		}
		for k, v := range part.OffsetTable {
			out.OffsetTable[k] = v
		}
		return nil
	})
	return r.orReply(err, out)
}
