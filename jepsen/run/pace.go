package run

import (
	"context"
	"time"
)

// patientFor is how far behind its times a pace makes up for.
const patientFor = time.Second

// pace lets a client work so many times a second.
type pace struct {
	every time.Duration
	due   time.Time
}

// newPace is the pace of the i-th of so many clients that share a rate.
func newPace(rate float64, i, of int) *pace {
	every := time.Duration(float64(of) * float64(time.Second) / rate)
	return &pace{every, time.Now().Add(every * time.Duration(i) / time.Duration(of))}
}

// next waits for the next time; false: ctx has ended.
func (p *pace) next(ctx context.Context) bool {
	t := time.NewTimer(time.Until(p.due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	p.due = p.due.Add(p.every)
	if late := time.Now().Add(-patientFor); p.due.Before(late) {
		p.due = late // a long wait is not made up for at once
	}
	return ctx.Err() == nil
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
