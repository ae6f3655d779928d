package broker

import (
	"context"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// queueRequest finds the partition of a request that names a queue.
func (b *Broker) queueRequest(r *request, topic string, queue int32, broker string) (fsm.Partition, *remoting.Command) {
	r.slot = r.slotOf(broker)
	t, part, ok := b.find(topic, r.slot, queue)
	switch {
	case t.Name == "":
		return part, r.refuse(remoting.TopicNotExist, "topic %s does not exist", topic)
	case !ok, queue < 0, queue >= max(t.ReadQueues, t.WriteQueues):
		return part, r.refuse(remoting.InvalidParameter, "queue %d of topic %s in %s does not exist", queue, topic, brokerName(r.slot))
	}
	return part, nil
}

// atEnd runs read on the leader, when all that was acknowledged is applied.
func (b *Broker) atEnd(ctx context.Context, r *request, part fsm.Partition, read func(p *partition) (*remoting.Command, error)) *remoting.Command {
	return b.atLeader(ctx, r, part.ID, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
		p, ok := b.partition(part.ID)
		if !ok {
			return nil, errNotHere
		}
		ctx, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		if err := p.replica.ReadIndex(ctx); err != nil {
			return nil, errNotHere
		}
		return read(p)
	})
}

// queryOffset answers 14: where a group goes on.
func (b *Broker) queryOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueryOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	part, refusal := b.queueRequest(r, h.Topic, h.QueueID, h.BrokerName)
	if refusal != nil {
		return refusal
	}
	q := message.Queue{Topic: h.Topic, ID: h.QueueID}
	return b.atEnd(ctx, r, part, func(p *partition) (*remoting.Command, error) {
		if off, ok := p.machine.Committed(h.ConsumerGroup, q); ok {
			return r.ReplyWith(remoting.OffsetReply{Offset: int64(off)}, nil), nil
		}
		return r.refuse(remoting.QueryNotFound, "group %s has no offset in queue %d of %s", h.ConsumerGroup, h.QueueID, h.Topic), nil
	})
}

// commitOffset answers 15.
func (b *Broker) commitOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.UpdateOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	part, refusal := b.queueRequest(r, h.Topic, h.QueueID, h.BrokerName)
	if refusal != nil {
		return refusal
	}
	if err := message.CheckGroup(h.ConsumerGroup); err != nil {
		return r.failed(err)
	}
	return b.commit(ctx, r, h.ConsumerGroup, part, message.Queue{Topic: h.Topic, ID: h.QueueID}, h.CommitOffset, !r.IsOneway())
}

func (b *Broker) commit(ctx context.Context, r *request, group string, part fsm.Partition, q message.Queue, off int64, wait bool) *remoting.Command {
	send := *r
	if r.Code != remoting.UpdateConsumerOffset { // the commit inside a pull
		send.Command = remoting.NewRequest(remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{
			ConsumerGroup: group, Topic: q.Topic, QueueID: q.ID, CommitOffset: off,
		})
	}
	return b.atLeader(ctx, &send, part.ID, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
		p, ok := b.partition(part.ID)
		if !ok {
			return nil, errNotHere
		}
		var done chan error
		if wait {
			done = make(chan error, 1)
		}
		err := p.commits.add(fsm.CommitOffset{Group: group, Queue: q, Offset: message.Offset(off), Owner: r.client}, done)
		if err == nil && wait {
			select {
			case err = <-done:
			case <-ctx.Done():
				err = errNotHere // it is raised again by the next commit
			}
		}
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, nil), nil
	})
}

// queueBound answers 30, 31 and 32.
func (b *Broker) queueBound(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueueHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	part, refusal := b.queueRequest(r, h.Topic, h.QueueID, h.BrokerName)
	if refusal != nil {
		return refusal
	}
	q := message.Queue{Topic: h.Topic, ID: h.QueueID}
	return b.atEnd(ctx, r, part, func(p *partition) (*remoting.Command, error) {
		lo, hi := p.store().Bounds(q)
		switch r.Code {
		case remoting.GetMaxOffset:
			return r.ReplyWith(remoting.OffsetReply{Offset: int64(hi)}, nil), nil
		case remoting.GetMinOffset:
			return r.ReplyWith(remoting.OffsetReply{Offset: int64(lo)}, nil), nil
		}
		if lo == hi {
			return r.ReplyWith(remoting.TimestampReply{Timestamp: -1}, nil), nil
		}
		batch, err := p.store().Read(q, lo, 1, 1, nil)
		if err != nil {
			return nil, err
		}
		rec, err := message.ParseRecord(batch.Records)
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(remoting.TimestampReply{Timestamp: rec.StoreTimestamp()}, nil), nil
	})
}

// searchOffset answers 29.
func (b *Broker) searchOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.SearchOffsetHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	part, refusal := b.queueRequest(r, h.Topic, h.QueueID, h.BrokerName)
	if refusal != nil {
		return refusal
	}
	return b.atEnd(ctx, r, part, func(p *partition) (*remoting.Command, error) {
		off, err := p.store().SeekTime(message.Queue{Topic: h.Topic, ID: h.QueueID}, h.Timestamp, h.Upper)
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(remoting.OffsetReply{Offset: int64(off)}, nil), nil
	})
}
