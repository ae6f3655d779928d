package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
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

// viewMessage answers 33: a record by the physical offset that clients hold.
func (b *Broker) viewMessage(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ViewMessageHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	number, pos := message.SplitPhysicalOffset(h.Offset)
	for _, part := range b.catalogue.Partitions() {
		if part.Number != number || part.Slot != r.slot && r.slot != noSlot {
			continue
		}
		return b.atLeader(ctx, r, part.ID, forwardWait, true, func(context.Context) (*remoting.Command, error) {
			p, ok := b.partition(part.ID)
			if !ok {
				return nil, errNotHere
			}
			rec, err := p.store().Record(store.Position(pos))
			if errors.Is(err, store.ErrNotFound) {
				return r.refuse(remoting.SystemError, "no message at physical offset %d", h.Offset), nil
			}
			if err != nil {
				return nil, err
			}
			return r.ReplyWith(nil, rec), nil
		})
	}
	return r.refuse(remoting.SystemError, "no partition with number %d in %s", number, brokerName(r.slot))
}

// queryMessage answers 12: the records of a key in the slot's partition.
func (b *Broker) queryMessage(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueryMessageHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	topic, part, ok := b.find(h.Topic, r.slot, 0)
	if topic.Name == "" {
		return r.refuse(remoting.TopicNotExist, "topic %s does not exist", h.Topic)
	}
	if !ok {
		return r.refuse(remoting.QueryNotFound, "nothing here")
	}
	n := int(h.MaxNum)
	if h.Unique || n <= 0 || n > 64 {
		n = 32
	}
	return b.atLeader(ctx, r, part.ID, forwardWait, true, func(context.Context) (*remoting.Command, error) {
		p, ok := b.partition(part.ID)
		if !ok {
			return nil, errNotHere
		}
		recs, err := p.store().Lookup(h.Topic, h.Key, n, h.BeginTimestamp, h.EndTimestamp)
		if err != nil {
			return nil, err
		}
		var body []byte
		for _, rec := range recs {
			body = append(body, rec...)
		}
		if body == nil {
			return r.refuse(remoting.QueryNotFound, "no message of %s with key %s", h.Topic, h.Key), nil
		}
		return r.ReplyWith(remoting.QueryMessageReply{IndexLastUpdateTimestamp: time.Now().UnixMilli()}, body), nil
	})
}

// lockTTL is how long a queue stays locked without being asked for again.
const lockTTL = 60 * time.Second

// lockQueues answers 41 and 42. Locks are entries of the queue's partition, so
// they survive its leader.
func (b *Broker) lockQueues(ctx context.Context, r *request) *remoting.Command {
	var body remoting.LockBatch
	if err := remoting.DecodeBody(r.Body, &body); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(body.ConsumerGroup); err != nil {
		return r.failed(err)
	}
	byPart := make(map[uint64][]remoting.MessageQueue)
	for _, q := range body.MQSet {
		slot, ok := parseBrokerName(q.BrokerName)
		if !ok {
			continue
		}
		if _, part, ok := b.find(q.Topic, slot, q.QueueID); ok {
			byPart[part.ID] = append(byPart[part.ID], q)
		}
	}
	granted := []remoting.MessageQueue{}
	for id, qs := range byPart {
		sub := *r
		if len(byPart) > 1 {
			part := body
			part.MQSet = qs
			sub.Command = remoting.NewRequest(r.Code, nil)
			sub.Command.Body = remoting.EncodeBody(part)
		}
		reply := b.atLeader(ctx, &sub, id, forwardWait, true, func(ctx context.Context) (*remoting.Command, error) {
			return b.lockHere(ctx, &sub, id, &body, qs)
		})
		if r.forwarded && len(byPart) == 1 {
			return reply
		}
		var ok remoting.LockReply
		if reply != nil && reply.Code == remoting.OK && len(reply.Body) > 0 && remoting.DecodeBody(reply.Body, &ok) == nil {
			granted = append(granted, ok.LockOKMQSet...)
		}
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.LockReply{LockOKMQSet: granted}))
}

func (b *Broker) lockHere(ctx context.Context, r *request, id uint64, body *remoting.LockBatch, qs []remoting.MessageQueue) (*remoting.Command, error) {
	p, ok := b.partition(id)
	if !ok {
		return nil, errNotHere
	}
	queues := make([]message.Queue, len(qs))
	names := make(map[message.Queue]remoting.MessageQueue, len(qs))
	for i, q := range qs {
		queues[i] = message.Queue{Topic: q.Topic, ID: q.QueueID}
		names[queues[i]] = q
	}
	now := b.now().UnixMilli()
	if r.Code == remoting.UnlockBatchMQ {
		if _, err := p.propose(ctx, fsm.EncodeUnlock(nil, now, body.ConsumerGroup, body.ClientID, queues)); err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, nil), nil
	}
	v, err := p.propose(ctx, fsm.EncodeLock(nil, now, body.ConsumerGroup, body.ClientID, queues, lockTTL.Milliseconds()))
	if err != nil {
		return nil, err
	}
	granted := []remoting.MessageQueue{}
	for _, q := range v.(fsm.LockResult).Granted {
		granted = append(granted, names[q])
	}
	return r.ReplyWith(nil, remoting.EncodeBody(remoting.LockReply{LockOKMQSet: granted})), nil
}
