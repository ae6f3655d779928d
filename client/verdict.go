package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// How long one node has for an answer before the next is asked with the same
// identity.
const (
	firstTry = 1500 * time.Millisecond
	laterTry = 3 * time.Second
	// lastTry, or a tenth of the send timeout if that is less, is how much
	// time must be left for another try after one that certainly stored nothing.
	lastTry = 250 * time.Millisecond
)

// verdict is what one try tells.
type verdict int

const (
	stored    verdict = iota
	never             // certainly not stored, and would not be
	notYet            // this try certainly did not store it
	renew             // as notYet: the identity does not fit, take a new one
	forgotten         // the identity is not known: as renew, unless a try before may have stored it
	perhaps           // this try may have stored it, or may yet
)

// send brings a batch to its outcome, by the first of its units' deadlines.
func (l *lane) send(batch []*unit) {
	p := l.p
	n, deadline := 0, batch[0].deadline
	for _, u := range batch {
		n += len(u.msgs)
		if u.deadline.Before(deadline) {
			deadline = u.deadline
		}
	}
	ctx, cancel := context.WithDeadline(p.ctx, deadline)
	defer cancel()
	defer l.struggling.Store(false)
	renewals := 0
	maybe := false // an earlier try may have stored it
	wait := newBackoff(p.retry.Initial, p.retry.Max)
	var addrs []string
	var err error
	for try := 1 + batch[0].tries; ; try++ {
		if len(addrs) == 0 {
			addrs = p.c.conns.order(p.c.routes.addresses(l.queue.broker))
		}
		if err != nil && !maybe && time.Until(deadline) < min(lastTry, p.timeout/10) {
			// A certain no is worth more than a try whose answer comes too late.
			l.fail(batch, err)
			return
		}
		var v verdict
		var r *remoting.Command
		v, r, err = l.try(ctx, &addrs, batch, try)
		switch v {
		case stored:
			l.sickUntil.Store(0)
			l.seq += uint64(n)
			l.landed() // before who is answered sends again
			l.succeed(batch, r)
			return
		case never:
			if maybe {
				l.uncertain(batch, err)
				return
			}
			if len(batch) > 1 && errors.Is(err, ErrTooLarge) {
				// One of them is the culprit, or only their sum.
				for _, u := range batch {
					l.send([]*unit{u})
				}
				return
			}
			l.fail(batch, err)
			return
		case renew:
			// Refused in the order of applying: a try before is refused too.
			maybe = false
			renewals++
			l.renew()
		case forgotten:
			if maybe {
				l.uncertain(batch, err)
				return
			}
			renewals++
			l.renew()
		case perhaps:
			maybe = true
		}
		if v == notYet || v == perhaps {
			l.struggling.Store(true)
			l.sickUntil.Store(int64(time.Since(began) + sickFor))
			l.evacuate()
		}
		spent := p.retry.MaxAttempts > 0 && try >= p.retry.MaxAttempts || ctx.Err() != nil
		switch {
		case maybe && (spent || !p.retry.RetryUncertain):
			l.uncertain(batch, err)
			return
		case spent:
			l.fail(batch, err)
			return
		}
		if v == notYet && !maybe {
			if batch = l.move(batch); len(batch) == 0 {
				return
			}
			n = 0
			for _, u := range batch {
				n += len(u.msgs)
			}
		}
		if len(addrs) == 0 || renewals > 1 {
			p.c.routes.refreshSoon(l.topic)
			if wait.sleep(ctx) != nil {
				if maybe {
					l.uncertain(batch, err)
				} else {
					l.fail(batch, err)
				}
				return
			}
		}
	}
}

// try sends the batch to the first of addrs, and takes that off unless it
// should be asked again at once.
func (l *lane) try(ctx context.Context, addrs *[]string, batch []*unit, number int) (verdict, *remoting.Command, error) {
	op := "send to " + l.topic
	if err := ctx.Err(); err != nil {
		return notYet, nil, fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	if len(*addrs) == 0 {
		return notYet, nil, fmt.Errorf("%s: %w: no address of %s", op, ErrUnavailable, l.queue.broker)
	}
	addr := (*addrs)[0]
	*addrs = (*addrs)[1:]
	req := l.p.request(l.queue, l.topic, batch)
	req.SetExt("pid", l.p.pid)
	req.SetExt("pep", strconv.FormatUint(uint64(l.epoch), 10))
	req.SetExt("seq", strconv.FormatUint(l.seq, 10))
	for _, u := range batch {
		if u.ordered && l.p.transactions == nil {
			req.SetExt("ord", "1")
			break
		}
	}
	limit := firstTry
	if number > 1 {
		limit = laterTry
	}
	tryCtx, cancel := context.WithTimeout(ctx, limit)
	begun := time.Now()
	r, err := l.p.c.conns.call(tryCtx, addr, req)
	cancel()
	if err != nil {
		l.p.tolerance.report(l.queue.broker, isolation)
		l.p.c.routes.demote(l.queue.broker, addr)
		l.p.c.log.Debug("send try failed", "topic", l.topic, "addr", addr, "error", err)
		err = fmt.Errorf("%s: %w: %s: %w", op, ErrUnavailable, addr, err)
		switch {
		case errors.Is(err, remoting.ErrTooLarge):
			return never, nil, fmt.Errorf("%s: %w: %w", op, ErrTooLarge, err)
		case errors.Is(err, remoting.ErrNotSent):
			return notYet, nil, err
		}
		if errors.Is(err, remoting.ErrNoReply) && ctx.Err() == nil {
			l.p.c.conns.avoid(addr)
		}
		return perhaps, nil, err
	}
	switch leader := r.Ext["leader"]; {
	case leader != "" && leader != addr:
		l.p.c.routes.prefer(l.queue.broker, strings.Clone(leader))
	case r.Code == remoting.OK && number > 1:
		l.p.c.routes.prefer(l.queue.broker, addr)
	}
	if r.Code == remoting.OK {
		l.p.tolerance.report(l.queue.broker, time.Since(begun))
		return stored, r, nil
	}
	err = refusal("send", l.topic, "", addr, r)
	switch r.Code {
	case remoting.ServiceNotAvailable, remoting.SystemBusy, remoting.FlowControl, remoting.NotLeaderForQueue:
		l.p.tolerance.report(l.queue.broker, isolation)
		return notYet, nil, err
	case remoting.TopicNotExist:
		if number < 4 {
			return notYet, nil, err // a node that has not heard of it yet
		}
	case remoting.SequenceGap, remoting.StaleEpoch:
		*addrs = append([]string{addr}, *addrs...)
		return renew, nil, err
	case remoting.UnknownProducer:
		*addrs = append([]string{addr}, *addrs...)
		return forgotten, nil, err
	case remoting.OutcomeUnknown, remoting.SystemError:
		// SystemError is also what a panic after the proposal is answered with.
		return perhaps, nil, err
	}
	return never, nil, err
}

// request is a batch of one lane, or a single message, without its identity. It has copies of
// the bodies: it may still be written when its messages' senders were answered.
func (p *Producer) request(q queueKey, topic string, batch []*unit) *remoting.Command {
	h := remoting.SendHeader{ProducerGroup: p.group, Topic: topic, DefaultTopic: template, DefaultTopicQueueNums: 4, QueueID: q.id,
		SysFlag: batch[0].sysFlag, BornTimestamp: time.Now().UnixMilli(), MaxReconsumeTimes: -1, BrokerName: q.broker}
	if len(batch) == 1 && len(batch[0].msgs) == 1 {
		h.Properties = batch[0].msgs[0].props
		req := remoting.NewRequest(remoting.SendMessageV2, h)
		batch[0].given.Lock()
		req.Body = bytes.Clone(batch[0].msgs[0].body)
		batch[0].given.Unlock()
		return req
	}
	h.Batch = true
	var size int64
	for _, u := range batch {
		size += u.size
	}
	body := make([]byte, 0, size)
	for _, u := range batch {
		u.given.Lock()
		for _, m := range u.msgs {
			body = message.AppendBatchMessage(body, message.BatchMessage{Body: m.body, Properties: m.props})
		}
		u.given.Unlock()
	}
	req := remoting.NewRequest(remoting.SendBatchMessage, h)
	req.Body = body
	return req
}
