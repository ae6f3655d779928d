package client

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
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
