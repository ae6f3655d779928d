package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// A message that a group could not handle is stored once more, in the partition that it
// is in: to come again after a delay in the group's retry queue there, or at once among
// its dead letters. Both queues have the number that the catalogue gave the partition
// among those of the group in the slot.

const (
	// firstRetryLevel is the delay level of the first retry; each further one is a level
	// higher.
	firstRetryLevel = 3
	// maxRetryDelay is the longest delay that a client of ours may choose.
	maxRetryDelay = 365 * 24 * time.Hour
)

// sendBack answers 36. Stock clients of Go take any answer for success, and the others
// have something better to do than to believe a refusal: those get no answer but a good
// one; see Broker.handler.
func (b *Broker) sendBack(ctx context.Context, r *request) *remoting.Command {
	var h remoting.SendBackHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if err := message.CheckGroup(h.Group); err != nil {
		return r.failed(err)
	}
	if h.Delivery == 0 { // of a stock client: nodes at least know it again
		h.Delivery = rand.Uint64() | 1
		r.SetExt("delivery", remoting.Delivery(h.Delivery))
	}
	r.slot = r.slotOf(h.BrokerName)
	number, source := message.SplitPhysicalOffset(h.Offset)
	part, ok := b.partitionNumbered(r.slot, number)
	if !ok {
		if err := b.catchUp(ctx); err != nil {
			return r.failed(errNotHere)
		}
		if part, ok = b.partitionNumbered(r.slot, number); !ok {
			return r.notKept("no partition with number %d in %s", number, brokerName(r.slot))
		}
	}
	group, queue, refusal := b.retryQueue(ctx, r, h.Group, part)
	if refusal != nil {
		return refusal
	}
	again := b.FeatureLevel() >= fsm.PutBackLevel // else it would make two of it
	return b.atPartition(ctx, r, part, forwardWait, again, func(ctx context.Context, p *partition) (*remoting.Command, error) {
		wait, cancel := context.WithTimeout(ctx, forwardWait)
		defer cancel()
		if err := p.replica.ReadIndex(wait); err != nil {
			return nil, errNotHere
		}
		if p.refuses.Load() {
			return r.failed(errNoDisk), nil
		}
		item, leave, refusal, err := b.toPutBack(wait, r, p, &h, group, queue)
		if refusal != nil || err != nil {
			return refusal, err
		}
		defer leave()
		item.Source = store.Position(source) // its low bits say which delivery it is
		res, err := b.putBackAt(ctx, p, item, queue)
		switch {
		case err != nil:
			return nil, err
		case res == fsm.Duplicate:
			reply := r.ReplyWith(nil, nil)
			reply.SetExt("dup", "1")
			return reply, nil
		case res != fsm.Stored:
			return r.refuse(remoting.SystemError, "status %d", res), nil
		case item.DueMs > 0:
			b.putBack.Add(1)
		default:
			b.buried.Add(1)
		}
		return r.ReplyWith(nil, nil), nil
	})
}

// toPutBack reads a message, and makes of it what is to be stored. A message may be a thousand
// times its request, so there is room for some only; leave gives it back.
func (b *Broker) toPutBack(ctx context.Context, r *request, p *partition, h *remoting.SendBackHeader, group fsm.Group, queue int32) (item fsm.PutBack, leave func(), refusal *remoting.Command, err error) {
	if err := b.admission.backs.enter(ctx); err != nil {
		return item, nil, nil, err
	}
	defer b.admission.backs.leave()
	rec, err := p.store().Record(p.positionOf(h.Offset))
	if errors.Is(err, store.ErrNotFound) {
		return item, nil, r.notKept("no message at physical offset %d", h.Offset), nil
	}
	if err != nil {
		return item, nil, nil, err
	}
	if leave, err = b.admission.commits.enter(ctx, len(rec)); err != nil {
		return item, nil, nil, err
	}
	if item, err = b.retried(rec, h, group, queue, b.storeHost(r.slot)); err != nil {
		leave()
		return item, nil, r.refuse(remoting.MessageIllegal, "%v; certainly not stored", err), nil
	}
	return item, leave, nil, nil
}

// putBackAt stores a message that was put back; without a memory of it while a node would
// not understand that.
func (b *Broker) putBackAt(ctx context.Context, p *partition, item fsm.PutBack, queue int32) (fsm.Status, error) {
	item.DueMs = p.dueBy(b.atMs(), item.DueMs)
	if b.FeatureLevel() >= fsm.PutBackLevel {
		if !p.letPutBack(&item, b.atMs()) {
			return 0, errPutBacks
		}
		res, err := p.putBacks.append(ctx, item)
		if errors.Is(err, raftlog.ErrUnknownOutcome) { // it may come yet
			size := item.Size() // without the message
			time.AfterFunc(fsm.PutBackWindow*time.Millisecond, func() { p.didPutBack(size) })
		} else {
			p.didPutBack(item.Size())
		}
		return res, err
	}
	topic := string(message.Record(item.Record).TopicBytes())
	res, err := p.delays.append(ctx, fsm.Delayed{Item: fsm.Item{Queue: message.Queue{Topic: topic, ID: queue}, Records: item.Record, Count: 1}, DueMs: item.DueMs})
	return res.Status, err
}

// errPutBacks: who put something back a moment ago and may ask again would be forgotten;
// certainly nothing was done.
var errPutBacks = fmt.Errorf("broker: too many messages of this partition were put back in the last %d s: %w", fsm.PutBackWindow/1000, errBusy)

// letPutBack reserves what is remembered of a put-back, which didPutBack gives back when it
// is applied, or never will be.
func (p *partition) letPutBack(item *fsm.PutBack, nowMs int64) bool {
	p.putting.Lock()
	defer p.putting.Unlock()
	if !p.machine.PutBackRoom(item, nowMs, p.puts) {
		return false
	}
	p.puts += item.Size()
	return true
}

func (p *partition) didPutBack(size int) {
	p.putting.Lock()
	p.puts -= size
	p.putting.Unlock()
}

// partitionNumbered is a slot's partition by its number there.
func (b *Broker) partitionNumbered(slot int, number uint32) (fsm.Partition, bool) {
	for _, part := range b.catalogue.Partitions() {
		if part.Number == number && part.Slot == slot {
			return part, true
		}
	}
	return fsm.Partition{}, false
}

// retryQueue is the number of a group's retry queue in a partition. A group that has
// none is given one.
func (b *Broker) retryQueue(ctx context.Context, r *request, name string, part fsm.Partition) (g fsm.Group, queue int32, refusal *remoting.Command) {
	for try := range 2 {
		g, ok := b.catalogue.Group(name)
		if j := slices.Index(g.Retry[part.Slot], part.ID); ok && j >= 0 {
			return g, int32(j), nil
		}
		if try == 0 {
			req := &request{Command: remoting.NewRequest(codeSubscribe, nil), slot: 0}
			req.SetExt("group", name)
			req.SetExt("topics", part.Topic)
			if reply := b.change(ctx, req); reply.Code != remoting.OK {
				return g, 0, r.refuse(remoting.ServiceNotAvailable, "subscribe group %s to %s: %s; certainly not done", name, part.Topic, reply.Remark)
			}
			if err := b.catchUp(ctx); err != nil {
				return g, 0, r.failed(errNotHere)
			}
		}
	}
	return g, 0, r.refuse(remoting.SubscriptionGroupNotExist, "group %s has no retry queue in partition %d of %s", name, part.ID, part.Topic)
}

// retried is a message that was put back, as it is to be stored.
func (b *Broker) retried(rec message.Record, h *remoting.SendBackHeader, g fsm.Group, queue int32, host netip.AddrPort) (fsm.PutBack, error) {
	m := rec.Message()
	limit := g.RetryMaxTimes
	if h.MaxReconsumeTimes >= 0 {
		limit = h.MaxReconsumeTimes
	}
	times := m.ReconsumeTimes
	m.Properties = message.Retried(m.Properties, m.Topic, message.OffsetID(m.StoreHost, m.PhysicalOffset))
	m.SysFlag &^= message.FlagTransactionMask
	m.PreparedTransactionOffset, m.PhysicalOffset, m.QueueOffset, m.StoreTimestamp = 0, 0, 0, 0
	m.QueueID, m.StoreHost, m.ReconsumeTimes = queue, host, times+1
	var due int64
	if times >= limit || h.DelayLevel < 0 {
		m.Topic = message.DLQTopic(h.Group)
		m.Properties = message.Buried(m.Properties, h.Reason, b.atMs())
	} else {
		m.Topic = message.RetryTopic(h.Group)
		if _, ok := m.Property(message.PropRetryTopic); !ok { // nobody would know it again
			return fsm.PutBack{}, fmt.Errorf("%w: properties of %d bytes leave no room for the topic's name", message.ErrTooLarge, len(m.Properties))
		}
		level := int(h.DelayLevel)
		if level == 0 {
			level = firstRetryLevel + int(min(times, 64))
		}
		delay := message.LevelDelay(level).Milliseconds()
		if h.DelayMs >= 0 {
			delay = min(h.DelayMs, maxRetryDelay.Milliseconds())
		}
		due = b.atMs() + delay
	}
	stored, err := m.AppendRecord(make([]byte, 0, m.RecordSize()))
	if err != nil {
		return fsm.PutBack{}, err
	}
	return fsm.PutBack{Group: h.Group, Delivery: h.Delivery, DueMs: due, Record: stored}, nil
}

// toDeadLetters decides on a message that a client itself sends to a retry topic: one
// that was consumed as often as it may be goes to the dead letters.
func (b *Broker) toDeadLetters(h *remoting.SendHeader, group string) bool {
	g, _ := b.catalogue.Group(group)
	limit := g.RetryMaxTimes
	if h.MaxReconsumeTimes >= 0 {
		limit = h.MaxReconsumeTimes
	}
	return h.ReconsumeTimes >= limit
}
