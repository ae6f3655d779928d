package run

import (
	"context"
	"fmt"
	"math"
	"time"

	"raftmq/internal/faults"
)

var clockFaults = []kind{
	{name: "clock-jump", area: "clock", says: "a node's wall clock jumps, by 0.1 s to 10 days, either way", short: 2 * time.Second, long: 6 * time.Second, build: true, begin: clockJump},
	{name: "clock-strobe", area: "clock", says: "a node's wall clock jumps to and fro", short: 2 * time.Second, long: 5 * time.Second, build: true, begin: clockStrobe},
	{name: "clock-rate", area: "clock", says: "a node's wall clock runs at a fifth to five times its rate", short: 3 * time.Second, long: 8 * time.Second, build: true, begin: clockRate},
}

// clock orders a change and has it undone.
func (h *hit) clock(o faults.ClockOrder) error {
	h.undone = "heal"
	h.undo = func(context.Context) error {
		a, err := h.node.Order(faults.Order{Clock: &faults.ClockOrder{Back: true}})
		if off := time.Duration(a.Wall - a.Real); err == nil && off.Abs() > time.Millisecond {
			err = fmt.Errorf("the clock of %s is still off by %v", h.node.Name, off)
		}
		return err
	}
	h.pid = h.node.PID()
	_, err := h.node.Order(faults.Order{Clock: &o})
	return err
}

// off is by how much the node's clock differs.
func (h *hit) off() (time.Duration, error) {
	a, err := h.node.Order(faults.Order{})
	return time.Duration(a.Wall - a.Real), err
}

// jump draws one; small and large ones are as likely.
func (h *hit) jump() time.Duration {
	d := time.Duration(math.Pow(10, -1+7*h.rng.Float64()) * float64(time.Second)).Round(time.Millisecond)
	d = min(d, 10*24*time.Hour)
	if h.rng.IntN(2) == 0 {
		return -d
	}
	return d
}

func clockJump(_ context.Context, h *hit) error {
	jump := h.jump()
	h.detail = fmt.Sprintf("by %v", jump)
	h.proof = func(context.Context) error {
		off, err := h.off()
		if err == nil && (off-jump).Abs() > 100*time.Millisecond {
			err = fmt.Errorf("the clock is off by %v, not by %v", off, jump)
		}
		h.count = int64(off)
		return err
	}
	return h.clock(faults.ClockOrder{Jump: jump})
}

func clockStrobe(_ context.Context, h *hit) error {
	jump := h.jump()
	if err := h.clock(faults.ClockOrder{Jump: jump}); err != nil {
		return err
	}
	h.count = 1
	var failed error
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil && failed == nil; h.count++ {
			select {
			case <-time.After(h.draw(20*time.Millisecond, 300*time.Millisecond)):
			case <-ctx.Done():
			}
			jump = -jump
			_, failed = h.node.Order(faults.Order{Clock: &faults.ClockOrder{Jump: jump}})
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("by %v, %d times", jump.Abs(), h.count)
		return failed
	}
	return nil
}

func clockRate(_ context.Context, h *hit) error {
	rate := math.Pow(5, 2*h.rng.Float64()-1)
	h.detail = fmt.Sprintf("%.2f seconds a second", rate)
	begun := time.Now()
	h.proof = func(context.Context) error {
		off, err := h.off()
		want := time.Duration(float64(time.Since(begun)) * (rate - 1))
		if err == nil && (off-want).Abs() > 200*time.Millisecond {
			err = fmt.Errorf("the clock is off by %v, not by %v", off, want)
		}
		h.count = int64(off)
		return err
	}
	return h.clock(faults.ClockOrder{Rate: rate})
}
