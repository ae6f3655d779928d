package broker

import (
	"context"
	"errors"
	"time"

	"raftmq/message"
	"raftmq/remoting"
	"raftmq/store"
)

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
