package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
)

// lockTTL is how long a queue stays locked without being asked for again.
const lockTTL = 60 * time.Second

const (
	// lockWait is how long partitions may take to lock queues for stock clients, which give up after 1 s.
	lockWait = 700 * time.Millisecond
	// locksAtOnce bounds of how many partitions a request has entries on their way.
	locksAtOnce = 64
)

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
// among what is granted; what could not be unlocked is said. A partition that does
// not answer in time may have locked its queues: the client asks again, and has them.
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
	wait := forwardWait
	if r.Code == remoting.LockBatchMQ && !r.ours() && !r.forwarded {
		wait = lockWait
	}
	deadline := time.Now().Add(wait)
	var asks []*lockAsk
	of := make(map[uint64]*lockAsk)
	granted := []remoting.MessageQueue{}
	caught := false
	for _, q := range body.MQSet {
		slot, ok := parseBrokerName(q.BrokerName)
		if !ok {
			continue
		}
		_, part, ok := b.find(q.Topic, slot, q.QueueID)
		if !ok && !caught { // once, however many are not known here
			soon, cancel := context.WithTimeout(ctx, wait/2) // the others want their locks
			b.catchUp(soon)
			cancel()
			caught = true
			_, part, ok = b.find(q.Topic, slot, q.QueueID)
		}
		switch {
		case ok && part.ID != 0:
			if of[part.ID] == nil {
				of[part.ID] = &lockAsk{part: part}
				asks = append(asks, of[part.ID])
			}
			of[part.ID].queues = append(of[part.ID].queues, q)
		case ok && r.Code == remoting.LockBatchMQ && !r.ours():
			// A retry queue whose topic is gone, which is empty for ever: Java's clients of version 5 that are not
			// given one share out all their queues anew twice a second.
			granted = append(granted, q)
		}
	}
	body.MQSet = nil
	leave()
	if r.forwarded { // for one partition only
		for _, a := range asks {
			return b.askLocks(ctx, r, body, a, wait)
		}
	}
	b.askAllLocks(ctx, r, body, asks, deadline)
	var epochs []uint64
	var failed *remoting.Command
	for _, a := range asks {
		var got remoting.LockReply
		switch {
		case a.reply.Code != remoting.OK:
			failed = a.reply
		case r.Code == remoting.LockBatchMQ && remoting.DecodeBody(a.reply.Body, &got) == nil:
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

// lockAsk is what a request is to lock or unlock in a partition, and what that answered.
type lockAsk struct {
	part   fsm.Partition
	queues []remoting.MessageQueue
	reply  *remoting.Command
}

// askAllLocks asks the partitions side by side, those first that have a leader: the others must not keep them back.
func (b *Broker) askAllLocks(ctx context.Context, r *request, body remoting.LockBatch, asks []*lockAsk, deadline time.Time) {
	if r.Code == remoting.LockBatchMQ && !r.ours() { // who asks waits for no more
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	var led, unled []*lockAsk
	for _, a := range asks {
		if b.led(a.part.ID) {
			led = append(led, a)
		} else {
			unled = append(unled, a)
		}
	}
	var wg sync.WaitGroup
	some := make(chan struct{}, locksAtOnce)
	for _, a := range slices.Concat(led, unled) {
		some <- struct{}{}
		if late(deadline) {
			a.reply = r.failed(errNotHere)
			<-some
			continue
		}
		wg.Go(func() {
			defer func() { <-some }()
			sub := *r
			if len(asks) > 1 {
				its := body
				its.MQSet = a.queues
				sub.Command = remoting.NewRequest(r.Code, nil)
				sub.Command.Body = remoting.EncodeBody(its)
				if r.ours() {
					sub.Command.SetExt(extOurs, "1")
				}
			}
			a.reply = b.askLocks(ctx, &sub, body, a, time.Until(deadline))
		})
	}
	wg.Wait()
}

// askLocks asks one partition; r is for its queues only.
func (b *Broker) askLocks(ctx context.Context, r *request, body remoting.LockBatch, a *lockAsk, wait time.Duration) *remoting.Command {
	body.MQSet = a.queues
	return b.atPartition(ctx, r, a.part, wait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		return p.lockQueues(ctx, r, &body, b.time())
	})
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
