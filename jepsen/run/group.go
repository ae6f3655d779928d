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

// member returns what runs the i-th member of the group until ctx ends.
func (r *run) member(i int) (func(ctx context.Context) error, error) {
	s, err := r.clients[i%len(r.clients)].NewConsumer(group, client.WithStartAt(client.Earliest()), client.WithDrainTimeout(5*time.Second), client.WithLocalRetry())
	if err != nil {
		return nil, err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return nil, err
	}
	h := handler{r: r, rng: r.o.Seed.Stream("handler/" + strconv.Itoa(i)), process: "member-" + strconv.Itoa(i)}
	if i == 0 {
		return func(ctx context.Context) error { return s.RunBatch(ctx, 32, h.handle) }, nil
	}
	rng := r.o.Seed.Stream("member/" + strconv.Itoa(i))
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			stay, leave := context.WithTimeout(ctx, shortStay+time.Duration(rng.Int64N(int64(longStay-shortStay))))
			err := s.RunBatch(stay, 32, h.handle)
			leave()
			if err != nil {
				return err
			}
			select {
			case <-time.After(awayFor):
			case <-ctx.Done():
			}
		}
		return nil
	}, nil
}

// handler writes down what a member is given, and fails some of it.
type handler struct {
	r       *run
	process string

	mu  sync.Mutex
	rng *rand.Rand
}

var errHandler = errors.New("the handler fails")

func (h *handler) handle(_ context.Context, ds []*client.Delivery) []error {
	h.mu.Lock()
	fails := h.rng.IntN(failOneOf) == 0
	h.mu.Unlock()
	op := history.Op{Process: h.process, Type: history.OK, F: history.Deliver, Group: group}
	for _, d := range ds {
		op.Messages = append(op.Messages, history.Message{Queue: queueName(d.Queue), Offset: d.Offset, Value: decode(d.Body)})
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

// ask asks for the group's offsets again and again until ctx ends.
func (r *run) ask(ctx context.Context) {
	for ctx.Err() == nil {
		r.committed(ctx)
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// committed asks once; left is how many queues have messages before the end, or
// were not heard of.
func (r *run) committed(ctx context.Context) (left int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Askers do not share a process: each asks one thing at a time.
	op := history.Op{Process: "asker-" + strconv.FormatInt(r.process.Add(1)-1, 10), Type: history.Invoke, F: history.Committed, Group: group}
	r.history.Add(op)
	op.Type = history.OK
	left = partitions * queues
	for l, err := range r.clients[2].Admin().Lag(ctx, group) {
		if err != nil {
			op.Type, op.Error, op.Messages = history.Fail, err.Error(), nil
			r.history.Add(op)
			return partitions * queues
		}
		if l.Topic != topic || l.Queue < 0 {
			continue // the client does not know the queue's number yet
		}
		op.Messages = append(op.Messages, history.Message{Queue: queueName(l.Queue), Offset: l.Committed})
		if l.Committed >= l.End {
			left--
		}
	}
	r.history.Add(op)
	return left
}

// drain waits until the group has committed the end of each queue.
func (r *run) drain(ctx context.Context) {
	op := history.Op{Process: "run", Type: history.OK, F: history.Drained, Group: group}
	for end := time.Now().Add(drainLimit); ; {
		left := r.committed(ctx)
		if left == 0 {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			op.Type, op.Error = history.Info, fmt.Sprintf("%d queues are not at their end after %v", left, drainLimit)
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	r.history.Add(op)
}
