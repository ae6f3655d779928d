package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// sender is one client process after the other: after an unknown outcome the next
// one goes on.
type sender struct {
	r        *run
	topic    Topic
	rng      *rand.Rand
	producer *client.Producer
	batches  int // one of so many sends is a batch
	process  string
	count    int
	large    bool // bodies near the largest size only
	small    bool // bodies of the smallest size only
}

// Bounds of what is sent.
const (
	smallest, largest = 32, 16 << 10
	longestBatch      = 8
	patient           = 8 * time.Second // a send's tries, all together
	impatient         = time.Second
)

// sender returns the i-th. Every second one gives up early and does not try again
// what may be stored, so that there are unknown outcomes; every second pair loses
// replies, so that much is tried again that was stored.
func (r *run) sender(t Topic, i int) (*sender, error) {
	opts := []client.ProducerOption{client.WithSendTimeout(patient)}
	if i%2 == 1 {
		opts = []client.ProducerOption{client.WithSendTimeout(impatient), client.WithRetries(client.RetryPolicy{})}
	}
	clients := r.clients
	if i%4 >= 2 {
		clients = r.lossy
	}
	p, err := clients[i%len(clients)].NewProducer(t.Name+"-sender-"+strconv.Itoa(i), opts...)
	if err != nil {
		return nil, err
	}
	s := &sender{r: r, topic: t, rng: r.o.Seed.Stream(t.Name + "/sender/" + strconv.Itoa(i)), producer: p, batches: 8}
	s.next()
	return s, nil
}

func (s *sender) next() { s.process, s.count = s.r.nextProcess(), 0 }

// run sends at its pace until ctx ends; what has begun comes to its outcome.
func (s *sender) run(ctx context.Context, pace *pace) {
	for pace.next(ctx) {
		count := 1
		if s.rng.IntN(s.batches) == 0 {
			count = 2 + s.rng.IntN(longestBatch-1)
		}
		queue := s.rng.IntN(s.topic.count())
		if s.rng.IntN(2) == 0 {
			queue = -1 // the client's choice
		}
		s.send(context.WithoutCancel(ctx), count, queue)
	}
	s.close()
}

// close waits for what is on its way, as long as a send may take.
func (s *sender) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	s.producer.Close(ctx)
}

// send sends so many messages together and writes the two lines of it.
func (s *sender) send(ctx context.Context, count, queue int) history.Type {
	op := history.Op{Process: s.process, Type: history.Invoke, F: history.Send}
	var ms []*client.Message
	for range count {
		v := s.process + "-" + strconv.Itoa(s.count)
		s.count++
		op.Values = append(op.Values, v)
		size := int(smallest * math.Pow(float64(largest)/smallest, s.rng.Float64()))
		if s.large {
			size = largest - size/2
		}
		if s.small {
			size = smallest
		}
		ms = append(ms, dressed(s.topic.Name, v, size))
	}
	s.r.history.Add(op)
	op.Values = nil
	var rs []client.Receipt
	var err error
	switch {
	case count > 1:
		rs, err = s.producer.SendBatch(ctx, ms)
	case queue >= 0:
		rs = make([]client.Receipt, 1)
		rs[0], err = s.producer.SendTo(ctx, queue, ms[0])
	default:
		rs = make([]client.Receipt, 1)
		rs[0], err = s.producer.Send(ctx, ms[0])
	}
	op.Type, op.Error = outcome(err)
	if op.Type == history.OK {
		for _, x := range rs {
			op.Places = append(op.Places, history.Place{Queue: s.topic.Queue(x.Queue), Offset: x.Offset})
		}
	}
	s.r.history.Add(op)
	if op.Type == history.Info {
		s.next()
	}
	return op.Type
}

// outcome is what the client promises by an error. A batch of which some are
// stored and some failed is unknown as a whole; the log tells.
func outcome(err error) (history.Type, string) {
	var partial *client.BatchError
	switch {
	case err == nil:
		return history.OK, ""
	case errors.Is(err, client.ErrUncertain):
		return history.Info, err.Error()
	case errors.As(err, &partial):
		for _, e := range partial.Errs {
			if e == nil {
				return history.Info, "some are stored: " + err.Error()
			}
		}
	}
	return history.Fail, err.Error()
}

// probe sends to each queue until that is acknowledged.
func (r *run) probe(ctx context.Context, t Topic) error {
	s, err := r.sender(t, 0)
	if err != nil {
		return err
	}
	if q := deaf(ctx, t.count(), func(ctx context.Context, q int) bool { return s.send(ctx, 1, q) == history.OK }); q >= 0 {
		return fmt.Errorf("%s accepted no send within %v of the last fault", t.Queue(q), probes)
	}
	return s.producer.Close(ctx)
}

// deaf tries each of so many queues until it takes a send, and is the first that did not in time; -1: all did.
func deaf(ctx context.Context, queues int, takes func(ctx context.Context, q int) bool) int {
	ctx, cancel := context.WithTimeout(ctx, probes)
	defer cancel()
	for q := range queues {
		for taken := false; !taken; {
			if taken = takes(ctx, q); ctx.Err() != nil {
				return q
			}
		}
	}
	return -1
}
