package run

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// member returns what runs the i-th member of the group until ctx ends.
func (r *run) member(i int) (func(ctx context.Context) error, error) {
	s, err := r.clients[i%len(r.clients)].NewConsumer(group, client.WithStartAt(client.Earliest()), client.WithDrainTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return s.RunBatch(ctx, 32, func(_ context.Context, ds []*client.Delivery) []error {
			op := history.Op{Process: "member-" + strconv.Itoa(i), Type: history.Info, F: history.Deliver, Group: group}
			for _, d := range ds {
				op.Messages = append(op.Messages, history.Message{Queue: queueName(d.Queue), Offset: d.Offset, Value: decode(d.Body)})
			}
			r.history.Add(op)
			return nil
		})
	}, nil
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
		if l.Topic != topic || l.Queue < 0 || l.Committed < 0 {
			continue
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
