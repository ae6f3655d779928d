package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
)

// sendSlots keeps as many sends under way as it has slots.
type sendSlots struct {
	f          benchFlags
	producers  []*client.Producer
	body       []byte
	begin, end time.Time

	begun, due      atomic.Int64
	failed, unknown atomic.Int64
	lat             [][]float64 // ms, by slot
	open            sync.WaitGroup
}

// next starts a slot's next send, whose outcome starts the one after it; at the end it closes the slot.
func (l *sendSlots) next(ctx context.Context, slot int) {
	for {
		at := time.Now()
		if l.over(ctx, at) {
			l.open.Done()
			return
		}
		err := l.producer(slot).SendAsync(ctx, l.message(), func(_ client.Receipt, err error) {
			l.note(slot, at, err)
			l.next(ctx, slot)
		})
		if err == nil {
			return
		}
		l.note(slot, at, err)
	}
}

// paced sends at the slot's part of the rate. A send's time counts from when it was due.
func (l *sendSlots) paced(ctx context.Context, slot int) {
	defer l.open.Done()
	for {
		at := l.begin.Add(time.Duration(l.due.Add(1)-1) * time.Second / time.Duration(l.f.rate))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		if l.over(ctx, at) {
			return
		}
		_, err := l.producer(slot).Send(ctx, l.message())
		l.note(slot, at, err)
	}
}

func (l *sendSlots) producer(slot int) *client.Producer { return l.producers[slot%len(l.producers)] }

func (l *sendSlots) message() *client.Message {
	return &client.Message{Topic: l.f.topic, Body: l.body, Delay: l.f.delay}
}

func (l *sendSlots) over(ctx context.Context, at time.Time) bool {
	return ctx.Err() != nil || at.After(l.end) || l.f.bounded && l.begun.Add(1) > int64(l.f.count)
}

func (l *sendSlots) note(slot int, at time.Time, err error) {
	switch {
	case err == nil:
		l.lat[slot] = append(l.lat[slot], float64(time.Since(at).Microseconds())/1000)
	case errors.Is(err, client.ErrUncertain):
		l.unknown.Add(1)
	default:
		l.failed.Add(1)
	}
}
