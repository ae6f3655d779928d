package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"raftmq/remoting"
)

// WithOrder handles each queue's messages one after the other, in its order, by one
// member of the group at a time: the queue is locked for it, in the cluster. A message
// whose handler fails blocks its queue and is handled again after a second, or as
// RetryAfter says, until it succeeds; after DeadLetter the next one's turn comes. One that is
// over WithConsumeTimeout has its context ended, and is waited for.
//
// A member that stopped for so long that another has its queue may still be at work, as
// in every system; what it does then to the group is refused: its pulls and its commits
// count under its own hold of the lock only. Handlers should end when their context does. Nothing
// more is handled by a member that could not ask for its lock for so long that another may have it.
func WithOrder() ConsumerOption { return func(s *Consumer) { s.ordered = true } }

const (
	// inPlace is the wait before a message that failed is handled again in its place.
	inPlace = time.Second
	// lockAgain is when a queue is asked for again that another holds.
	lockAgain = time.Second
)

// lockHeld is how long a lock counts here from when it was asked for: less than nodes keep
// it, 60 s, also if their clocks are a little faster.
var lockHeld = 50 * time.Second

// hold is what a member has of a queue.
type hold struct {
	epoch uint64 // of the lock; 0: none
	until time.Time
}

// inOrder is what a claim keeps that is handled in order. The claim's lock is held.
type inOrder struct {
	out  bool          // its first messages are on their way to a handler, or wait to be again
	idle chan struct{} // a handler is at work; closed when it is done
}

// headLocked is what is to be handled next, if its turn has come.
func (cl *claim) headLocked() []*job {
	if cl.order.out || len(cl.held) == 0 {
		return nil
	}
	cl.order.out = true
	return append([]*job(nil), cl.held[:min(cl.s.batch, len(cl.held))]...)
}

// begin is before a handler. now is false if it is not j's turn any more, or, with later, if the
// lock may have passed to another: it is asked for again first.
func (cl *claim) begin(j *job) (now, later bool) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.ctx.Err() != nil || j.version != cl.version || cl.order.idle != nil {
		return false, false
	}
	if !time.Now().Before(cl.until) {
		return false, true
	}
	cl.order.idle = make(chan struct{})
	return true, false
}

// fenced says that a pull was refused, since another holds the lock, or has held it since, or
// the queue is of another topic by its name.
func fenced(err error) bool {
	e, ok := errors.AsType[*BrokerError](err)
	return ok && e.Code == int(remoting.IllegalOperation)
}

// prolong says that the lock was given again.
func (cl *claim) prolong(until time.Time) {
	cl.mu.Lock()
	cl.until = until
	cl.mu.Unlock()
}

// end is after it. next is to be handled now; nothing if again waits for its turn.
func (cl *claim) end(again *job) (next []*job, turn bool) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	close(cl.order.idle)
	cl.order.idle = nil
	if again != nil && again.version == cl.version {
		return nil, true
	}
	cl.order.out = false
	return cl.headLocked(), false
}

// busy reports whether a handler is at work.
func (cl *claim) busy() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.order.idle != nil
}

// atWork is closed when no handler is.
func (cl *claim) atWork() <-chan struct{} {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.order.idle != nil {
		return cl.order.idle
	}
	none := make(chan struct{})
	close(none)
	return none
}

// handleInOrder has the first messages of a queue handled, and then those behind them.
func (s *Consumer) handleInOrder(jobs *jobs, batch []*job, h BatchHandler) {
	cl := batch[0].claim
	if now, later := cl.begin(batch[0]); later {
		s.rebalanceSoon()
		jobs.addLater(batch[0], lockAgain) // the others follow it
		return
	} else if !now {
		return
	}
	ctx, cancel := context.WithTimeout(cl.ctx, s.limit)
	errs := s.handle(ctx, h, s.handed(batch))
	cancel()
	var failed *job
	var err error
	for i, j := range batch {
		if i < len(errs) && errs[i] != nil {
			failed, err = j, errs[i]
			if !s.buried(j, err) {
				break
			}
			failed = nil
		}
		cl.done(j)
	}
	next, again := cl.end(failed)
	jobs.add(next)
	if !again || cl.ctx.Err() != nil {
		return
	}
	wait := inPlace
	if r, ok := errors.AsType[*retryAfter](err); ok {
		wait = r.delay
	}
	s.c.log.Info("message failed, and its queue waits", "group", s.group, "topic", failed.d.Topic, "queue", failed.d.Queue, "offset", failed.d.Offset, "attempt", failed.d.Attempt, "again", wait, "error", err)
	failed.again()
	jobs.addLater(failed, wait)
}

// buried puts a message with the dead letters, if the handler chose that.
func (s *Consumer) buried(j *job, err error) bool {
	if _, ok := errors.AsType[*deadLetter](err); !ok {
		return false
	}
	back := s.putBack(j, -1, err)
	if notKept(back) {
		s.letGo(j, back)
		return true
	}
	if back != nil {
		s.c.log.Warn("message not put with the dead letters: it is handled again", "group", s.group, "topic", j.d.Topic, "queue", j.d.Queue, "offset", j.d.Offset, "error", back)
	}
	return back == nil
}

// lock asks for the queues' locks, or prolongs them, and takes those from want that
// another holds. Of queues of which nothing is known claims keep what they have. It
// returns the locks.
func (s *Consumer) lock(ctx context.Context, want map[laneKey]subscription) map[laneKey]hold {
	holds := make(map[laneKey]hold)
	for broker, keys := range byBroker(want) {
		until := time.Now().Add(lockHeld)
		got, err := s.askLocks(ctx, remoting.LockBatchMQ, broker, keys)
		s.mu.Lock()
		for _, k := range keys {
			switch cl := s.claims[k]; {
			case err == nil && got[k] != 0:
				holds[k] = hold{got[k], until}
				if cl != nil && cl.epoch == got[k] {
					cl.prolong(until)
				}
			case err != nil && cl != nil:
				holds[k] = hold{epoch: cl.epoch}
			default:
				delete(want, k)
			}
		}
		s.mu.Unlock()
		if err != nil {
			s.c.log.Warn("lock queues", "group", s.group, "broker", broker, "error", err)
		}
		if len(got) < len(keys) && s.lacks.CompareAndSwap(false, true) { // one asks for all: else each asking has several follow it
			time.AfterFunc(lockAgain, func() {
				s.lacks.Store(false)
				s.rebalanceSoon()
			})
		}
	}
	return holds
}

// giveBack commits and unlocks what is lost, once no handler is at work on it.
func (s *Consumer) giveBack(handling context.Context, lost []*claim, loops *sync.WaitGroup) {
	for _, cl := range lost {
		s.mu.Lock()
		s.leaving[cl.key] = true
		s.mu.Unlock()
		loops.Go(func() {
			select {
			case <-cl.atWork():
			case <-handling.Done():
			}
			s.commit(handling, []*claim{cl})
			if !cl.busy() { // else the lock expires
				ctx, cancel := context.WithTimeout(handling, 3*time.Second)
				s.unlock(ctx, []*claim{cl})
				cancel()
			}
			s.mu.Lock()
			delete(s.leaving, cl.key)
			s.mu.Unlock()
			s.rebalanceSoon()
		})
	}
}

// unlock gives locks back; those that are not expire.
func (s *Consumer) unlock(ctx context.Context, claims []*claim) {
	keys := make(map[laneKey]subscription)
	for _, cl := range claims {
		keys[cl.key] = cl.sub
	}
	for broker, keys := range byBroker(keys) {
		if _, err := s.askLocks(ctx, remoting.UnlockBatchMQ, broker, keys); err != nil {
			s.c.log.Info("unlock queues", "group", s.group, "broker", broker, "error", err)
		}
	}
}

func byBroker(keys map[laneKey]subscription) map[string][]laneKey {
	m := make(map[string][]laneKey)
	for k := range keys {
		m[k.queue.broker] = append(m[k.queue.broker], k)
	}
	return m
}

// askLocks locks or unlocks queues of a broker name, and returns the epochs of what is
// held.
func (s *Consumer) askLocks(ctx context.Context, code remoting.Code, broker string, keys []laneKey) (map[laneKey]uint64, error) {
	body := remoting.LockBatch{ConsumerGroup: s.group, ClientID: s.c.id}
	for _, k := range keys {
		body.MQSet = append(body.MQSet, remoting.MessageQueue{Topic: k.topic, BrokerName: k.queue.broker, QueueID: k.queue.id})
	}
	req := remoting.NewRequest(code, nil)
	req.Body = remoting.EncodeBody(body)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, addr, err := s.c.askBroker(ctx, "lock", broker, req)
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal("lock", "", s.group, addr, r)
	}
	held := make(map[laneKey]uint64)
	if code == remoting.UnlockBatchMQ {
		return held, nil
	}
	var reply remoting.LockReply
	if err := remoting.DecodeBody(r.Body, &reply); err != nil {
		return nil, err
	}
	for i, q := range reply.LockOKMQSet {
		if i < len(reply.Epochs) {
			held[laneKey{q.Topic, queueKey{q.BrokerName, q.QueueID}}] = reply.Epochs[i]
		}
	}
	return held, nil
}
