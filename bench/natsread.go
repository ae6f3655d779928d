package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsReads are the ways to read a backlog that are tried; the fastest counts. "ordered" is an ordered consumer that pulls ahead,
// "fetch" a pull consumer without acknowledgements that fetches batches, "acked" one that acknowledges everything up to each batch's
// last, which is the nearest to a group whose offset is kept.
var natsReads = []string{"ordered", "fetch", "acked"}

// readAhead is how many messages a consumer asks for at a time: that of "raftmq bench consume" is 20,000 too.
const readAhead = 20_000

// consume reads count messages from the first on. Making the consumer counts.
func (o *natsLoad) consume(ctx context.Context) (figures, error) {
	nc, js, err := dialNATS(o.url)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	begin := time.Now()
	switch o.how {
	case "ordered":
		err = o.readOrdered(ctx, js)
	case "fetch":
		err = o.readBatches(ctx, js, jetstream.AckNonePolicy)
	case "acked":
		err = o.readBatches(ctx, js, jetstream.AckAllPolicy)
	default:
		err = fmt.Errorf("--how %q: want one of %v", o.how, natsReads)
	}
	if err != nil {
		return nil, err
	}
	n := float64(o.count)
	took := time.Since(begin).Seconds()
	return figures{rate: n / took, bandwidth: n * float64(o.size) / took / 1e6, sentCount: n}, nil
}

func (o *natsLoad) readOrdered(ctx context.Context, js jetstream.JetStream) error {
	cons, err := js.OrderedConsumer(ctx, streamName(0), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	var n atomic.Int64
	done := make(chan struct{})
	reading, err := cons.Consume(func(jetstream.Msg) {
		if n.Add(1) == int64(o.count) {
			close(done)
		}
	}, jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return err
	}
	defer reading.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *natsLoad) readBatches(ctx context.Context, js jetstream.JetStream, acks jetstream.AckPolicy) error {
	cons, err := js.CreateConsumer(ctx, streamName(0), jetstream.ConsumerConfig{AckPolicy: acks, Replicas: copiesOf(acks), MaxAckPending: readAhead, InactiveThreshold: time.Minute})
	if err != nil {
		return err
	}
	for n := 0; n < o.count; {
		batch, err := cons.Fetch(min(readAhead/4, o.count-n), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			return err
		}
		var last jetstream.Msg
		for m := range batch.Messages() {
			last = m
			n++
		}
		switch err := batch.Error(); {
		case n == 0 && errors.Is(err, natsgo.ErrNoResponders): // its leader has still to begin
			if err := sleep(ctx, 5*time.Millisecond); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case last == nil:
			return errors.New("a fetch gave nothing")
		}
		if acks == jetstream.AckAllPolicy {
			if err := last.Ack(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// copiesOf is how many replicas a consumer's state has: one, where nothing is kept; 0: as many as the stream.
func copiesOf(acks jetstream.AckPolicy) int {
	if acks == jetstream.AckNonePolicy {
		return 1
	}
	return 0
}

// endToEnd sends at a fixed rate and times each message from when it was due to its consumer in this process.
func (o *natsLoad) endToEnd(ctx context.Context) (figures, error) {
	nc, js, err := dialNATS(o.url)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := o.streamsUp(ctx, js); err != nil {
		return nil, err
	}
	cons, err := js.CreateConsumer(ctx, streamName(0), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy, MaxAckPending: readAhead, InactiveThreshold: time.Minute})
	if err != nil {
		return nil, err
	}
	n := int(o.duration.Seconds() * float64(o.rate))
	var begin atomic.Int64 // ns; 0 while warming up
	latencies := make([]float64, 0, n)
	warm, done := make(chan struct{}, 1), make(chan struct{})
	reading, err := cons.Consume(func(m jetstream.Msg) {
		now := time.Now().UnixNano()
		m.Ack()
		due := int64(binary.BigEndian.Uint64(m.Data()))
		if b := begin.Load(); b == 0 || due < b {
			select {
			case warm <- struct{}{}:
			default:
			}
			return
		}
		latencies = append(latencies, float64(now-due)/1e6)
		if len(latencies) == n {
			close(done)
		}
	})
	if err != nil {
		return nil, err
	}
	defer reading.Stop()
	send := func(due time.Time) error {
		body := make([]byte, max(8, o.size))
		binary.BigEndian.PutUint64(body, uint64(due.UnixNano()))
		_, err := js.PublishAsync(streamName(0), body)
		return err
	}
	for ready := false; !ready; { // its pull is with the server
		if err := send(time.Now()); err != nil {
			return nil, err
		}
		select {
		case <-warm:
			ready = true
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	start := time.Now()
	begin.Store(start.UnixNano())
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(o.rate))
		if wait := time.Until(due); wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return nil, err
			}
		}
		if err := send(due); err != nil {
			return nil, err
		}
	}
	took := time.Since(start)
	select {
	case <-done:
	case <-time.After(answerLimit):
		return nil, errors.New("messages are missing")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return latencyFigures(slices.Clone(latencies), took, o.size), nil
}
