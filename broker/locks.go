package broker

import (
	"context"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

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
