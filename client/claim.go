package client

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// claim is a queue this consumer owns: what was pulled and how far it is
// handled.
type claim struct {
	s      *Consumer
	key    laneKey
	number int
	sub    subscription
	jobs   *jobs
	ctx    context.Context // of handlers: ends with the claim, or with run
	cancel context.CancelFunc
	run    context.Context // ends with the drain time of the run
	room   chan struct{}   // one token: look again
	epoch  uint64          // of the queue's lock; 0: there is none

	mu       sync.Mutex
	version  int    // raised when the place is moved from outside
	next     int64  // to be pulled
	part     uint32 // the number of the partition that it is in; 0: nothing came from there yet
	max      int64  // end of the queue as of the last pull
	held     []*job
	bytes    int64
	saved    int64 // committed; -1: none
	started  bool
	limit    int
	maxBytes int64
	order    inOrder
	until    time.Time // the queue's lock counts here, if there is one
	commits  int       // on their way, of this version
	stale    int       // and of versions before

	pulledAt, handledAt time.Time // the last messages; for operators
}

// job is a message on its way to a handler and back.
type job struct {
	claim   *claim
	d       *Delivery
	size    int64
	version int
	handled bool
	// delivery names it to the broker when it is put back, however often that is tried.
	delivery uint64
}

const leastPrefetch = 32

func newClaim(s *Consumer, k laneKey, number int, sub subscription, handling context.Context, jobs *jobs) *claim {
	cl := &claim{s: s, key: k, number: number, sub: sub, jobs: jobs, run: handling, room: make(chan struct{}, 1), saved: -1, limit: leastPrefetch, maxBytes: 1}
	cl.ctx, cl.cancel = context.WithCancel(handling)
	return cl
}

func (cl *claim) share(messages int, bytes int64) {
	cl.mu.Lock()
	cl.limit, cl.maxBytes = max(messages, leastPrefetch), max(bytes, 1)
	cl.mu.Unlock()
	cl.signal()
}

func (cl *claim) signal() {
	select {
	case cl.room <- struct{}{}:
	default:
	}
}

// pull fills the claim until it is lost or pulling ends.
func (cl *claim) pull(pulling context.Context) {
	ctx, cancel := context.WithCancel(pulling)
	defer cancel()
	defer context.AfterFunc(cl.ctx, cancel)()
	log := cl.s.c.log.With("group", cl.s.group, "topic", cl.key.topic, "queue", cl.number)
	for again := false; cl.find(ctx, again, log); again = true {
		cl.pullOn(ctx, log)
	}
}

// find finds where to start, and tries until it has; again as in initial. false: ctx ended.
func (cl *claim) find(ctx context.Context, again bool, log *slog.Logger) bool {
	for wait := newBackoff(100*time.Millisecond, 2*time.Second); ctx.Err() == nil; wait.sleep(ctx) {
		offset, saved, err := cl.initial(ctx, again)
		if err == nil {
			cl.mu.Lock()
			if !cl.started {
				cl.next, cl.saved, cl.started = offset, saved, true
			}
			cl.mu.Unlock()
			return true
		}
		log.Warn("start of queue not found", "error", err)
	}
	return false
}

// pullOn pulls on until ctx ends, or the topic was deleted: there may be another by its name,
// in which the place means nothing.
func (cl *claim) pullOn(ctx context.Context, log *slog.Logger) {
	puller := puller{c: cl.s.c, group: cl.s.group, key: cl.key, filter: cl.sub.filter, subVersion: cl.sub.version, epoch: cl.epoch}
	for {
		from, version, n := cl.waitRoom(ctx)
		if n == 0 {
			return
		}
		got, err := puller.pull(ctx, from, n)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrTopicNotFound):
			log.Warn("the topic was deleted", "error", err)
			cl.forget()
			cl.s.told.Store(true)
			cl.s.rebalanceSoon()
			return
		case cl.epoch != 0 && fenced(err): // what is held, and the place, may be another's by now
			log.Warn("the queue's lock is not held", "error", err)
			cl.forget()
			cl.s.rebalanceSoon()
			sleep(ctx, time.Second)
			return
		case err == nil && got.moved && from > got.max:
			log.Warn("the queue ends below: the topic was deleted and made again", "from", from, "end", got.max)
			cl.forget()
			return
		case err != nil:
			log.Warn("pull", "offset", from, "error", err)
			if cl.epoch != 0 { // perhaps another holds the lock
				cl.s.rebalanceSoon()
			}
			if sleep(ctx, time.Second) != nil {
				return
			}
		case got.moved:
			log.Info("place moved by the broker", "from", from, "to", got.next)
			cl.moveTo(got.next)
		default:
			cl.take(got, version)
		}
	}
}

// initial is where to start, and what is committed (-1: nothing); again: in a topic that came
// back under its name.
func (cl *claim) initial(ctx context.Context, again bool) (offset, saved int64, err error) {
	var found bool
	switch {
	case !cl.s.broadcast:
		offset, found, err = cl.s.c.committedOffset(ctx, cl.s.group, cl.key)
	case cl.s.store != nil && !again: // what it has is of the topic before
		offset, found, err = cl.s.store.Load(ctx, cl.key.topic, cl.number)
	}
	if err != nil || found {
		return offset, offset, err
	}
	start := cl.s.start
	if _, ok := message.RetryGroup(cl.key.topic); ok { // whatever is there is the group's
		start = Earliest()
	}
	if again && start.kind == atLatest { // all that is in it came since
		start = Earliest()
	}
	// Committed soon, so that a group that starts at the end stays there.
	offset, err = cl.s.c.resolve(ctx, cl.key, start)
	return offset, -1, err
}

// waitRoom waits until messages may be pulled and says how many; 0: ctx ended.
func (cl *claim) waitRoom(ctx context.Context) (from int64, version, n int) {
	for {
		paused := cl.s.isPaused(cl.key.topic)
		cl.mu.Lock()
		// Once something is pulled from where the place was moved to, a node takes what is
		// higher: so first end commits of before.
		paused = paused || cl.stale > 0
		from, version, n = cl.next, cl.version, cl.limit-len(cl.held)
		full := n <= 0 || cl.bytes >= cl.maxBytes && len(cl.held) > 0
		cl.mu.Unlock()
		if ctx.Err() != nil {
			return 0, 0, 0
		}
		if !paused && !full {
			return from, version, n
		}
		select {
		case <-cl.room:
		case <-ctx.Done():
		}
	}
}

// take holds what was pulled, unless the place was moved meanwhile.
func (cl *claim) take(got pulled, version int) {
	cl.mu.Lock()
	if version != cl.version {
		cl.mu.Unlock()
		return
	}
	cl.next, cl.max, cl.pulledAt = max(cl.next, got.next), got.max, time.Now()
	if got.part != 0 {
		cl.part = got.part
	}
	if len(cl.held) == 0 {
		cl.handledAt = cl.pulledAt // nothing waited until now
	}
	out := make([]*job, 0, len(got.messages))
	for _, d := range got.messages {
		d.Queue = cl.number
		retried(d)
		j := &job{claim: cl, d: d, size: int64(len(d.Body)) + 512, version: version, delivery: rand.Uint64() | 1}
		cl.bytes += j.size
		cl.held = append(cl.held, j)
		out = append(out, j)
	}
	if cl.s.ordered {
		out = cl.headLocked()
	}
	cl.mu.Unlock()
	cl.jobs.add(out)
}

// done lets go of a handled message.
func (cl *claim) done(j *job) {
	cl.mu.Lock()
	j.handled, cl.handledAt = true, time.Now()
	n := 0
	for n < len(cl.held) && cl.held[n].handled {
		cl.bytes -= cl.held[n].size
		n++
	}
	clear(cl.held[:n])
	cl.held = cl.held[n:]
	cl.mu.Unlock()
	if n > 0 {
		cl.signal()
	}
}

// moveTo continues at another place and forgets what is held.
func (cl *claim) moveTo(offset int64) { cl.leave(offset, true) }

// forget is before the queue is begun anew: nothing is held, and nothing to be committed.
func (cl *claim) forget() { cl.leave(0, false) }

func (cl *claim) leave(next int64, started bool) {
	cl.mu.Lock()
	cl.version++
	cl.stale, cl.commits = cl.stale+cl.commits, 0
	if cl.next, cl.saved, cl.started = next, -1, started; !started {
		cl.part = 0
	}
	cl.held, cl.bytes = nil, 0
	cl.order.out = cl.order.idle != nil
	cl.mu.Unlock()
	cl.signal()
}

// live says whether a job still counts: its queue is owned and was not moved.
func (j *job) live() bool {
	if j.claim.ctx.Err() != nil {
		return false
	}
	j.claim.mu.Lock()
	defer j.claim.mu.Unlock()
	return j.version == j.claim.version
}

// again makes it the next attempt's: the handler may still have the delivery of this one.
func (j *job) again() {
	j.claim.mu.Lock() // who commits looks at what is held
	defer j.claim.mu.Unlock()
	d := *j.d
	d.Attempt++
	j.d = &d
}

// floorLocked is the lowest offset not handled. cl.mu is held.
func (cl *claim) floorLocked() int64 {
	if len(cl.held) > 0 {
		return cl.held[0].d.Offset
	}
	return cl.next
}

// committing is what is to be committed, until committed is called; ok is false if that did
// not move.
func (cl *claim) committing() (offset int64, part uint32, version int, ok bool) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	o := cl.floorLocked()
	if !cl.started || o == cl.saved {
		return 0, 0, 0, false
	}
	cl.commits++
	return o, cl.part, cl.version, true
}

// committed says what became of it.
func (cl *claim) committed(offset int64, version int, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if version != cl.version {
		if cl.stale--; cl.stale == 0 {
			cl.signal()
		}
		return
	}
	cl.commits--
	if e, ok := errors.AsType[*BrokerError](err); err == nil || ok && (e.Code == int(remoting.InvalidParameter) || e.Code == int(remoting.TopicNotExist)) { // the queue is gone: never again
		cl.saved = max(cl.saved, offset)
	}
}

func (cl *claim) lag() int64 {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return max(0, cl.max-cl.floorLocked())
}

// reset moves claims to offsets an operator chose.
func (s *Consumer) reset(table map[remoting.MessageQueue]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for q, o := range table {
		if cl := s.claims[laneKey{q.Topic, queueKey{q.BrokerName, q.QueueID}}]; cl != nil {
			cl.moveTo(o)
		}
	}
}
