package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// Members other than the first leave after a while and come back, and handlers
// fail now and then: their messages must come again, to whoever has the queue then.
const (
	shortStay, longStay = 1500 * time.Millisecond, 5 * time.Second
	awayFor             = 500 * time.Millisecond
	failOneOf           = 20
)

// member returns what runs the i-th member of a group until ctx ends.
func (r *run) member(group string, t Topic, i int, restless bool) (func(ctx context.Context) error, error) {
	s, err := r.clients[i%len(r.clients)].NewConsumer(group, client.WithStartAt(client.Earliest()), client.WithDrainTimeout(5*time.Second), client.WithLocalRetry())
	if err != nil {
		return nil, err
	}
	if err := s.Subscribe(t.Name, client.All()); err != nil {
		return nil, err
	}
	name := group + "/member-" + strconv.Itoa(i)
	h := handler{r: r, group: group, topic: t, rng: r.o.Seed.Stream(name), process: name}
	if !restless {
		return func(ctx context.Context) error { return s.RunBatch(ctx, 32, h.handle) }, nil
	}
	rng := r.o.Seed.Stream(name + "/stays")
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			stay, leave := context.WithTimeout(ctx, shortStay+time.Duration(rng.Int64N(int64(longStay-shortStay))))
			err := s.RunBatch(stay, 32, h.handle)
			leave()
			if err != nil {
				return err
			}
			sleep(ctx, awayFor)
		}
		return nil
	}, nil
}

// handler writes down what a member is given, and fails some of it.
type handler struct {
	r       *run
	group   string
	topic   Topic
	process string

	mu  sync.Mutex
	rng *rand.Rand
}

var errHandler = errors.New("the handler fails")

func (h *handler) handle(_ context.Context, ds []*client.Delivery) []error {
	h.mu.Lock()
	fails := h.rng.IntN(failOneOf) == 0
	h.mu.Unlock()
	op := history.Op{Process: h.process, Type: history.OK, F: history.Deliver, Group: h.group}
	for _, d := range ds {
		op.Messages = append(op.Messages, history.Message{Queue: h.topic.Queue(d.Queue), Offset: d.Offset, Value: valueOf(&d.Message)})
	}
	if !fails {
		h.r.history.Add(op)
		return nil
	}
	op.Type, op.Error = history.Fail, errHandler.Error()
	h.r.history.Add(op)
	errs := make([]error, len(ds))
	for i := range errs {
		errs[i] = errHandler
	}
	return errs
}

// ask asks for a group's offsets again and again until ctx ends.
func (r *run) ask(ctx context.Context, group string, t Topic) {
	for ctx.Err() == nil {
		r.committed(ctx, group, t)
		sleep(ctx, 250*time.Millisecond)
	}
}

// committed asks once; left is how many queues have messages before the end, or
// were not heard of.
func (r *run) committed(ctx context.Context, group string, t Topic) (left int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Askers do not share a process: each asks one thing at a time.
	op := history.Op{Process: "asker-" + r.nextProcess(), Type: history.Invoke, F: history.Committed, Group: group}
	r.history.Add(op)
	op.Type = history.OK
	left = t.count()
	for l, err := range r.clients[2].Admin().Lag(ctx, group) {
		if err != nil {
			op.Type, op.Error, op.Messages = history.Fail, err.Error(), nil
			r.history.Add(op)
			return t.count()
		}
		if l.Topic != t.Name || l.Queue < 0 {
			continue // the client does not know the queue's number yet
		}
		op.Messages = append(op.Messages, history.Message{Queue: t.Queue(l.Queue), Offset: l.Committed})
		if l.Committed >= l.End {
			left--
		}
	}
	r.history.Add(op)
	return left
}

// drain waits until a group has committed the end of each queue.
func (r *run) drain(ctx context.Context, group string, t Topic) {
	op := history.Op{Process: "run", Type: history.OK, F: history.Drained, Group: group}
	for end := time.Now().Add(drainLimit); ; {
		left := r.committed(ctx, group, t)
		if left == 0 {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			op.Type, op.Error = history.Info, fmt.Sprintf("%d queues are not at their end after %v", left, drainLimit)
			break
		}
		sleep(ctx, 100*time.Millisecond)
	}
	r.history.Add(op)
}
