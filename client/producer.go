package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// Producer sends messages. Its methods may be called from any goroutine.
//
// Messages of one queue travel one request after the other, in the order of
// their sends; what was sent meanwhile goes together in the next request.
type Producer struct {
	c         *Client
	group     string
	timeout   time.Duration
	retry     RetryPolicy
	linger    time.Duration
	codec     Codec
	codecMin  int
	selector  Selector
	tolerance tolerance
	topics    []string
	buffer    budget

	transactions *TransactionProducer // whose halves it sends; nil: it sends messages

	pid      string // producer id of the cluster's dedup, 32 hex digits
	idPrefix [8]byte
	idNext   atomic.Uint64
	turn     atomic.Uint32
	wg       sync.WaitGroup // lanes at work, callbacks
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex
	closed bool
	lanes  map[laneKey]*lane
	most   int                // lanes before some are forgotten; lanesKept if it is less
	epoch  uint32             // of a lane that is made: above those of all that were forgotten
	joined map[string]*joined // by topic
	keyed  map[orderKey]*unit // the last of each key that is on its way

	callbackMu sync.Mutex
	callbacks  []*unit       // whose done is to run
	called     chan struct{} // closes when all of them have run; nil: none is to
}

// NewProducer returns a producer of a group, whose name operators see.
func (c *Client) NewProducer(group string, opts ...ProducerOption) (*Producer, error) {
	return c.newProducer(group, nil, opts...)
}

func (c *Client) newProducer(group string, t *TransactionProducer, opts ...ProducerOption) (*Producer, error) {
	if err := invalid(message.CheckGroup(group)); err != nil {
		return nil, err
	}
	p := &Producer{c: c, group: group, transactions: t, timeout: 10 * time.Second, retry: RetryPolicy{RetryUncertain: true}, lanes: make(map[laneKey]*lane), joined: make(map[string]*joined), keyed: make(map[orderKey]*unit), pid: randomHex(16)}
	p.buffer = budget{maxMessages: 65536, maxBytes: 64 << 20}
	rand.Read(p.idPrefix[:])
	for _, o := range opts {
		o(p)
	}
	if p.retry.Initial <= 0 {
		p.retry.Initial = 20 * time.Millisecond
	}
	if p.retry.Max <= 0 {
		p.retry.Max = 500 * time.Millisecond
	}
	if p.timeout <= 0 || p.buffer.maxMessages <= 0 || p.buffer.maxBytes <= 0 || p.codec < NoCompression || p.codec > Zlib {
		return nil, fmt.Errorf("%w: send timeout, buffer and codec must be valid", ErrInvalid)
	}
	p.ctx, p.cancel = context.WithCancel(c.ctx)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	c.producers[p] = struct{}{}
	c.mu.Unlock()
	for _, t := range p.topics {
		ctx, cancel := context.WithTimeout(c.ctx, askTry)
		_, err := c.routes.forSending(ctx, t)
		cancel()
		if err != nil {
			p.Close(c.ctx)
			return nil, err
		}
	}
	c.beatSoon()
	return p, nil
}

// Send sends m and waits for its outcome. When ctx ends first, the error is
// ctx's: a certain no if the message had not left yet, else ErrUncertain.
func (p *Producer) Send(ctx context.Context, m *Message) (Receipt, error) {
	rs, err := p.sendUnit(ctx, single(m, -1))
	if err != nil {
		return Receipt{}, err
	}
	return rs[0], nil
}

// SendTo is Send to the queue of that number, unless a rule of the topic says otherwise.
func (p *Producer) SendTo(ctx context.Context, queue int, m *Message) (Receipt, error) {
	if queue < 0 {
		return Receipt{}, fmt.Errorf("%w: queue %d", ErrInvalid, queue)
	}
	rs, err := p.sendUnit(ctx, single(m, queue))
	if err != nil {
		return Receipt{}, err
	}
	return rs[0], nil
}

// SendBatch sends messages of one or more topics. Those of one topic without
// order keys go to one queue; all for one queue are stored together or not at
// all, and may have MaxBody bytes together. When some fail, the error is a
// *BatchError and the receipts of the others are valid.
func (p *Producer) SendBatch(ctx context.Context, ms []*Message) ([]Receipt, error) {
	type part struct {
		ms    []*Message
		at    []int
		queue int
	}
	type partKey struct {
		topic string
		queue int
	}
	parts := make(map[partKey]*part)
	var order []*part
	errs := make([]error, len(ms))
	failed := false
	for i, m := range ms {
		queue := -1
		if r, err := p.c.routes.forSending(ctx, m.Topic); err == nil { // else the send says so
			queue = r.placed(m)
		}
		if queue < 0 && (m.OrderKey != "" || p.selector != nil) {
			var err error
			if queue, err = p.choose(ctx, m); err != nil {
				errs[i], failed = err, true
				continue
			}
		}
		k := partKey{m.Topic, queue}
		if parts[k] == nil {
			parts[k] = &part{queue: queue}
			order = append(order, parts[k])
		}
		parts[k].ms = append(parts[k].ms, m)
		parts[k].at = append(parts[k].at, i)
	}
	out := make([]Receipt, len(ms))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, b := range order {
		wg.Go(func() {
			rs, err := p.sendUnit(ctx, several(b.ms, b.queue))
			for j, i := range b.at {
				if err == nil {
					out[i] = rs[j]
				} else {
					errs[i] = err
				}
			}
			if err != nil {
				mu.Lock()
				failed = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed {
		return out, &BatchError{errs}
	}
	return out, nil
}

// SendAsync returns once m has room in the buffer; done runs exactly once, in
// another goroutine, one at a time, and should not block. An error means that
// m was never accepted and done does not run.
func (p *Producer) SendAsync(ctx context.Context, m *Message, done func(Receipt, error)) error {
	u := single(m, -1)
	u.done = done
	return p.start(ctx, u)
}

// SendOneway hands m to a connection and asks for no answer: whether it is
// stored stays unknown. An error says that it certainly is not.
func (p *Producer) SendOneway(ctx context.Context, m *Message) error {
	r, err := p.c.routes.forSending(ctx, m.Topic)
	if err != nil {
		return err
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return ErrClosed
	}
	u := single(m, -1)
	if err := p.encode(u); err != nil {
		return err
	}
	l, _, err := p.pick(r, m, -1)
	if err != nil {
		return err
	}
	req := p.request(l.queue, m.Topic, []*unit{u})
	var last error
	for _, addr := range p.c.conns.order(p.c.routes.addresses(l.queue.broker)) {
		e, err := p.c.conns.get(ctx, addr)
		if err == nil {
			err = e.conn.Send(ctx, req)
		}
		if err == nil {
			return nil
		}
		last = err
	}
	return fmt.Errorf("send one-way to %s: %w: %w", m.Topic, ErrUnavailable, last)
}

// Flush waits for a moment when nothing is on its way: with no sends beside it,
// until every accepted message has its outcome and every done has returned. A done
// must not call it, nor Close.
func (p *Producer) Flush(ctx context.Context) error {
	err := p.buffer.idle(ctx)
	if err == nil {
		p.callbackMu.Lock()
		called := p.called
		p.callbackMu.Unlock()
		if called == nil {
			return nil
		}
		select {
		case <-called:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fmt.Errorf("flush: %w", err)
}

// Close refuses further sends and waits for the outcomes of those accepted.
// When ctx ends first, their tries are cut short, with their true outcomes,
// and ctx's error is returned. No goroutine of p is left.
func (p *Producer) Close(ctx context.Context) error {
	tell, done := p.c.endsSoonAfter(ctx)
	defer done()
	return p.close(ctx, tell)
}

// close is Close; the nodes are told within tell.
func (p *Producer) close(ctx, tell context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	if err == nil && p.transactions != nil {
		err = p.transactions.settled(ctx)
	}
	p.cancel()
	p.wg.Wait()
	p.c.mu.Lock()
	_, was := p.c.producers[p]
	delete(p.c.producers, p)
	p.c.mu.Unlock()
	if was {
		p.c.unregister(tell, remoting.UnregisterHeader{ClientID: p.c.id, ProducerGroup: p.group})
	}
	return err
}

func (p *Producer) sendUnit(ctx context.Context, u *unit) ([]Receipt, error) {
	ended := make(chan struct{}, 1)
	u.ended = ended
	if err := p.start(ctx, u); err != nil {
		return nil, err
	}
	select {
	case <-ended:
		return u.rs, u.err
	case <-ctx.Done():
	}
	if u.cancel() {
		p.buffer.give(len(u.msgs), u.size)
		return nil, fmt.Errorf("send to %s: %w", u.topic, ctx.Err())
	}
	select {
	case <-ended:
		return u.rs, u.err
	default:
		u.keep()
		return nil, fmt.Errorf("send to %s: %w: %w", u.topic, ErrUncertain, ctx.Err())
	}
}

// start accepts u. It ends once, unless it is cancelled before it was taken, or there is an error.
func (p *Producer) start(ctx context.Context, u *unit) error {
	if err := p.encode(u); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("send to %s: %w", u.topic, err)
	}
	r, err := p.c.routes.forSending(ctx, u.topic)
	if err != nil {
		return err
	}
	messages, size := len(u.msgs), u.size // what u is once it was added, others say
	if err := p.buffer.take(ctx, messages, size); err != nil {
		return fmt.Errorf("send to %s: %w", u.topic, err)
	}
	u.deadline = time.Now().Add(p.timeout)
	l, free, err := p.pick(r, u.ms[0], u.queue)
	if err == nil {
		u.movable = free
		err = l.add(u, r)
	}
	if err != nil {
		p.buffer.give(messages, size)
	}
	return err
}

// encode checks u's messages and makes them ready for the wire.
func (p *Producer) encode(u *unit) error {
	ms := u.ms
	if len(ms) == 0 {
		return fmt.Errorf("%w: no messages", ErrInvalid)
	}
	if len(ms) > message.MaxBatch {
		return fmt.Errorf("%w: batch of %d messages above %d", ErrTooLarge, len(ms), message.MaxBatch)
	}
	u.p, u.topic = p, ms[0].Topic
	if u.msgs = u.oneMessage[:]; len(ms) > 1 {
		u.msgs = make([]outgoing, len(ms))
	}
	if err := invalid(message.CheckTopic(u.topic)); err != nil {
		return err
	}
	squeeze := p.codec != NoCompression
	total := 0
	for i, m := range ms {
		squeeze = squeeze && len(m.Body) >= p.codecMin
		id := p.nextID()
		props, err := m.properties(id[:])
		if err != nil {
			return err
		}
		own := props[len(props)-1-len(id) : len(props)-1] // the id is the last of them
		if p.transactions != nil {
			if props, err = p.halfProperties(props); err != nil {
				return err
			}
			u.sysFlag = message.FlagPrepared
		}
		u.msgs[i] = outgoing{id: own, body: m.Body, props: props}
		u.ordered = u.ordered || m.OrderKey != ""
		if len(ms) == 1 && u.queue < 0 && p.selector == nil {
			u.key = m.OrderKey
		}
		if u.delayed = m.delayed(); u.delayed && len(ms) > 1 {
			return fmt.Errorf("%w: messages of a batch cannot be delayed", ErrInvalid)
		}
	}
	if squeeze {
		u.sysFlag |= flagCompressed | int32(p.codec)<<codecShift
		for i := range u.msgs {
			var err error
			if u.msgs[i].body, err = p.c.codecs.compress(p.codec, u.msgs[i].body); err != nil {
				return fmt.Errorf("%w: compress: %w", ErrInvalid, err)
			}
		}
	}
	for _, m := range u.msgs {
		total += batchOverhead + len(m.body) + len(m.props)
	}
	u.size = int64(total)
	if len(ms) == 1 && len(u.msgs[0].body) > MaxBody || len(ms) > 1 && total > MaxBody {
		return fmt.Errorf("%w: %d bytes to %s above %d", ErrTooLarge, total, u.topic, MaxBody)
	}
	return nil
}

// halfProperties adds to a message's what makes it a half.
func (p *Producer) halfProperties(props string) (string, error) {
	props = string(message.AppendProperty(message.AppendProperty([]byte(props), message.PropTransaction, "true"), message.PropProducerGroup, p.group))
	if len(props) > MaxProperties {
		return "", fmt.Errorf("%w: properties of %d bytes above %d", ErrTooLarge, len(props), MaxProperties)
	}
	return props, nil
}

// nextID is a unique id: 32 digits.
func (p *Producer) nextID() (id [32]byte) {
	var b [16]byte
	copy(b[:], p.idPrefix[:])
	binary.BigEndian.PutUint64(b[8:], p.idNext.Add(1))
	message.PutUpperHex(id[:], b[:])
	return id
}

// callback runs u's done after those before it.
func (p *Producer) callback(u *unit) {
	p.callbackMu.Lock()
	defer p.callbackMu.Unlock()
	p.callbacks = append(p.callbacks, u)
	if p.called != nil {
		return
	}
	p.called = make(chan struct{})
	p.wg.Go(p.callBack) // a lane at work holds wg above zero
}

func (p *Producer) callBack() {
	var us []*unit
	for {
		p.callbackMu.Lock()
		clear(us)
		us, p.callbacks = p.callbacks, us[:0]
		if len(us) == 0 {
			close(p.called)
			p.called = nil
			p.callbackMu.Unlock()
			return
		}
		p.callbackMu.Unlock()
		for _, u := range us {
			if u.err != nil {
				u.done(Receipt{}, u.err)
			} else {
				u.done(u.rs[0], nil)
			}
		}
	}
}

// Waiting is how many messages were accepted and have no outcome yet.
func (p *Producer) Waiting() int {
	p.buffer.mu.Lock()
	defer p.buffer.mu.Unlock()
	return p.buffer.messages
}
