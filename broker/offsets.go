package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// queueHeader is a header that names a queue.
type queueHeader interface {
	Decode(ext map[string]string) error
	Queue() (topic string, id int32, broker string)
}

// queueRequest decodes a request that names a queue, and finds the queue's
// partition.
func (b *Broker) queueRequest(ctx context.Context, r *request, h queueHeader) (message.Queue, fsm.Partition, *remoting.Command) {
	if err := h.Decode(r.Ext); err != nil {
		return message.Queue{}, fsm.Partition{}, r.failed(err)
	}
	topic, id, broker := h.Queue()
	r.slot = r.slotOf(broker)
	_, part, refusal := b.locate(ctx, r, topic, id)
	if refusal == nil && part.ID == 0 {
		refusal = r.ofHole()
	}
	return message.Queue{Topic: topic, ID: id}, part, refusal
}

// ofHole answers for a retry queue whose topic is gone.
func (r *request) ofHole() *remoting.Command {
	switch r.Code {
	case remoting.QueryConsumerOffset:
		return r.refuse(remoting.QueryNotFound, "the topic of this retry queue was deleted")
	case remoting.UpdateConsumerOffset:
		return r.refuse(remoting.InvalidParameter, "the topic of this retry queue was deleted")
	case remoting.GetEarliestMessageTime:
		return r.ReplyWith(remoting.TimestampReply{Timestamp: -1}, nil)
	}
	return r.ReplyWith(remoting.OffsetReply{}, nil)
}

// queryOffset answers 14: where a group goes on.
func (b *Broker) queryOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueryOffsetHeader
	q, part, refusal := b.queueRequest(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		if off, ok := p.machine.Committed(h.ConsumerGroup, q); ok {
			return r.ReplyWith(remoting.OffsetReply{Offset: int64(off)}, nil), nil
		}
		if h.SetZeroIfNotFound && (b.isNewTo(h.ConsumerGroup, p, q) || b.awaited(h.ConsumerGroup, p, q)) {
			return r.ReplyWith(remoting.OffsetReply{}, nil), nil
		}
		if h.SetZeroIfNotFound && q.Topic == message.RetryTopic(h.ConsumerGroup) { // whatever is in it is the group's
			lo, _ := p.store().Bounds(q)
			return r.ReplyWith(remoting.OffsetReply{Offset: int64(lo)}, nil), nil
		}
		return r.refuse(remoting.QueryNotFound, "group %s has no offset in queue %d of %s", h.ConsumerGroup, q.ID, q.Topic), nil
	})
}

// isNewTo reports whether a queue came to a topic when the group consumed it already, and has
// all its messages. A client that is told that there is no offset begins at the end, unless it was made
// otherwise, and what was sent before it knew of the queue would be nobody's.
func (b *Broker) isNewTo(group string, p *partition, q message.Queue) bool {
	g, _ := b.catalogue.Group(group)
	t, _ := b.catalogue.Topic(q.Topic)
	lo, _ := p.store().Bounds(q)
	if lo > 0 || q.ID == 0 || t.Version <= g.Version || !slices.Contains(g.Topics, q.Topic) {
		return false // of a changed topic the version is higher than of a group that subscribed before
	}
	for id := range q.ID {
		if _, ok := p.machine.Committed(group, message.Queue{Topic: q.Topic, ID: id}); !ok {
			return false
		}
	}
	return true
}

// awaited reports whether a member of the group was there before a queue's first message, which is there yet, or still to
// come. Stock clients hear of a topic up to 30 s after a send made it, and would begin behind what came until then. Without
// a member RocketMQ lets a group begin at the first message, too, as long as that is in memory; here it begins where its
// members say.
func (b *Broker) awaited(group string, p *partition, q message.Queue) bool {
	since := b.clients.waitsSince(group, q.Topic)
	if since == 0 {
		return false
	}
	first, err := p.store().SeekTime(q, since, false)
	return err == nil && first == 0
}

// commitOffset answers 15.
func (b *Broker) commitOffset(ctx context.Context, r *request) *remoting.Command {
	var h remoting.UpdateOffsetHeader
	q, part, refusal := b.queueRequest(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	if err := message.CheckGroup(h.ConsumerGroup); err != nil {
		return r.failed(err)
	}
	if refusal := b.madeAgain(ctx, r, h.Topic, part, h.Part); refusal != nil {
		return refusal
	}
	return b.commit(ctx, r, part, r.offset(h.ConsumerGroup, q, h.CommitOffset, h.Owner, h.Epoch), !r.IsOneway())
}

// offset is a commit of r's client, or of the holder of a lock that it names.
func (r *request) offset(group string, q message.Queue, off int64, owner string, epoch uint64) fsm.CommitOffset {
	o := fsm.CommitOffset{Group: group, Queue: q, Offset: message.Offset(off), Owner: r.client}
	if epoch != 0 { // a longer name holds no lock
		o.Owner, o.Epoch = owner[:min(len(owner), maxClientID+1)], epoch
	}
	return o
}

// madeAgain refuses a place of a partition, by its number, whose topic was deleted: part is that of another
// by its name, in which the place means nothing.
func (b *Broker) madeAgain(ctx context.Context, r *request, topic string, part fsm.Partition, number uint32) *remoting.Command {
	if number == 0 || part.ID == 0 || part.Number == number {
		return nil
	}
	err := b.catchUp(ctx) // the other may be the later one, and not known here yet
	if now, there := b.partitionNumbered(r.slot, number); err != nil || there && now.Topic == part.Topic {
		return r.failed(errNotHere) // asked again
	}
	return r.refuse(remoting.TopicNotExist, "the topic %s was deleted, and another is there by its name", topic)
}

// commit raises a group's offset; without wait it is only queued.
func (b *Broker) commit(ctx context.Context, r *request, part fsm.Partition, o fsm.CommitOffset, wait bool) *remoting.Command {
	send := *r
	if r.Code != remoting.UpdateConsumerOffset { // the commit inside a pull
		send.Command = remoting.NewRequest(remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{
			ConsumerGroup: o.Group, Topic: o.Queue.Topic, QueueID: o.Queue.ID, CommitOffset: int64(o.Offset),
		})
	}
	return b.atPartition(ctx, &send, part, forwardWait, true, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		var done chan commitDone
		if wait {
			done = make(chan commitDone, 1)
		}
		if err := p.commits.add(ctx, o, done); err != nil || !wait {
			return r.ReplyWith(nil, nil), err
		}
		select {
		case d := <-done:
			return r.committed(d.status), d.err
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", raftlog.ErrUnknownOutcome, context.Cause(ctx))
		}
	})
}

// committed answers a commit that was decided. One that is not higher, or comes
// before a client reads from where an operator put the group, is passed over and is no error.
func (r *request) committed(s fsm.CommitStatus) *remoting.Command {
	switch s {
	case fsm.Raised, fsm.NotHigher, fsm.ResetPending:
		return r.ReplyWith(nil, nil)
	case fsm.PastEnd:
		return r.refuse(remoting.InvalidParameter, "the queue does not reach so far")
	case fsm.NotOwner:
		return r.refuse(remoting.IllegalOperation, "another client holds the queue's lock")
	case fsm.NoRoom:
		return r.refuse(remoting.SystemError, "too many offsets are kept in this partition")
	}
	return r.refuse(remoting.InvalidParameter, "not an offset that can be kept")
}

// queueBound answers 30, 31 and 32.
func (b *Broker) queueBound(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueueHeader
	q, part, refusal := b.queueRequest(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
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
	q, part, refusal := b.queueRequest(ctx, r, &h)
	if refusal != nil {
		return refusal
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		off, err := p.store().SeekTime(q, h.Timestamp, h.Upper)
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(remoting.OffsetReply{Offset: int64(off)}, nil), nil
	})
}
