package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

var (
	// ErrNoReply: no reply came in time. The request is stored, or, with ErrUncertain,
	// may be; it may have been handled, or may be yet.
	ErrNoReply = errors.New("client: no reply")
	// ErrNoRequester: who asked is not connected to the cluster, or waits no longer. The
	// reply was certainly not delivered, and is not kept.
	ErrNoRequester = errors.New("client: nobody waits for the reply")
)

// requestTime is how long a reply is waited for when the caller's context sets no end.
const requestTime = 10 * time.Second

// answeredKept is how many requests that have their reply are remembered, so that the
// same reply again is not taken for an unwanted one.
const answeredKept = 4096

// requests are a client's that wait for their replies.
type requests struct {
	mu       sync.Mutex
	waiting  map[string]chan *Delivery // by correlation id; room for one
	answered map[string]bool
	order    []string // of answered, the oldest first
}

// wait begins to wait for a reply.
func (s *requests) wait(id string) <-chan *Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting, s.answered = make(map[string]chan *Delivery), make(map[string]bool)
	}
	got := make(chan *Delivery, 1)
	s.waiting[id] = got
	return got
}

// leave ends it.
func (s *requests) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

// answer hands a reply over; false if nobody waits for it, or ever had it.
func (s *requests) answer(id string, d *Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, waits := s.waiting[id]
	if !waits {
		return s.answered[id]
	}
	delete(s.waiting, id)
	got <- d
	s.answered[id] = true
	if s.order = append(s.order, id); len(s.order) > answeredKept {
		delete(s.answered, s.order[0])
		s.order = s.order[1:]
	}
	return true
}

// Request sends m and waits for the reply of who consumes it, until ctx ends, or 10 s
// if it has no end. The request is stored like any message, and sent once whatever
// becomes of nodes; of several replies the first counts.
//
// ErrNoReply: none came in time; the error says whether the request is stored. Any
// other error says that it certainly is not.
func (p *Producer) Request(ctx context.Context, m *Message) (*Delivery, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTime)
		defer cancel()
	}
	end, _ := ctx.Deadline()
	asks := *m
	asks.Properties = maps.Clone(m.Properties)
	if asks.Properties == nil {
		asks.Properties = make(map[string]string)
	}
	id := randomHex(16)
	asks.Properties[message.PropCorrelation], asks.Properties[message.PropReplyTo] = id, p.c.id
	asks.Properties[message.PropTTL] = strconv.FormatInt(max(1, time.Until(end).Milliseconds()), 10)
	p.c.introduce(ctx) // replies find only who said its name
	got := p.c.requests.wait(id)
	defer p.c.requests.leave(id)
	u, sent := single(&asks, -1), make(chan struct{}, 1)
	u.ended = sent
	if err := p.start(ctx, u); err != nil {
		return nil, err
	}
	waits := sent // nil: the outcome of the send is known
	defer func() {
		if waits != nil {
			u.keep()
		}
	}()
	for {
		var over error // why no longer is waited
		select {
		case d := <-got:
			return d, nil
		case <-waits:
			if u.err != nil && !errors.Is(u.err, ErrUncertain) {
				return nil, u.err
			}
			waits = nil
			continue
		case <-ctx.Done():
			over = ctx.Err()
		case <-p.c.ctx.Done():
			over = ErrClosed
		}
		if waits != nil && u.cancel() {
			waits = nil
			p.buffer.give(len(u.msgs), u.size)
			return nil, fmt.Errorf("request to %s: %w", m.Topic, over)
		}
		select {
		case d := <-got:
			return d, nil
		case <-sent:
			waits = nil
		default:
		}
		switch {
		case waits != nil:
			return nil, fmt.Errorf("request to %s: %w: %w: it may be stored: %w", m.Topic, ErrNoReply, ErrUncertain, over)
		case errors.Is(u.err, ErrUncertain):
			return nil, fmt.Errorf("request to %s: %w: %w: %w", m.Topic, ErrNoReply, u.err, over)
		case u.err != nil:
			return nil, u.err
		}
		r := u.rs[0]
		return nil, fmt.Errorf("request to %s: %w: it is stored as %s, queue %d offset %d: %w", m.Topic, ErrNoReply, r.ID, r.Queue, r.Offset, over)
	}
}

// WantsReply reports whether d is a request: Client.Reply answers it.
func (d *Delivery) WantsReply() bool {
	return d.Properties[message.PropReplyTo] != "" && d.Properties[message.PropCorrelation] != ""
}

// Reply answers a request with m, whose topic is not looked at, and returns once the
// requester has the reply; it is tried until ctx ends, or for 10 s. A reply is stored
// nowhere. ErrNoRequester: the requester is gone, or waits no longer. ErrUncertain: it
// may have it. Replying twice is harmless: the first counts.
func (c *Client) Reply(ctx context.Context, request *Delivery, m *Message) error {
	if !request.WantsReply() {
		return fmt.Errorf("%w: message %s is no request", ErrInvalid, request.ID)
	}
	cluster := request.Properties[message.PropCluster]
	if cluster == "" {
		return fmt.Errorf("%w: message %s does not name its cluster", ErrInvalid, request.ID)
	}
	if len(m.Body) > MaxBody {
		return fmt.Errorf("%w: reply of %d bytes above %d", ErrTooLarge, len(m.Body), MaxBody)
	}
	if m.delayed() {
		return fmt.Errorf("%w: a reply cannot be delayed", ErrInvalid)
	}
	reply := *m
	reply.Properties = maps.Clone(m.Properties)
	if reply.Properties == nil {
		reply.Properties = make(map[string]string)
	}
	for _, name := range []string{message.PropCorrelation, message.PropReplyTo, message.PropTTL} {
		reply.Properties[name] = request.Properties[name]
	}
	reply.Properties[message.PropType] = message.TypeReply
	props, err := reply.properties([]byte(randomHex(16)))
	if err != nil {
		return err
	}
	req := remoting.NewRequest(remoting.SendReplyMessageV2, remoting.SendHeader{ProducerGroup: "raftmq-reply", Topic: message.ReplyTopic(cluster),
		BornTimestamp: time.Now().UnixMilli(), Properties: props, MaxReconsumeTimes: -1})
	req.Body = bytes.Clone(m.Body) // it may still be written when the caller has it back
	const op = "reply"
	closed := c.isClosed()
	r, addr, err := c.askBroker(ctx, op, "", req)
	switch {
	case errors.Is(err, ErrTooLarge) || closed && errors.Is(err, ErrClosed):
		return err
	case err != nil: // some try may have arrived
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	case r.Code == remoting.ConsumerNotOnline:
		return fmt.Errorf("%w: %w", ErrNoRequester, refusal(op, "", "", addr, r))
	case r.Code == remoting.SystemError:
		return fmt.Errorf("%w: %w", ErrUncertain, refusal(op, "", "", addr, r))
	case r.Code != remoting.OK:
		return refusal(op, "", "", addr, r)
	}
	return nil
}

// replied takes a reply that a node hands on.
func (c *Client) replied(req *remoting.Command) *remoting.Command {
	var h remoting.PushReplyHeader
	if err := h.Decode(req.Ext); err != nil {
		return req.Reply(remoting.InvalidParameter, err.Error())
	}
	d := &Delivery{Message: Message{Topic: h.Topic, Body: req.Body}, Offset: -1, QueueID: int(h.QueueID), Attempt: 1,
		BornAt: time.UnixMilli(h.BornTimestamp), StoredAt: time.UnixMilli(h.StoreTimestamp), BornHost: h.BornHost}
	d.setProperties(h.Properties)
	id := d.Properties[message.PropCorrelation]
	d.inflate(h.SysFlag, &c.codecs)
	if !c.requests.answer(id, d) {
		return req.Reply(remoting.ConsumerNotOnline, "nobody waits for the reply to "+id)
	}
	return req.Reply(remoting.OK, "")
}
