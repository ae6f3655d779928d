package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// Times and sizes of a pull.
const (
	pullHold  = 5 * time.Second // how long a node may hold a pull that finds nothing
	pullGrace = 2 * time.Second // more than that without an answer: the node hangs
	pullMost  = 512             // messages
	pullBytes = 1 << 20
)

// puller pulls from one queue, wherever it is led.
type puller struct {
	c          *Client
	group      string
	key        laneKey
	filter     Filter
	subVersion int64
	epoch      uint64 // of the queue's lock; 0: there is none
	part       uint32 // of the last record, the number of its partition; 0: none came yet
}

type pulled struct {
	messages []*Delivery
	next     int64
	min, max int64
	moved    bool // the place is not there: go on at next
	part     uint32
}

// pull asks until a node answers; it may come back with nothing but a next
// place. Errors are refusals and ctx's end.
func (p *puller) pull(ctx context.Context, from int64, most int) (pulled, error) {
	req := remoting.NewRequest(remoting.PullMessage, remoting.PullHeader{ConsumerGroup: p.group, Topic: p.key.topic, QueueID: p.key.queue.id,
		QueueOffset: from, MaxMsgNums: int32(min(most, pullMost)), SysFlag: remoting.PullSuspend | remoting.PullSubscription,
		SuspendTimeout: pullHold, SubVersion: p.subVersion, Subscription: p.filter.expression(), ExpressionType: p.filter.kind(),
		MaxMsgBytes: pullBytes, BrokerName: p.key.queue.broker, Owner: p.c.id, Epoch: p.epoch, Part: p.part})
	req.SetExt("rmq", "1")
	wait := newBackoff(20*time.Millisecond, time.Second)
	name := p.key.queue.broker
	failed := false
	for {
		for _, addr := range p.c.conns.order(p.c.routes.addresses(name)) {
			try, cancel := context.WithTimeout(ctx, pullHold+pullGrace)
			begun := time.Now()
			r, err := p.c.conns.call(try, addr, req)
			cancel()
			if ctx.Err() != nil {
				return pulled{}, ctx.Err()
			}
			if err != nil {
				if errors.Is(err, ErrClosed) {
					return pulled{}, ErrClosed
				}
				if errors.Is(err, remoting.ErrNoReply) {
					p.c.conns.avoid(addr)
				}
				failed = true
				p.c.routes.demote(name, addr)
				p.c.log.Debug("pull try failed", "topic", p.key.topic, "addr", addr, "error", err)
				continue
			}
			got, err := p.answer(addr, r)
			if err == nil && failed {
				p.c.routes.prefer(name, addr)
			}
			if err == nil || !isLater(r.Code) {
				if err == nil && len(got.messages) == 0 && got.next == from && time.Since(begun) < 50*time.Millisecond {
					// Not held: a node that has nothing and cannot wait.
					if err := wait.sleep(ctx); err != nil {
						return pulled{}, err
					}
				}
				return got, err
			}
		}
		p.c.routes.refreshSoon(p.key.topic)
		if err := wait.sleep(ctx); err != nil {
			return pulled{}, err
		}
	}
}

func (p *puller) answer(addr string, r *remoting.Command) (pulled, error) {
	switch r.Code {
	case remoting.OK, remoting.PullNotFound, remoting.PullRetryImmediately, remoting.PullOffsetMoved:
	default:
		return pulled{}, refusal("pull", p.key.topic, p.group, addr, r)
	}
	var h remoting.PullReply
	if err := h.Decode(r.Ext); err != nil {
		return pulled{}, fmt.Errorf("pull %s from %s: %w", p.key.topic, addr, err)
	}
	got := pulled{next: h.NextBeginOffset, min: h.MinOffset, max: h.MaxOffset, moved: r.Code == remoting.PullOffsetMoved}
	if r.Code != remoting.OK {
		return got, nil
	}
	all, rest, err := decodeRecords(r.Body, &p.c.codecs)
	if len(all) > 0 {
		p.part, _ = message.SplitPhysicalOffset(all[len(all)-1].physical)
	}
	got.part = p.part
	for _, d := range all {
		if p.filter.match(d.Tag) {
			d.Broker, d.QueueID = p.key.queue.broker, int(p.key.queue.id)
			got.messages = append(got.messages, d)
		}
	}
	if len(rest) > 0 {
		// Nothing is skipped: what was read counts, then it is asked again.
		if len(all) == 0 {
			return pulled{}, fmt.Errorf("pull %s from %s: %w", p.key.topic, addr, err)
		}
		got.next = all[len(all)-1].Offset + 1
	}
	return got, nil
}
