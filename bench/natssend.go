package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// natsSlots send as fast as answers come: each slot's answer sends its next message, in the goroutine that reads answers. That is
// what jetstream.PublishMsgAsync does (a subject of its own for each answer, under one subscription), without its tables, futures and JSON,
// so it is the faster one.
type natsSlots struct {
	o         *natsLoad
	end       time.Time
	left      int64 // messages to send, if count bounds it
	body      []byte
	at        []time.Time
	latencies [][]float64
	failed    atomic.Int64
	open      sync.WaitGroup
}

// answerLimit is how long the last answers are waited for.
const answerLimit = 20 * time.Second

func (o *natsLoad) send(ctx context.Context) (figures, error) {
	return o.slots(ctx, o.duration, 1<<62)
}

// fill sends count messages.
func (o *natsLoad) fill(ctx context.Context) (figures, error) {
	return o.slots(ctx, 24*time.Hour, int64(o.count))
}

func (o *natsLoad) slots(ctx context.Context, duration time.Duration, count int64) (figures, error) {
	nc, js, err := dialNATS(o.url)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := o.streamsUp(ctx, js); err != nil {
		return nil, err
	}
	s := &natsSlots{o: o, left: count, body: make([]byte, o.size), at: make([]time.Time, o.inFlight), latencies: make([][]float64, o.inFlight)}
	for i := range s.body {
		s.body[i] = byte('a' + i%26)
	}
	conns := make([]*natsgo.Conn, min(o.connections, o.inFlight))
	inboxes := make([]string, len(conns))
	for i := range conns {
		if conns[i], _, err = dialNATS(o.url); err != nil {
			return nil, err
		}
		defer conns[i].Close()
		nc, inbox := conns[i], conns[i].NewInbox()
		inboxes[i] = inbox
		sub, err := nc.Subscribe(inbox+".*", func(m *natsgo.Msg) { s.answered(nc, inbox, m) })
		if err != nil {
			return nil, err
		}
		sub.SetPendingLimits(-1, -1)
		if err := nc.Flush(); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	s.end = begin.Add(duration)
	for w := range o.inFlight {
		s.open.Add(1)
		s.next(conns[w%len(conns)], inboxes[w%len(conns)], w)
	}
	ended := make(chan struct{})
	go func() { // ends with the answers, or with the process
		s.open.Wait()
		close(ended)
	}()
	limit, cancel := context.WithTimeout(ctx, duration+answerLimit)
	defer cancel()
	select {
	case <-ended:
	case <-limit.Done():
		return nil, fmt.Errorf("answers are missing: %w", limit.Err())
	}
	took := time.Since(begin)
	f := latencyFigures(slices.Concat(s.latencies...), took, o.size)
	f["errors"] = float64(s.failed.Load())
	return f, nil
}

// next sends slot w's next message, or closes the slot.
func (s *natsSlots) next(nc *natsgo.Conn, inbox string, w int) {
	at := time.Now()
	if at.After(s.end) || atomic.AddInt64(&s.left, -1) < 0 {
		s.open.Done()
		return
	}
	s.at[w] = at
	if err := nc.PublishRequest(streamName(w%s.o.streams), inbox+"."+strconv.Itoa(w), s.body); err != nil {
		s.failed.Add(1)
		s.open.Done()
	}
}

func (s *natsSlots) answered(nc *natsgo.Conn, inbox string, m *natsgo.Msg) {
	w, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if err != nil || w >= len(s.at) {
		return
	}
	if len(m.Data) == 0 || bytes.Contains(m.Data, []byte(`"error"`)) {
		s.failed.Add(1)
	} else {
		s.latencies[w] = append(s.latencies[w], float64(time.Since(s.at[w]).Microseconds())/1000)
	}
	s.next(nc, inbox, w)
}

// latencyFigures are those that "raftmq bench" prints; latencies, in ms, are sorted in place.
func latencyFigures(latencies []float64, took time.Duration, size int) figures {
	slices.Sort(latencies)
	n := float64(len(latencies))
	return figures{
		rate: n / took.Seconds(), bandwidth: n * float64(size) / took.Seconds() / 1e6, sentCount: n,
		p50: quantile(latencies, 0.5), "p90_ms": quantile(latencies, 0.9), p99: quantile(latencies, 0.99), "p999_ms": quantile(latencies, 0.999), "max_ms": quantile(latencies, 1),
	}
}
