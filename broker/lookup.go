package broker

import (
	"context"
	"errors"
	"math"
	"strconv"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

// maxLookup bounds what one query by key finds; one by unique id finds as many.
const maxLookup = 32

// viewMessage answers 33: a record by the physical offset that clients hold. The
// number of a partition in it is the slot's, which the listener tells.
func (b *Broker) viewMessage(ctx context.Context, r *request) *remoting.Command {
	var h remoting.ViewMessageHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	number, _ := message.SplitPhysicalOffset(h.Offset)
	part, ok := b.partitionNumbered(r.slot, number)
	if !ok {
		if err := b.catchUp(ctx); err != nil {
			return r.failed(errNotHere)
		}
		if part, ok = b.partitionNumbered(r.slot, number); !ok {
			return r.notKept("no partition with number %d in %s", number, brokerName(r.slot))
		}
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		rec, err := p.store().Record(p.positionOf(h.Offset))
		if errors.Is(err, store.ErrNotFound) {
			return r.notKept("no message at physical offset %d", h.Offset), nil
		}
		if err != nil {
			return nil, err
		}
		return r.ReplyWith(nil, rec), nil
	})
}

// extPartition, in a query by key that is sent on, is the partition that is asked, where
// the topic is in several of a slot.
const extPartition = "_partition"

// queryMessage answers 12: the records of a key in the slot's partition; of a group's
// retries or dead letters, in all partitions of the slot that have them.
func (b *Broker) queryMessage(ctx context.Context, r *request) *remoting.Command {
	var h remoting.QueryMessageHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	if h.Unique && h.EndTimestamp == math.MaxInt64 {
		h.BeginTimestamp = 0 // the time that Java's clients read out of an id, or three days ago: many ids have no time in them
	}
	if id, err := strconv.ParseUint(r.Ext[extPartition], 10, 64); r.forwarded && err == nil {
		part, _ := b.catalogue.Partition(id)
		part.ID = id // who leads it knows it
		return b.queryIn(ctx, r, &h, part)
	}
	if _, letters := lettersOf(h.Topic); letters && !r.forwarded {
		return b.queryLetters(ctx, r, &h)
	}
	topic, part, refusal := b.locate(ctx, r, h.Topic, 0)
	switch {
	case refusal != nil && topic.Name == "":
		return refusal
	case part.ID == 0:
		return r.refuse(remoting.QueryNotFound, "topic %s has no partition in %s", h.Topic, brokerName(r.slot))
	}
	return b.queryIn(ctx, r, &h, part)
}

// queryLetters is queryMessage of a group's retries or dead letters.
func (b *Broker) queryLetters(ctx context.Context, r *request, h *remoting.QueryMessageHeader) *remoting.Command {
	if err := b.admission.read(ctx, b.admission.wholes); err != nil {
		return r.failed(err)
	}
	defer b.admission.wholes.leave()
	unknown := b.catchUp(ctx)
	if topic, _, refusal := b.locate(ctx, r, h.Topic, 0); refusal != nil && topic.Name == "" {
		return refusal
	}
	most := found{n: lookedUp(h)}
	for _, part := range b.lettersIn(h.Topic, r.slot) {
		sub := *r
		sub.Command = remoting.NewRequest(r.Code, h)
		sub.SetExt(extPartition, strconv.FormatUint(part.ID, 10))
		switch reply := b.queryIn(ctx, &sub, h, part); reply.Code {
		case remoting.OK:
			for rest := reply.Body; len(rest) > 0; {
				rec, err := message.ParseRecord(rest)
				if err != nil {
					return r.failed(err)
				}
				most.add(rec)
				rest = rest[len(rec):]
			}
		case remoting.QueryNotFound, remoting.TopicNotExist: // deleted meanwhile
		default:
			return r.refuse(reply.Code, "%s", reply.Remark)
		}
	}
	if unknown != nil && most.body == nil {
		return r.refuse(remoting.ServiceNotAvailable, "it may be in a topic that is not known here, and the catalogue has no leader")
	}
	return b.foundReply(r, h, &most)
}

// queryIn is queryMessage of one partition.
func (b *Broker) queryIn(ctx context.Context, r *request, h *remoting.QueryMessageHeader, part fsm.Partition) *remoting.Command {
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		all := found{n: lookedUp(h)}
		err := p.store().Find(h.Topic, h.Key, h.BeginTimestamp, h.EndTimestamp, all.add)
		if errors.Is(err, store.ErrMany) && all.body == nil {
			return r.refuse(remoting.SystemError, "it is not known whether a message of %s with key %s was stored in that time: %v", h.Topic, h.Key, err), nil
		}
		if err != nil && !errors.Is(err, store.ErrMany) {
			return nil, err
		}
		return b.foundReply(r, h, &all), nil
	})
}

// lettersOf is the group whose retries or dead letters a topic has.
func lettersOf(topic string) (group string, ok bool) {
	if group, ok = message.RetryGroup(topic); !ok {
		group, ok = message.DLQGroup(topic)
	}
	return group, ok
}

// lettersIn are the partitions of a slot that have a group's retries and dead letters.
func (b *Broker) lettersIn(topic string, slot int) (parts []fsm.Partition) {
	group, _ := lettersOf(topic)
	g, _ := b.catalogue.Group(group)
	for _, id := range g.Retry[slot] {
		if part, ok := b.catalogue.Partition(id); ok {
			parts = append(parts, part)
		}
	}
	return parts
}

// lookedUp is how many records a query finds at most.
func lookedUp(h *remoting.QueryMessageHeader) int {
	if h.Unique {
		return maxLookup
	}
	return min(int(h.MaxNum), maxLookup)
}

// found are the records that a query answers with.
type found struct {
	n    int // more may be added
	body []byte
	full bool
}

// add adds a record, unless there are enough, or the answer would not fit a frame. It reports
// whether there is room for more.
func (f *found) add(rec message.Record) (more bool) {
	f.full = f.full || f.n == 0 || len(f.body)+len(rec) > maxPullBytes && len(f.body) > 0
	if !f.full {
		f.body = append(f.body, rec...)
		f.n--
	}
	return !f.full && f.n > 0
}

func (b *Broker) foundReply(r *request, h *remoting.QueryMessageHeader, f *found) *remoting.Command {
	if f.body == nil {
		return r.refuse(remoting.QueryNotFound, "no message of %s with key %s", h.Topic, h.Key)
	}
	return r.ReplyWith(remoting.QueryMessageReply{IndexLastUpdateTimestamp: b.now().UnixMilli()}, f.body)
}
