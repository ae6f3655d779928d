package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// Limits of what is gathered into one request; a unit alone may be larger.
const (
	gatherBytes    = 256 << 10
	gatherMessages = 1024
	batchOverhead  = 22 // of a message in a batch body
	// gatherTimes: what goes together ends together, so only messages do that were sent
	// within such a part of the send timeout.
	gatherTimes = 10

	// Messages that may go to any queue join a request that waits to be sent, up to
	// this many and this size, with what is on its way: few large requests cost less than many small ones. After a turn
	// it is the next queue's, so that all get as much.
	stickyMessages = 256
	stickyBytes    = gatherBytes
	stickyTurn     = 512

	// A request of fewer is not worth waiting for: messages go to another queue at once.
	worthWaiting = 16

	// Callers that were just answered get to send again before the next request
	// is made: it carries all of them instead of the first. So many turns of the scheduler without one end it.
	laneYields = 8
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

// sickFor is how long messages that may choose stay away from a queue after a
// failed try.
const sickFor = time.Second

type laneKey struct {
	topic string
	queue queueKey
}

// lane sends the messages of one queue, one request at a time, so that they
// are stored in the order they came and the sequences of what is not yet known
// to be stored are never mixed with others.
//
// A request's messages have consecutive sequences under (producer id, epoch,
// queue). A sequence is used for other messages only when it is certainly not
// stored. When that cannot be found out the lane raises the epoch and starts
// at sequence 0: then a straggler of the old epoch is refused wherever it
// arrives after messages of the new one.
type lane struct {
	p     *Producer
	topic string
	queue queueKey

	number     atomic.Int64 // among the topic's queues, which may be others when it was made again
	sickUntil  atomic.Int64 // ns since began
	struggling atomic.Bool  // a batch is being tried again

	mu      sync.Mutex
	waiting []*unit
	size    int64 // of what waits
	flying  int   // units of the request that is on its way
	running bool

	displaced []*unit // are to be sent by other rules
	placing   bool    // a goroutine sees to them

	// Only the goroutine that runs.
	epoch uint32
	seq   uint64 // next
}

// began is from when lanes count: the wall's clock may jump.
var began = time.Now()

func (l *lane) well() bool {
	return !l.struggling.Load() && (l.sickUntil.Load() == 0 || int64(time.Since(began)) >= l.sickUntil.Load())
}

// gathers says that a request is being gathered, or one is on its way that is worth waiting for, and the next
// has room.
func (l *lane) gathers() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return (len(l.waiting) > 0 || l.flying >= worthWaiting) && l.flying+len(l.waiting) < stickyMessages && l.size < stickyBytes
}

// add queues u, which route by put here, and makes sure that someone sends it.
func (l *lane) add(u *unit, by *route) error {
	l.p.mu.Lock()
	if l.p.closed && u.tries == 0 {
		l.p.mu.Unlock()
		return ErrClosed
	}
	l = l.p.keptLocked(l.p.behindLocked(l, u, by))
	u.lane = l
	l.mu.Lock()
	l.waiting = append(l.waiting, u)
	l.size += u.size
	if !l.running {
		l.running = true
		l.p.wg.Go(l.run)
	}
	l.mu.Unlock()
	l.p.mu.Unlock()
	return nil
}

func (l *lane) run() {
	if l.p.linger > 0 {
		sleep(l.p.ctx, l.p.linger)
	}
	for {
		l.gather()
		batch, late, gone, ok := l.take()
		for _, u := range gone {
			l.p.passed(u)
		}
		if !ok {
			return
		}
		l.fail(late, fmt.Errorf("send to %s: %w: not sent in time", l.topic, ErrUnavailable))
		if len(batch) > 0 {
			l.send(batch)
			l.landed()
		}
	}
}

// landed says that no request is on its way.
func (l *lane) landed() {
	l.mu.Lock()
	l.flying = 0
	l.mu.Unlock()
}

// gather returns when nobody has joined the next request for a few turns of the scheduler,
// or it is full.
func (l *lane) gather() {
	for before, quiet := 0, 0; quiet < laneYields; quiet++ {
		l.mu.Lock()
		n := len(l.waiting)
		l.mu.Unlock()
		if n >= gatherMessages {
			return
		}
		if n > before {
			before, quiet = n, 0
		}
		runtime.Gosched()
	}
}

// take is what goes into the next request, what has waited too long, and what nobody wants sent any
// more; ok is false when nothing waits, and then the lane has stopped.
func (l *lane) take() (batch, late, gone []*unit, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var size int64
	messages, n := 0, 0
	now := time.Now()
	for _, u := range l.waiting {
		if u.state.Load() == unitCancelled {
			n++
			l.size -= u.size
			gone = append(gone, u)
			continue
		}
		if len(batch) > 0 && (size+u.size > gatherBytes || messages+len(u.msgs) > gatherMessages || u.sysFlag != batch[0].sysFlag || u.delayed != batch[0].delayed ||
			u.deadline.Sub(batch[0].deadline).Abs() > l.p.timeout/gatherTimes) {
			break
		}
		n++
		l.size -= u.size
		if !u.state.CompareAndSwap(unitWaiting, unitTaken) {
			gone = append(gone, u)
			continue
		}
		if now.After(u.deadline) {
			late = append(late, u)
		} else {
			batch = append(batch, u)
			size += u.size
			messages += len(u.msgs)
		}
	}
	rest := copy(l.waiting, l.waiting[n:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	if len(batch)+len(late)+rest == 0 {
		l.running = false
		return nil, nil, gone, false
	}
	l.flying = len(batch)
	return batch, late, gone, true
}

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

func (l *lane) succeed(batch []*unit, r *remoting.Command) {
	var h remoting.SendReply
	err := h.Decode(r.Ext)
	var halves []halfName
	if err == nil && l.p.transactions != nil {
		halves, err = namesOf(&h, r, len(batch))
	}
	if err != nil {
		// It is stored, but nobody can say where.
		for _, u := range batch {
			u.end(nil, fmt.Errorf("send to %s: %w: %w", l.topic, ErrUncertain, err))
		}
		return
	}
	if batch[0].delayed {
		l.succeedDelayed(batch, r, &h)
		return
	}
	at := h.QueueOffset
	for n, u := range batch {
		rs := u.receipts()
		for i := range u.msgs { // not the bodies, which keep may change meanwhile
			rs[i] = Receipt{ID: u.msgs[i].id, Topic: l.topic, Queue: int(l.number.Load()), Offset: at, Broker: l.queue.broker, QueueID: int(l.queue.id), Duplicate: h.Duplicate}
			at++
		}
		if halves != nil {
			rs[0].half = halves[n]
		}
		u.end(rs, nil)
	}
}

// succeedDelayed is succeed of messages that were to come at their times, each of
// which waits or has come.
func (l *lane) succeedDelayed(batch []*unit, r *remoting.Command, h *remoting.SendReply) {
	offsets, handles := strings.Split(r.Ext["offsets"], ","), strings.Split(strings.Clone(r.Ext["recallHandle"]), ",")
	for i, u := range batch {
		rc := Receipt{ID: u.msgs[0].id, Topic: l.topic, Queue: int(l.number.Load()), Offset: h.QueueOffset + int64(i), Broker: l.queue.broker, QueueID: int(l.queue.id), Duplicate: h.Duplicate}
		if len(offsets) == len(batch) && len(handles) == len(batch) { // else none of them waits
			rc.Recall = handles[i]
			if n, err := strconv.ParseInt(offsets[i], 10, 64); err == nil {
				rc.Offset = n
			}
		}
		rs := u.receipts()
		rs[0] = rc
		u.end(rs, nil)
	}
}

// fail ends units that have no receipts. Those that certainly are not stored, since rules
// put them elsewhere, go there instead.
func (l *lane) fail(batch []*unit, err error) {
	anew := misplaced(err)
	for _, u := range batch {
		if !anew || !u.mayBePlaced() {
			u.end(nil, err)
			continue
		}
		u.tries, u.placed = 1, u.placed+1
		l.mu.Lock()
		l.displaced = append(l.displaced, u)
		if !l.placing {
			l.placing = true
			l.p.wg.Go(l.place) // who is at work holds wg above zero
		}
		l.mu.Unlock()
	}
}

// place sends what is displaced by the topic's present rules, in its order.
func (l *lane) place() {
	for {
		l.mu.Lock()
		if len(l.displaced) == 0 {
			l.placing = false
			l.mu.Unlock()
			return
		}
		pause := time.Duration(l.displaced[0].placed) * placePause
		l.mu.Unlock()
		_ = sleep(l.p.ctx, pause)
		r, err := l.p.c.routes.refresh(l.p.ctx, l.topic)
		l.mu.Lock()
		us := l.displaced
		l.displaced = nil
		l.mu.Unlock()
		for _, u := range us {
			if err != nil {
				u.end(nil, err)
			} else {
				u.again(r)
			}
		}
	}
}

// uncertain ends a batch that may be stored.
func (l *lane) uncertain(batch []*unit, err error) {
	l.renew()
	l.fail(batch, fmt.Errorf("%w: %w", ErrUncertain, err))
}

// renew takes a new identity for what comes.
func (l *lane) renew() { l.epoch, l.seq = l.epoch+1, 0 }

// move gives units that may go elsewhere, and are certainly not stored, to a
// lane that is well, and returns the others.
func (l *lane) move(batch []*unit) (rest []*unit) {
	for _, u := range batch {
		if !u.movable {
			rest = append(rest, u)
			continue
		}
		to := l.elsewhere()
		if to == nil {
			rest = append(rest, u)
			continue
		}
		u.tries++
		u.state.Store(unitWaiting)
		to.add(u, nil)
	}
	return rest
}

// evacuate is move for what waits behind a batch that failed.
func (l *lane) evacuate() {
	to := l.elsewhere()
	if to == nil {
		return
	}
	l.mu.Lock()
	var stay, leave []*unit
	for _, u := range l.waiting {
		if u.movable {
			leave = append(leave, u)
			l.size -= u.size
		} else {
			stay = append(stay, u)
		}
	}
	l.waiting = stay
	l.mu.Unlock()
	for i, u := range leave {
		if i > 0 {
			if next := l.elsewhere(); next != nil {
				to = next
			}
		}
		u.tries++
		to.add(u, nil)
	}
}

// elsewhere is a lane of another broker name that is well; nil: none.
func (l *lane) elsewhere() *lane {
	l.p.c.routes.mu.Lock()
	r := l.p.c.routes.topics[l.topic]
	l.p.c.routes.mu.Unlock()
	if r == nil || len(r.writable) == 0 {
		return nil
	}
	to, well, err := l.p.next(r, l.queue.broker)
	if err != nil || !well || to == l {
		return nil
	}
	return to
}
