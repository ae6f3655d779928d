package broker

import (
	"context"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// lockTTL is how long a queue stays locked without being asked for again.
const lockTTL = 60 * time.Second

// lockerKey is where a connection keeps which client asked for locks on it last. Java's clients that use the VIP channel lock
// and commit on a connection on which they send no heartbeat.
type lockerKey struct{}

// clientOn is the client of a connection, as it said in a heartbeat, or else when it asked for locks.
func (b *Broker) clientOn(c *remoting.ServerConn) string {
	if id := b.clients.clientOf(c); id != "" {
		return id
	}
	id, _ := c.Get(lockerKey{}).(string)
	return id
}

// lockQueues answers 41 and 42. Locks are entries of the queue's partition, so
// they survive its leader. What could not be locked, for whatever reason, is not
// among what is granted; what could not be unlocked is said.
func (b *Broker) lockQueues(ctx context.Context, r *request) *remoting.Command {
	var body remoting.LockBatch
	leave, err := b.decode(ctx, r, &body)
	if err != nil {
		return r.failed(err)
	}
	defer leave()
	if err := message.CheckGroup(body.ConsumerGroup); err != nil {
		return r.failed(err)
	}
	if len(body.ClientID) > maxClientID {
		return r.refuse(remoting.InvalidParameter, "client id of %d bytes, at most %d", len(body.ClientID), maxClientID)
	}
	if !r.forwarded {
		r.conn.Set(lockerKey{}, strings.Clone(body.ClientID))
	}
	parts := make(map[uint64]fsm.Partition)
	queues := make(map[uint64][]remoting.MessageQueue)
	granted := []remoting.MessageQueue{}
	caught := false
	for _, q := range body.MQSet {
		slot, ok := parseBrokerName(q.BrokerName)
		if !ok {
			continue
		}
		_, part, ok := b.find(q.Topic, slot, q.QueueID)
		if !ok && !caught { // once, however many are not known here
			b.catchUp(ctx)
			caught = true
			_, part, ok = b.find(q.Topic, slot, q.QueueID)
		}
		switch {
		case ok && part.ID != 0:
			parts[part.ID] = part
			queues[part.ID] = append(queues[part.ID], q)
		case ok && r.Code == remoting.LockBatchMQ && !r.ours():
			// A retry queue whose topic is gone, which is empty for ever: Java's clients of version 5 that are not
			// given one share out all their queues anew twice a second.
			granted = append(granted, q)
		}
	}
	body.MQSet = nil
	leave()
	var epochs []uint64
	var failed *remoting.Command
	for id, part := range parts {
		sub, its := *r, body
		its.MQSet = queues[id]
		if len(parts) > 1 {
			sub.Command = remoting.NewRequest(r.Code, nil)
			sub.Command.Body = remoting.EncodeBody(its)
			if r.ours() {
				sub.Command.SetExt(extOurs, "1")
			}
		}
		reply := b.atPartition(ctx, &sub, part, forwardWait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
			return p.lockQueues(ctx, &sub, &its, b.time())
		})
		if r.forwarded { // for one partition only
			return reply
		}
		var got remoting.LockReply
		switch {
		case reply.Code != remoting.OK:
			failed = reply
		case r.Code == remoting.LockBatchMQ && remoting.DecodeBody(reply.Body, &got) == nil:
			granted, epochs = append(granted, got.LockOKMQSet...), append(epochs, got.Epochs...)
		}
	}
	switch {
	case r.Code == remoting.LockBatchMQ:
		return r.ReplyWith(nil, remoting.EncodeBody(remoting.LockReply{LockOKMQSet: granted, Epochs: epochs}))
	case failed != nil:
		return failed
	}
	return r.ReplyWith(nil, nil)
}

func (p *partition) lockQueues(ctx context.Context, r *request, body *remoting.LockBatch, now time.Time) (*remoting.Command, error) {
	queues := make([]message.Queue, len(body.MQSet))
	names := make(map[message.Queue]remoting.MessageQueue, len(body.MQSet))
	for i, q := range body.MQSet {
		queues[i] = message.Queue{Topic: q.Topic, ID: q.QueueID}
		names[queues[i]] = q
	}
	if r.Code == remoting.UnlockBatchMQ {
		if _, err := p.propose(ctx, fsm.EncodeUnlock(nil, now.UnixMilli(), body.ConsumerGroup, body.ClientID, queues)); err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, nil), nil
	}
	v, err := p.propose(ctx, fsm.EncodeLock(nil, now.UnixMilli(), body.ConsumerGroup, body.ClientID, queues, lockTTL.Milliseconds()))
	if err != nil {
		return nil, err
	}
	res := v.(fsm.LockResult)
	reply := remoting.LockReply{LockOKMQSet: []remoting.MessageQueue{}}
	for _, q := range res.Granted {
		reply.LockOKMQSet = append(reply.LockOKMQSet, names[q])
	}
	if r.ours() {
		reply.Epochs = res.Epochs
	}
	return r.ReplyWith(nil, remoting.EncodeBody(reply)), nil
}
