package client

import (
	"context"
	"fmt"

	"raftmq/remoting"
)

// offsetOf asks a request that is answered with an offset; found is false on
// QueryNotFound.
func (c *Client) offsetOf(ctx context.Context, op string, k laneKey, req *remoting.Command) (offset int64, found bool, err error) {
	r, addr, err := c.askBroker(ctx, op, k.queue.broker, req)
	if err != nil {
		return 0, false, err
	}
	switch r.Code {
	case remoting.OK:
		var h remoting.OffsetReply
		if err := h.Decode(r.Ext); err != nil {
			return 0, false, fmt.Errorf("%s from %s: %w", op, addr, err)
		}
		return h.Offset, true, nil
	case remoting.QueryNotFound:
		return 0, false, nil
	}
	return 0, false, refusal(op, k.topic, "", addr, r)
}

func (k laneKey) header() remoting.QueueHeader {
	return remoting.QueueHeader{Topic: k.topic, QueueID: k.queue.id, BrokerName: k.queue.broker}
}

// bounds are the first kept offset and the next to be written.
func (c *Client) bounds(ctx context.Context, k laneKey) (low, high int64, err error) {
	if low, _, err = c.offsetOf(ctx, "min offset", k, remoting.NewRequest(remoting.GetMinOffset, k.header())); err != nil {
		return 0, 0, err
	}
	high, _, err = c.offsetOf(ctx, "max offset", k, remoting.NewRequest(remoting.GetMaxOffset, k.header()))
	return low, max(low, high), err
}

// resolve is the offset a position means now.
func (c *Client) resolve(ctx context.Context, k laneKey, p Position) (int64, error) {
	switch p.kind {
	case atOffset:
		low, high, err := c.bounds(ctx, k)
		return min(max(p.v, low), high), err
	case atTime:
		o, _, err := c.offsetOf(ctx, "offset by time", k, remoting.NewRequest(remoting.SearchOffsetByTimestamp,
			remoting.SearchOffsetHeader{Topic: k.topic, QueueID: k.queue.id, Timestamp: p.v, BrokerName: k.queue.broker}))
		return o, err
	case atLatest:
		o, _, err := c.offsetOf(ctx, "max offset", k, remoting.NewRequest(remoting.GetMaxOffset, k.header()))
		return o, err
	}
	o, _, err := c.offsetOf(ctx, "min offset", k, remoting.NewRequest(remoting.GetMinOffset, k.header()))
	return o, err
}

// committedOffset is where a group goes on in a queue, which is its begin if the queue was
// added behind those that the group consumes.
func (c *Client) committedOffset(ctx context.Context, group string, k laneKey) (int64, bool, error) {
	return c.offsetOf(ctx, "committed offset", k, remoting.NewRequest(remoting.QueryConsumerOffset,
		remoting.QueryOffsetHeader{ConsumerGroup: group, Topic: k.topic, QueueID: k.queue.id, SetZeroIfNotFound: true, BrokerName: k.queue.broker}))
}
