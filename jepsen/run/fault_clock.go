package run

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"raftmq/jepsen/vclock"
)

var clockFaults = []kind{
	{name: "clock-jump", area: "clock", says: "a node's wall clock jumps, by 0.1 s to 10 days, either way", short: 2 * time.Second, long: 6 * time.Second, build: true, begin: clockJump},
	{name: "clock-strobe", area: "clock", says: "a node's wall clock jumps to and fro", short: 2 * time.Second, long: 5 * time.Second, build: true, begin: clockStrobe},
	{name: "clock-rate", area: "clock", says: "a node's wall clock runs at a fifth to five times its rate", short: 3 * time.Second, long: 8 * time.Second, build: true, begin: func(_ context.Context, h *hit) error { return h.rates(vclock.Change{Wall: h.rate()}) }},
	{name: "uptime", area: "clock", says: "a node is killed and started as on a machine that has been up for 1 to 300 days more", short: time.Second, long: 3 * time.Second, timers: true, unseats: true, begin: uptime},
	{name: "timer-rate", area: "clock", says: "a node's timers and its wall clock run at a fifth to five times their rate", short: 3 * time.Second, long: 8 * time.Second, build: true, timers: true,
		begin: func(_ context.Context, h *hit) error {
			r := h.rate()
			return h.rates(vclock.Change{Wall: r, Timers: r})
		}},
}

// uptime kills a node and starts it as on a machine that has been up for long.
func uptime(_ context.Context, h *hit) (err error) {
	if h.pid, err = h.node.Kill(); err != nil {
		return err
	}
	h.startAgain(h.node)
	up := h.draw(24*time.Hour, 300*24*time.Hour)
	if err := h.node.StartLong(up); err != nil {
		return err
	}
	h.detail = fmt.Sprintf("up for %v longer", up)
	h.proof = func(context.Context) error {
		is, err := h.node.Up()
		if err == nil && (is-up).Abs() > time.Second {
			err = fmt.Errorf("the monotonic clock is ahead by %v, not by %v", is, up)
		}
		h.count = int64(is)
		return err
	}
	return nil
}

// clock makes a change and has it undone.
func (h *hit) clock(ch vclock.Change) error {
	h.undone = "heal"
	h.undo = func(ctx context.Context) error {
		if err := h.node.SetClock(vclock.Change{Right: true}); err != nil {
			return err
		}
		if off, _, err := h.node.Clock(); err != nil {
			return err
		} else if off.Abs() > asked {
			return fmt.Errorf("the clock of %s is still off by %v", h.node.Name, off)
		}
		return h.ready(ctx)
	}
	h.pid = h.node.PID()
	return h.node.SetClock(ch)
}

// asked is what a node may take to say what its clock shows.
const asked = 500 * time.Millisecond

// jump draws one; small and large ones are as likely.
func (h *hit) jump() time.Duration {
	d := time.Duration(math.Pow(10, -0.2+6.2*h.rng.Float64()) * float64(time.Second)).Round(time.Millisecond)
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
		off, _, err := h.node.Clock()
		if err == nil && (off-jump).Abs() > asked {
			err = fmt.Errorf("the clock is off by %v, not by %v", off, jump)
		}
		h.count = int64(off)
		return err
	}
	return h.clock(vclock.Change{Jump: jump})
}

func clockStrobe(_ context.Context, h *hit) error {
	jump := h.jump()
	if err := h.clock(vclock.Change{Jump: jump}); err != nil {
		return err
	}
	if off, _, err := h.node.Clock(); err != nil {
		return err
	} else if (off - jump).Abs() > asked {
		return fmt.Errorf("the clock is off by %v, not by %v", off, jump)
	}
	h.count = 1
	var failed error
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil && failed == nil; h.count++ {
			sleep(ctx, h.draw(20*time.Millisecond, 300*time.Millisecond))
			failed = h.node.SetClock(vclock.Change{Jump: jump * time.Duration(h.count%2), Right: true})
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("by %v, %d times", jump.Abs(), h.count)
		return failed
	}
	return nil
}

// rate draws one from a fifth to five.
func (h *hit) rate() float64 {
	for {
		if r := math.Pow(5, 2*h.rng.Float64()-1); r < 0.7 || r > 1.4 {
			return r
		}
	}
}

// rates runs a node's clocks at rates of their own, and proves each that is not 1.
func (h *hit) rates(ch vclock.Change) error {
	h.detail = fmt.Sprintf("%.2f seconds of the wall clock and %.2f of timers a second", cmp.Or(ch.Wall, 1), cmp.Or(ch.Timers, 1))
	if err := h.clock(ch); err != nil {
		return err
	}
	begun := time.Now()
	off1, runs1, err := h.node.Clock()
	h.proof = func(context.Context) error {
		off2, runs2, err := h.node.Clock()
		if err != nil {
			return err
		}
		real := time.Since(begun)
		for _, x := range []struct {
			what string
			rate float64
			ran  time.Duration
		}{{"wall clock", cmp.Or(ch.Wall, 1), off2 - off1 + real}, {"timers", cmp.Or(ch.Timers, 1), runs2 - runs1}} {
			is := float64(x.ran) / float64(real)
			h.count = max(h.count, int64(1000*math.Abs(is-1)))
			if math.Abs(is-x.rate) > 0.25*x.rate {
				return fmt.Errorf("the %s ran %.2f seconds a second, not %.2f", x.what, is, x.rate)
			}
		}
		return nil
	}
	return err
}
