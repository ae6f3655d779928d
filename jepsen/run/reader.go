package run

import (
	"context"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// A line of what was read has at most so many messages, and is written after so long.
const (
	lineMessages = 64
	lineEvery    = 200 * time.Millisecond
)

// read reads all queues from their beginning while the load runs. What is read when
// ctx ends is written too.
func (r *run) read(ctx context.Context, process string, t Topic) {
	rd, err := r.clients[1].NewReader(t.Name, client.FromPosition(client.Earliest()))
	if err != nil {
		return // too few reads are found by the checker
	}
	defer rd.Close()
	op := history.Op{Process: process, F: history.Read}
	invoke := func() {
		op.Type, op.Messages = history.Invoke, nil
		r.history.Add(op)
	}
	told := time.Now()
	tell := func() {
		op.Type = history.OK
		r.history.Add(op)
		told = time.Now()
	}
	invoke()
	for ctx.Err() == nil {
		for d, err := range rd.All(ctx) {
			if err != nil {
				break
			}
			op.Messages = append(op.Messages, history.Message{Queue: t.Queue(d.Queue), Offset: d.Offset, Value: valueOf(&d.Message)})
			if len(op.Messages) >= lineMessages || time.Since(told) > lineEvery {
				tell()
				invoke()
			}
		}
		sleep(ctx, 20*time.Millisecond) // an error: go on after the last one read
	}
	tell()
}
