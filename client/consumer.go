package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// Consumer is a member of a group: it is given its share of the queues of the
// topics it subscribes to, and hands their messages to a handler.
type Consumer struct {
	c             *Client
	group         string
	concurrency   int
	start         Position
	broadcast     bool
	store         OffsetStore
	prefetch      int
	prefetchBytes int64
	drain         time.Duration
	first, most   time.Duration // back-off of failed messages; 0: the broker's
	attempts      int           // at most; 0: the group's
	limit         time.Duration // of a handler
	here          bool          // what fails is handled again here
	ordered       bool          // each queue under its lock, one after the other
	strategy      Strategy
	batch         int // of the run
	commitEvery   time.Duration

	again chan struct{} // one token: rebalance
	told  atomic.Bool   // that members or queues are others
	lacks atomic.Bool   // locks, which are asked for again in a while

	joined atomic.Int64 // when it last began to run, Unix ms

	mu      sync.Mutex
	running bool
	over    func() bool // the run is, but for handlers at work
	subs    map[string]subscription
	// subscribed is the version of the last subscription: Unix ms, and higher than any before,
	// since claims and nodes tell a filter that was changed by it.
	subscribed int64
	paused     map[string]bool
	claims     map[laneKey]*claim
	leaving    map[laneKey]bool // lost, and a handler is at work
	jobs       *jobs            // of the current run
}

type subscription struct {
	filter  Filter
	version int64
}

// Handler handles one message. Nil: done. An error, a panic, or, but for WithOrder, more time
// than WithConsumeTimeout: a failed attempt. The message is put back and comes again, to
// any member of the group, after a delay that grows with its attempts (10 s, 30 s,
// 1 min to 2 h), WithBackoff's, or RetryAfter's; after the last attempt, or with
// DeadLetter, it goes to the group's dead letters. A broadcast consumer handles it
// again itself, as often as it takes. ctx ends when the queue is taken away, the time
// is over, or the drain time is.
type Handler func(ctx context.Context, d *Delivery) error

// BatchHandler handles messages of one queue and returns an error, or nil, for
// each; nil for the slice is nil for all.
type BatchHandler func(ctx context.Context, ds []*Delivery) []error

// OffsetStore keeps the offsets of a broadcast consumer: the next to be
// handled in a queue.
type OffsetStore interface {
	Load(ctx context.Context, topic string, queue int) (int64, bool, error)
	Store(ctx context.Context, topic string, queue int, offset int64) error
}

// ConsumerStats is what a consumer holds.
type ConsumerStats struct {
	Queues   int   // that it owns
	Buffered int   // messages waiting for a handler
	InFlight int   // in handlers
	Lag      int64 // behind the ends as of the last pulls, handled or not
}

// ConsumerOption changes a consumer.
type ConsumerOption func(*Consumer)

// WithConcurrency is how many handlers run at once. Default: 20. With 1 and one
// member a queue's messages are handled in order until one fails.
func WithConcurrency(n int) ConsumerOption { return func(s *Consumer) { s.concurrency = n } }

// WithStartAt is where the group starts in a queue it has no offset in.
// Default: Earliest.
func WithStartAt(p Position) ConsumerOption { return func(s *Consumer) { s.start = p } }

// WithBroadcast gives this consumer every queue. Offsets go to the store; nil:
// none are kept, and each Run starts at WithStartAt.
func WithBroadcast(store OffsetStore) ConsumerOption {
	return func(s *Consumer) { s.broadcast, s.store = true, store }
}

// WithPrefetch bounds messages held, shared evenly by the queues; a queue may
// always hold one pull of 32 messages. Default: 4096 messages, 64 MiB.
func WithPrefetch(messages int, bytes int64) ConsumerOption {
	return func(s *Consumer) { s.prefetch, s.prefetchBytes = messages, bytes }
}

// WithDrainTimeout is how long handlers may finish when Run ends. Default: 20 s.
func WithDrainTimeout(d time.Duration) ConsumerOption { return func(s *Consumer) { s.drain = d } }

// WithBackoff is the wait before a failed message comes again, doubling. Default: the
// broker's, see Handler; of a broadcast consumer 1 s to 1 min.
func WithBackoff(first, most time.Duration) ConsumerOption {
	return func(s *Consumer) { s.first, s.most = first, most }
}

// WithMaxAttempts is how often a message is handled before it goes to the dead letters.
// Default: 1 more than the group's setting, which is 16 retries.
func WithMaxAttempts(n int) ConsumerOption { return func(s *Consumer) { s.attempts = n } }

// WithConsumeTimeout is how long a handler may take: then its context ends, the attempt
// has failed, and what it still returns counts for nothing. With WithOrder, as in RocketMQ,
// what it returns counts whenever that is: nothing else of its queue is handled before.
// Default: 15 min.
func WithConsumeTimeout(d time.Duration) ConsumerOption { return func(s *Consumer) { s.limit = d } }

// WithLocalRetry has what fails handled again by this consumer, as often as it takes, as
// a broadcast consumer does: nothing is put back, and nothing behind it in its queue
// counts as handled until it is.
func WithLocalRetry() ConsumerOption { return func(s *Consumer) { s.here = true } }

// WithStrategy is how the group's members share queues. A member that uses another than the
// one that has been in the group longest is refused: Run fails with ErrInvalid. Default:
// Average.
func WithStrategy(how Strategy) ConsumerOption { return func(s *Consumer) { s.strategy = how } }

// NewConsumer returns a consumer that does nothing until Run.
func (c *Client) NewConsumer(group string, opts ...ConsumerOption) (*Consumer, error) {
	if err := invalid(message.CheckGroup(group)); err != nil {
		return nil, err
	}
	s := &Consumer{c: c, group: group, concurrency: 20, prefetch: 4096, prefetchBytes: 64 << 20, drain: 20 * time.Second, limit: 15 * time.Minute,
		commitEvery: time.Second, again: make(chan struct{}, 1), subs: make(map[string]subscription),
		paused: make(map[string]bool), claims: make(map[laneKey]*claim)}
	for _, o := range opts {
		o(s)
	}
	if s.ordered && s.broadcast {
		return nil, fmt.Errorf("%w: a broadcasting consumer has no locks to keep an order by", ErrInvalid)
	}
	if s.here = s.here || s.broadcast || s.ordered; s.here && s.first == 0 {
		s.first, s.most = time.Second, time.Minute
	}
	if s.concurrency < 1 || s.prefetch < 1 || s.prefetchBytes < 1 || s.drain < 0 || s.first < 0 || s.most < s.first || s.attempts < 0 || s.limit <= 0 {
		return nil, fmt.Errorf("%w: concurrency, prefetch, drain, back-off, attempts and time must be positive", ErrInvalid)
	}
	return s, nil
}

// Subscribe adds a topic, or changes its filter. All members of a group must
// subscribe alike. A filter that cannot be read is ErrInvalid.
func (s *Consumer) Subscribe(topic string, f Filter) error {
	if err := invalid(message.CheckTopic(topic)); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	s.mu.Lock()
	s.subscribed = max(time.Now().UnixMilli(), s.subscribed+1)
	s.subs[topic] = subscription{f, s.subscribed}
	s.mu.Unlock()
	s.c.beatSoon()
	s.rebalanceSoon()
	return nil
}

// Unsubscribe gives the topic's queues up.
func (s *Consumer) Unsubscribe(topic string) error {
	s.mu.Lock()
	delete(s.subs, topic)
	s.mu.Unlock()
	s.c.beatSoon()
	s.rebalanceSoon()
	return nil
}

// Pause stops pulling from the topics, all if none is named; what is held is
// still handled. What was put back, whatever its topic, comes again unless all are paused.
func (s *Consumer) Pause(topics ...string) { s.setPaused(true, topics) }

// Resume undoes Pause.
func (s *Consumer) Resume(topics ...string) { s.setPaused(false, topics) }

func (s *Consumer) setPaused(on bool, topics []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(topics) == 0 {
		topics = slices.Collect(maps.Keys(s.subs))
	}
	for _, t := range topics {
		s.paused[t] = on
	}
	for _, cl := range s.claims {
		cl.signal()
	}
}

func (s *Consumer) isPaused(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if topic != message.RetryTopic(s.group) {
		return s.paused[topic]
	}
	for t := range s.subs {
		if !s.paused[t] {
			return false
		}
	}
	return len(s.subs) > 0
}

// Stats may be called at any time.
func (s *Consumer) Stats() ConsumerStats {
	s.mu.Lock()
	jobs := s.jobs
	claims := slices.Collect(maps.Values(s.claims))
	s.mu.Unlock()
	st := ConsumerStats{Queues: len(claims)}
	if jobs != nil {
		st.Buffered, st.InFlight = jobs.counts()
	}
	for _, cl := range claims {
		st.Lag += cl.lag()
	}
	return st
}

// Run handles messages until ctx ends, then lets handlers finish within the
// drain time, and has what they failed put back, commits, and returns nil. What is not
// known to be put back by then counts as not handled: it comes again, and once more if it was
// put back after all. Run fails at once if no topic is
// subscribed, one does not exist or a filter is not served, with ErrInvalid when the group shares
// its queues by another Strategy, or another Consumer of the group runs in this Client, which is one
// member of it (WithConcurrency has it handle more at once), and with ErrClosed when the client closes.
// It may be called again, but not twice at once.
func (s *Consumer) Run(ctx context.Context, h Handler) error {
	return s.RunBatch(ctx, 1, func(ctx context.Context, ds []*Delivery) []error { return []error{h(ctx, ds[0])} })
}

// RunBatch is Run with up to limit messages of one queue for each call.
func (s *Consumer) RunBatch(ctx context.Context, limit int, h BatchHandler) error {
	if limit < 1 {
		return fmt.Errorf("%w: batch of %d", ErrInvalid, limit)
	}
	s.mu.Lock()
	if s.running || len(s.subs) == 0 {
		defer s.mu.Unlock()
		if s.running {
			return fmt.Errorf("%w: consumer of group %s runs already", ErrInvalid, s.group)
		}
		return fmt.Errorf("%w: consumer of group %s subscribes to nothing", ErrInvalid, s.group)
	}
	s.running, s.batch, s.leaving = true, limit, make(map[laneKey]bool)
	jobs := newJobs()
	s.jobs = jobs
	subs := maps.Clone(s.subs)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running, s.jobs = false, nil
		s.mu.Unlock()
	}()
	for t, sub := range subs {
		if _, err := s.c.routes.get(ctx, t); err != nil {
			return fmt.Errorf("consume %s: %w", t, err)
		}
		if err := s.c.checkFilter(ctx, s.group, t, sub.filter); err != nil {
			return err
		}
	}
	if err := s.c.join(s); err != nil {
		return err
	}

	handling, endHandling := context.WithCancel(context.WithoutCancel(ctx))
	defer endHandling()
	pulling, endPulling := context.WithCancel(ctx)
	defer endPulling()
	s.mu.Lock()
	s.over = func() bool { return pulling.Err() != nil }
	s.mu.Unlock()
	stop := context.AfterFunc(s.c.ctx, endPulling)
	defer stop()

	var workers, loops sync.WaitGroup
	for range s.concurrency {
		workers.Go(func() { s.work(jobs, limit, h) })
	}
	loops.Go(func() {
		for sleep(pulling, s.commitEvery) == nil {
			s.commit(handling, s.owned())
		}
	})
	s.c.heartbeat(pulling)
	var refused error
	for pulling.Err() == nil {
		wait := 20 * time.Second
		if err := s.rebalance(pulling, handling, &loops, jobs); errors.Is(err, errStrategy) {
			refused = err
			break
		} else if err != nil {
			s.c.log.Warn("rebalance", "group", s.group, "error", err)
			wait = time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-pulling.Done():
		case <-s.again:
		case <-t.C:
		}
		t.Stop()
	}
	endPulling()
	jobs.stop()
	err := waitFor(&workers, s.drain, endHandling)
	endHandling()
	loops.Wait()
	s.leave()
	if refused != nil {
		return errors.Join(refused, err)
	}
	if err == nil && s.c.ctx.Err() != nil && ctx.Err() == nil {
		err = ErrClosed
	}
	return err
}

// waitFor waits for handlers: as long as drain, then, with their contexts
// ended, a second more.
func waitFor(workers *sync.WaitGroup, drain time.Duration, end func()) error {
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	for _, d := range []time.Duration{drain, time.Second} {
		t := time.NewTimer(d)
		select {
		case <-done:
			t.Stop()
			return nil
		case <-t.C:
		}
		end()
	}
	return errors.New("client: handlers still run a second after their contexts ended")
}

// leave commits everything and takes the member out of its group.
func (s *Consumer) leave() {
	claims := s.owned()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.c.ctx), 3*time.Second)
	defer cancel()
	s.commit(ctx, claims)
	if s.ordered {
		s.unlock(ctx, slices.DeleteFunc(slices.Clone(claims), (*claim).busy)) // the others' locks expire
	}
	s.mu.Lock()
	for _, cl := range claims {
		cl.cancel()
	}
	clear(s.claims)
	s.mu.Unlock()
	s.c.mu.Lock()
	delete(s.c.consumers, s)
	s.c.mu.Unlock()
	s.c.unregister(s.c.ctx, remoting.UnregisterHeader{ClientID: s.c.id, ConsumerGroup: s.group, Joined: s.joined.Load()})
}

func (s *Consumer) owned() []*claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.claims))
}

// work is a handler's goroutine.
func (s *Consumer) work(jobs *jobs, limit int, h BatchHandler) {
	for {
		batch, ok := jobs.take(limit)
		if !ok {
			return
		}
		switch {
		case batch[0].claim.ctx.Err() != nil:
		case s.ordered:
			s.handleInOrder(jobs, batch, h)
		default:
			s.handleBatch(jobs, batch, h)
		}
		jobs.finished(len(batch))
	}
}

// errTimeout: a handler took longer than it may.
var errTimeout = errors.New("client: the handler took too long")

// handleBatch has a batch handled, and what became of it noted once: by what the
// handler returns, or when its time is over.
func (s *Consumer) handleBatch(jobs *jobs, batch []*job, h BatchHandler) {
	cl := batch[0].claim
	ctx, cancel := context.WithCancel(cl.ctx)
	defer cancel()
	var once sync.Once
	t := time.AfterFunc(s.limit, func() {
		once.Do(func() {
			cancel() // first: to put back may take long
			for _, j := range batch {
				s.failed(jobs, j, errTimeout)
			}
		})
	})
	defer t.Stop()
	errs := s.handle(ctx, h, s.handed(batch))
	once.Do(func() {
		for i, j := range batch {
			if i < len(errs) && errs[i] != nil {
				s.failed(jobs, j, errs[i])
			} else {
				cl.done(j)
			}
		}
	})
}

// handed are deliveries for a handler, which may change them: the messages may come again.
func (s *Consumer) handed(batch []*job) []*Delivery {
	own, ds := make([]Delivery, len(batch)), make([]*Delivery, len(batch))
	for i, j := range batch {
		own[i] = *j.d
		if s.here {
			own[i].Keys, own[i].Properties = slices.Clone(j.d.Keys), maps.Clone(j.d.Properties)
		}
		ds[i] = &own[i]
	}
	return ds
}

func (s *Consumer) handle(ctx context.Context, h BatchHandler, ds []*Delivery) (errs []error) {
	defer func() {
		if p := recover(); p != nil {
			s.c.log.Error("handler panicked", "group", s.group, "topic", ds[0].Topic, "queue", ds[0].Queue, "offset", ds[0].Offset,
				"panic", p, "stack", string(debug.Stack()))
			errs = make([]error, len(ds))
			for i := range errs {
				errs[i] = fmt.Errorf("panic: %v", p)
			}
		}
	}()
	return h(ctx, ds)
}

// describe is the consumer in a heartbeat.
func (s *Consumer) describe() remoting.ConsumerData {
	d := remoting.ConsumerData{ConsumeFromWhere: remoting.FromFirstOffset, ConsumeType: remoting.ConsumePassively, GroupName: s.group,
		MessageModel: remoting.Clustering, Strategy: s.strategy.String(), Joined: s.joined.Load()}
	if s.start.kind == atLatest {
		d.ConsumeFromWhere = remoting.FromLastOffset
	}
	if s.broadcast {
		d.MessageModel, d.Strategy = remoting.Broadcasting, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subs := s.subscriptionsLocked()
	for _, t := range slices.Sorted(maps.Keys(subs)) {
		sub := subs[t]
		data := remoting.SubscriptionData{ExpressionType: sub.filter.kind(), SubString: sub.filter.expression(), SubVersion: sub.version, Topic: t}
		for _, tag := range sub.filter.tags {
			data.TagsSet = append(data.TagsSet, tag)
			data.CodeSet = append(data.CodeSet, message.TagHash(tag))
		}
		d.SubscriptionDataSet = append(d.SubscriptionDataSet, data)
	}
	return d
}

// subscriptionsLocked are the topics, and the one in which what was put back comes
// again.
func (s *Consumer) subscriptionsLocked() map[string]subscription {
	subs := maps.Clone(s.subs)
	if !s.here {
		subs[message.RetryTopic(s.group)] = subscription{All(), retryVersion}
	}
	return subs
}

func (s *Consumer) rebalanceSoon() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}
