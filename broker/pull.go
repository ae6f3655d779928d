package broker

import (
	"context"
	"errors"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// Bounds of one pull's answer, RocketMQ's.
const (
	pullMessages    = 32 // default
	maxPullMessages = 1024
	pullBytes       = 256 << 10
	maxPullBytes    = 4 << 20 // far below the largest frame
	maxSuspend      = 60 * time.Second
	// passedWait is how long a held pull waits on after messages that it does not want.
	passedWait = time.Second
)

// pull answers 11 and 361. What lies inside this replica's queue it serves
// itself, leader or not: committed records never change. At the end the leader
// holds the request until the queue grows. That an offset is out of range is said
// by a leader only, after a read index, because clients persist what they are
// told then.
func (b *Broker) pull(ctx context.Context, r *request) *remoting.Command {
	var h remoting.PullHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	r.slot = r.slotOf(h.BrokerName)
	if err := message.CheckGroup(h.ConsumerGroup); err != nil {
		return r.failed(err)
	}
	topic, part, refusal := b.locate(ctx, r, h.Topic, h.QueueID)
	switch {
	case refusal != nil:
		return refusal
	case topic.Perm&permRead == 0:
		return r.refuse(remoting.NoPermission, "topic %s may not be read", h.Topic)
	case h.QueueID >= topic.ReadQueues:
		return r.refuse(remoting.InvalidParameter, "queue %d of topic %s in %s: it has %d", h.QueueID, h.Topic, brokerName(r.slot), topic.ReadQueues)
	}
	if refusal := b.madeAgain(ctx, r, h.Topic, part, h.Part); refusal != nil {
		return refusal
	}
	if refusal := b.mayConsume(r, h.ConsumerGroup); refusal != nil {
		return refusal
	}
	want, refusal := b.filter(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	hold := time.Duration(0)
	if h.SysFlag&remoting.PullSuspend != 0 {
		hold = min(h.SuspendTimeout, maxSuspend)
	}
	if hold > 0 {
		release, err := b.admission.hold(r)
		if err != nil {
			return r.failed(err)
		}
		defer release()
	}
	if part.ID == 0 {
		return b.pullHole(ctx, r, &h, hold)
	}
	q := message.Queue{Topic: h.Topic, ID: h.QueueID}
	copied := r.forwarded && r.Ext[extCopy] == "1"
	if p, ok := b.partition(part.ID); ok && (copied || !p.leads() && h.Epoch == 0) { // who holds the lock the leader knows
		if reply := b.pullInside(ctx, r, &h, p, q, want); reply != nil {
			return b.unlessPaused(r, &h, reply)
		}
	}
	if copied {
		return r.absent()
	}
	reply := b.atPartition(ctx, r, part, hold+forwardWait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		return b.hold(ctx, r, &h, p, q, want, hold)
	})
	switch reply.Code {
	case remoting.ServiceNotAvailable, remoting.OutcomeUnknown:
		// Without a leader nothing is known of the queue's end.
		return r.emptyPull(remoting.PullNotFound, h.QueueOffset, 0, 0)
	}
	return b.unlessPaused(r, &h, reply)
}

// unlessPaused passes a pull's answer on if the group may still have it: the pull may have been held since
// before it was paused, and what was stored after this node heard of that is not given out.
func (b *Broker) unlessPaused(r *request, h *remoting.PullHeader, reply *remoting.Command) *remoting.Command {
	if reply.Code == remoting.OK {
		if refusal := b.mayConsume(r, h.ConsumerGroup); refusal != nil {
			return refusal
		}
	}
	return reply
}

// mayConsume refuses a group that an operator has paused, and one that broadcasts and may not.
func (b *Broker) mayConsume(r *request, group string) *remoting.Command {
	switch g, ok := b.catalogue.Group(group); {
	case !ok:
	case !g.ConsumeEnable:
		return r.refuse(remoting.NoPermission, "group %s may not consume", group)
	case !g.ConsumeBroadcastEnable && b.clients.broadcasts(r.conn, group):
		return r.refuse(remoting.NoPermission, "group %s may not broadcast", group)
	}
	return nil
}

// pullInside answers from a follower what lies inside its queue; nil: it cannot, and
// the leader may.
// An operator's reset is the leader's to tell.
func (b *Broker) pullInside(ctx context.Context, r *request, h *remoting.PullHeader, p *partition, q message.Queue, want wants) *remoting.Command {
	if p.withheld.Load() {
		return nil
	}
	lo, hi := p.store().Bounds(q)
	if _, reset := p.machine.PendingReset(h.ConsumerGroup, q); reset || h.QueueOffset < int64(lo) || h.QueueOffset >= int64(hi) {
		return nil
	}
	if commit, ok := h.Commit(); ok && !r.forwarded && b.led(p.desc.ID) {
		b.commit(ctx, r, p.desc, r.offset(h.ConsumerGroup, q, commit, h.Owner, h.Epoch), false)
	}
	reply, _, err := b.readQueue(ctx, r, h, p, q, message.Offset(h.QueueOffset), want)
	if errors.Is(err, errBusy) {
		return r.failed(err)
	}
	if err != nil {
		return nil
	}
	return reply
}

// pullHole holds a pull of a retry queue whose topic is gone: nothing will come.
func (b *Broker) pullHole(ctx context.Context, r *request, h *remoting.PullHeader, wait time.Duration) *remoting.Command {
	if h.QueueOffset != 0 {
		return r.emptyPull(remoting.PullOffsetMoved, 0, 0, 0)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.conn.Draining():
	case <-ctx.Done():
	}
	return r.emptyPull(remoting.PullNotFound, 0, 0, 0)
}

// holds reports whether a pull is of the holder of the queue's lock: nobody has had it
// since its epoch, even if it expired.
func (p *partition) holds(h *remoting.PullHeader, q message.Queue) bool {
	client, epoch, _, ok := p.machine.LockOwner(h.ConsumerGroup, q)
	return ok && client == h.Owner && epoch == h.Epoch
}

func (r *request) fenced() *remoting.Command {
	return r.refuse(remoting.IllegalOperation, "another client holds the queue's lock, or held it since")
}

// tellReset answers that an operator has moved the group, until a pull comes from there:
// an answer may be lost, and who goes on without it would commit the group back.
func (b *Broker) tellReset(ctx context.Context, r *request, h *remoting.PullHeader, p *partition, q message.Queue) (*remoting.Command, error) {
	off, ok := p.machine.PendingReset(h.ConsumerGroup, q)
	if !ok {
		return nil, nil
	}
	lo, hi := p.store().Bounds(q)
	if from := message.Offset(h.QueueOffset); from != off && (from < off || from > lo) { // below lo both are as good
		return r.emptyPull(remoting.PullOffsetMoved, int64(off), int64(lo), int64(hi)), nil
	}
	_, err := p.propose(ctx, fsm.EncodeResetTold(nil, b.atMs(), h.ConsumerGroup, q, off))
	return nil, err
}

// hold answers at the leader, and waits at the queue's end.
func (b *Broker) hold(ctx context.Context, r *request, h *remoting.PullHeader, p *partition, q message.Queue, want wants, wait time.Duration) (*remoting.Command, error) {
	if h.Epoch != 0 { // another leader may know of another holder
		if err := p.replica.ReadIndex(ctx); err != nil {
			return nil, errNotHere
		}
		if !p.holds(h, q) {
			return r.fenced(), nil
		}
	}
	if reply, err := b.tellReset(ctx, r, h, p, q); reply != nil || err != nil {
		return reply, err
	}
	if commit, ok := h.Commit(); ok { // as soon as it fits: the client commits again
		p.commits.add(ctx, r.offset(h.ConsumerGroup, q, commit, h.Owner, h.Epoch), nil)
	}
	var timeout, soon <-chan time.Time
	from, waited := message.Offset(h.QueueOffset), false
	// What is said of the queue's bounds, others may have moved on from: a pull that
	// waited has seen its leader step down meanwhile.
	checked, waits := false, wait > 0
	confirm := func() error {
		if err := p.replica.ReadIndex(ctx); err != nil {
			return errNotHere
		}
		checked = true
		return nil
	}
	for {
		turned := p.turned()
		if !p.leads() {
			return nil, errNotHere
		}
		if h.Epoch != 0 && !p.holds(h, q) { // lost while it was held
			return r.fenced(), nil
		}
		if reply, err := b.tellReset(ctx, r, h, p, q); reply != nil || err != nil {
			return reply, err
		}
		grown := p.store().Appended(q) // before reading, so that no append slips between
		lo, hi := p.store().Bounds(q)
		switch {
		case from >= lo && from < hi:
			reply, next, err := b.readQueue(ctx, r, h, p, q, from, want)
			if err != nil {
				return b.elsewhere(ctx, r, p, err)
			}
			if reply == nil {
				continue
			}
			if reply.Code == remoting.OK || !waited || next < hi {
				return reply, nil
			}
			// What came while it waited is not wanted. It goes on waiting, but not for
			// long: the client is to know, and to commit, how far it is.
			from = next
			if soon == nil {
				t := time.NewTimer(passedWait)
				defer t.Stop()
				soon = t.C
			}
			continue
		case from != hi || from < lo:
			if !checked {
				if err := confirm(); err != nil {
					return nil, err
				}
				continue
			}
			return r.emptyPull(remoting.PullOffsetMoved, int64(min(max(from, lo), hi)), int64(lo), int64(hi)), nil
		case wait == 0 && !waits && !checked:
			if err := confirm(); err != nil {
				return nil, err
			}
			continue
		case wait == 0 && from > message.Offset(h.QueueOffset):
			return r.emptyPull(remoting.PullRetryImmediately, int64(from), int64(lo), int64(hi)), nil
		case wait == 0:
			return r.emptyPull(remoting.PullNotFound, h.QueueOffset, int64(lo), int64(hi)), nil
		}
		waited = true
		if timeout == nil {
			t := time.NewTimer(wait)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-grown:
		case <-turned:
		case <-timeout:
			wait = 0
		case <-soon:
			wait = 0
		case <-r.conn.Draining():
			wait = 0
		case <-ctx.Done():
			wait = 0
		}
	}
}

// readQueue answers with records, or with what was passed over, and where to go on; nil
// if there is nothing at the offset. An error says that there is something that cannot be read,
// or errBusy.
func (b *Broker) readQueue(ctx context.Context, r *request, h *remoting.PullHeader, p *partition, q message.Queue, from message.Offset, want wants) (*remoting.Command, message.Offset, error) {
	n, bytes := int(h.MaxMsgNums), int(h.MaxMsgBytes)
	if n <= 0 {
		n = pullMessages
	}
	if bytes <= 0 {
		bytes = pullBytes
		if n > pullMessages {
			bytes = maxPullBytes / 4
		}
	}
	if !r.forwarded { // else its connection carries what many ask
		r.conn.Room(ctx)
	}
	if err := b.admission.read(ctx, b.admission.pulls); err != nil {
		return nil, from, err
	}
	defer b.admission.pulls.leave()
	var only *store.Filter
	if want != nil {
		only = want()
	}
	only = p.there(q, only)
	batch, err := p.store().Read(q, from, min(n, maxPullMessages), min(bytes, maxPullBytes), only)
	if errors.Is(err, store.ErrOffset) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, err
	}
	if batch.Count == 0 {
		if batch.Next == from {
			return nil, from, nil
		}
		return r.emptyPull(remoting.PullRetryImmediately, int64(batch.Next), int64(batch.Min), int64(batch.Max)), batch.Next, nil
	}
	b.rates.get(p, h.ConsumerGroup, batch.Count)
	return r.ReplyWith(remoting.PullReply{NextBeginOffset: int64(batch.Next), MinOffset: int64(batch.Min), MaxOffset: int64(batch.Max)}, batch.Records), batch.Next, nil
}

// there has a filter pass over retries that were taken out of their queue, which lie further on again: a
// trim is about to take them, or a replica has yet to make it.
func (p *partition) there(q message.Queue, only *store.Filter) *store.Filter {
	group, retry := message.RetryGroup(q.Topic)
	if !retry {
		return only
	}
	gone := p.machine.Gone(group, q)
	if gone == nil {
		return only
	}
	f := &store.Filter{Record: func(b []byte) bool {
		r, err := message.ParseRecord(b)
		return (err != nil || !gone(r.QueueOffset())) && (only == nil || only.Record == nil || only.Record(b))
	}}
	if only != nil {
		f.Tag = only.Tag
	}
	return f
}

func (r *request) emptyPull(code remoting.Code, next, lo, hi int64) *remoting.Command {
	return r.Reply(code, "").With(remoting.PullReply{NextBeginOffset: next, MinOffset: lo, MaxOffset: hi})
}

// filter returns which messages the consumer wants, nil for all: from the request if
// it carries its subscription, else from the client's heartbeat. What was put back by
// a group was wanted when it came first: its retry topic is subscribed whole.
func (b *Broker) filter(ctx context.Context, r *request, h *remoting.PullHeader) (wants, *remoting.Command) {
	expr, kind := h.Subscription, h.ExpressionType
	if h.SysFlag&remoting.PullSubscription == 0 {
		sub, err := b.clients.subscription(h.ConsumerGroup, h.Topic, h.SubVersion)
		if err != 0 {
			b.clients.complete(ctx)
			sub, err = b.clients.subscription(h.ConsumerGroup, h.Topic, h.SubVersion)
		}
		if err != 0 {
			return nil, r.refuse(err, "group %s has no such subscription to %s", h.ConsumerGroup, h.Topic)
		}
		expr, kind = sub.SubString, sub.ExpressionType
		if !r.forwarded { // the leader may not have heard of this client
			r.SetExt("sysFlag", itoa(int64(h.SysFlag|remoting.PullSubscription)))
			r.SetExt("subscription", expr)
			r.SetExt("expressionType", kind)
			h.SysFlag |= remoting.PullSubscription
		}
	}
	want, err := b.wanted(kind, expr)
	if err != nil {
		return nil, r.refuseFilter(h.Topic, err)
	}
	return want, nil
}
