package broker

import (
	"context"
	"errors"

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
	number, pos := message.SplitPhysicalOffset(h.Offset)
	for _, part := range b.catalogue.Partitions() {
		if part.Number != number || part.Slot != r.slot {
			continue
		}
		return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
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
	topic, part, refusal := b.locate(ctx, r, h.Topic, 0)
	switch {
	case refusal != nil && topic.Name == "":
		return refusal
	case part.ID == 0:
		return r.refuse(remoting.QueryNotFound, "topic %s has no partition in %s", h.Topic, brokerName(r.slot))
	}
	n := min(int(h.MaxNum), maxLookup)
	if h.Unique {
		n = maxLookup
	}
	return b.atEnd(ctx, r, part, func(_ context.Context, p *partition) (*remoting.Command, error) {
		recs, err := p.store().Lookup(h.Topic, h.Key, n, h.BeginTimestamp, h.EndTimestamp)
		if err != nil {
			return nil, err
		}
		var body []byte
		for _, rec := range recs {
			if len(body)+len(rec) > maxPullBytes && len(body) > 0 {
				break // the answer must fit a frame
			}
			body = append(body, rec...)
		}
		if body == nil {
			return r.refuse(remoting.QueryNotFound, "no message of %s with key %s", h.Topic, h.Key), nil
		}
		return r.ReplyWith(remoting.QueryMessageReply{IndexLastUpdateTimestamp: b.now().UnixMilli()}, body), nil
	})
}
