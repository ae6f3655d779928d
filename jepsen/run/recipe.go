package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/link"
	"raftmq/jepsen/vclock"
)

// recipes are sequences that have broken other systems.
var recipes = []kind{
	{name: "pause-leader", area: "recipe", says: "R1, R14: a leader is stopped for longer than it may believe in itself, goes on, and is asked", short: 4 * time.Second, long: 5 * time.Second, unseats: true, stops: true, begin: pauseOne},
	{name: "slow-leader", area: "recipe", says: "R2: a leader's timers run at a sixth, it is stopped for 3 to 4 s, and goes on", short: 3 * time.Second, long: 4 * time.Second, build: true, timers: true, stops: true, begin: slowLeader},
	{name: "amnesia", area: "recipe", says: "R3: two nodes are stopped, the third loses its power and is started, the two go on", short: time.Second, long: 2 * time.Second, build: true, stops: true, begin: amnesia},
	{name: "flip-then-lead", area: "recipe", says: "R6, R7: bits of a node's files change while it is down, then the others are stopped in turn, so that it may lead", short: time.Second, long: 2 * time.Second, stops: true, begin: flipThenLead},
	{name: "truncate-power", area: "recipe", says: "R10: a leader is cut off with what it alone has, comes back to another's log, and loses its power", short: 2 * time.Second, long: 4 * time.Second, links: true, build: true, begin: truncatePower},
	{name: "isolate-leader", area: "recipe", says: "R12: a leader is cut off from its followers and not from clients, for longer than it may believe in itself", short: 5 * time.Second, long: 8 * time.Second, links: true, unseats: true, begin: func(_ context.Context, h *hit) error {
		return h.rules(both(h.away()), link.Rule{Cut: true})
	}},
	{name: "stall-cut", area: "recipe", says: "R13: a leader's syncs stall, it is cut off, and joined again while they still do", short: 3 * time.Second, long: 4 * time.Second, links: true, build: true, begin: stallCut},
	{name: "kill-power", area: "recipe", says: "R4: all nodes are killed and go on from what the kernel has, synced or not, then all lose their power", short: time.Second, long: 2 * time.Second, build: true, begin: killPower},
	{name: "failed-sync-power", area: "recipe", says: "a sync fails once, the node is started again on pages that look fine, and all nodes lose their power", short: time.Second, long: 2 * time.Second, build: true, begin: failedSyncPower},
}

func slowLeader(_ context.Context, h *hit) error {
	if err := h.rates(vclock.Change{Timers: 1.0 / 6}); err != nil {
		return err
	}
	slowed, right := h.proof, h.undo
	_, err := h.node.Pause()
	h.proof = func(ctx context.Context) error { // what was paused cannot be asked meanwhile
		if _, err := h.node.Resume(); err != nil {
			return err
		}
		sleep(ctx, time.Second)
		return slowed(ctx)
	}
	h.undo = func(ctx context.Context) error {
		if is, _ := h.node.Paused(); is {
			if _, err := h.node.Resume(); err != nil {
				return err
			}
		}
		return right(ctx)
	}
	return err
}

func amnesia(ctx context.Context, h *hit) (err error) {
	var paused []*cluster.Node
	resume := func() {
		for _, n := range paused {
			_, e := n.Resume()
			err = errors.Join(err, e)
		}
	}
	for _, n := range h.also {
		if _, e := n.Pause(); e != nil {
			err = errors.Join(err, e)
		} else {
			paused = append(paused, n)
		}
	}
	if err == nil {
		err = h.cutPower(0, h.node)
	}
	if err == nil {
		err = h.node.Start()
	}
	sleep(ctx, h.draw(100*time.Millisecond, time.Second))
	resume()
	h.undone = "start"
	h.undo = func(ctx context.Context) (err error) {
		for _, n := range h.cluster.Nodes {
			err = errors.Join(err, n.AwaitReady(ctx))
		}
		return err
	}
	return err
}

func flipThenLead(ctx context.Context, h *hit) error {
	if err := flipDown(ctx, h); err != nil {
		return err
	}
	what := h.detail
	for range 2 {
		if err := h.flip(damaged...); err != nil {
			return err
		}
		what += "; " + h.detail
	}
	start := h.undo
	h.undo = func(ctx context.Context) error {
		if err := start(ctx); err != nil {
			return err
		}
		for _, n := range h.also {
			if _, err := n.Pause(); err != nil {
				return err
			}
			sleep(ctx, 2*time.Second)
			if _, err := n.Resume(); err != nil {
				return err
			}
			if err := n.AwaitReady(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	h.detail, h.count = what, 3
	return nil
}

func truncatePower(_ context.Context, h *hit) error {
	if err := h.rules(both(h.away()), link.Rule{Cut: true}); err != nil {
		return err
	}
	heal, struck := h.undo, h.proof
	h.proof = func(ctx context.Context) error {
		if err := struck(ctx); err != nil {
			return err
		}
		for _, w := range both(h.away()) {
			h.links.Link(w.from, w.to).Set(link.Rule{})
		}
		sleep(ctx, h.draw(20*time.Millisecond, 700*time.Millisecond)) // it hears of the other log
		return h.cutPower(0, h.node)
	}
	h.undo = func(ctx context.Context) error {
		if !h.node.Running() {
			if err := h.node.Start(); err != nil {
				return err
			}
		}
		return heal(ctx)
	}
	return nil
}

func stallCut(_ context.Context, h *hit) error {
	if err := h.disk(faultfs.Rule{Ops: []string{faultfs.OpSync}, Hang: h.draw(300*time.Millisecond, 2*time.Second)}); err != nil {
		return err
	}
	unstall, stalled := h.undo, h.proof
	what := h.detail
	if err := h.rules(both(h.away()), link.Rule{Cut: true}); err != nil {
		return errors.Join(err, unstall(context.Background()))
	}
	struck := h.proof
	h.proof = func(ctx context.Context) error {
		err := struck(ctx)
		for _, w := range both(h.away()) {
			h.links.Link(w.from, w.to).Set(link.Rule{})
		}
		sleep(ctx, time.Second)
		err = errors.Join(err, stalled(ctx))
		h.detail = what + ", and cut off"
		return err
	}
	h.undo = func(ctx context.Context) error {
		for _, w := range both(h.away()) {
			h.links.Link(w.from, w.to).Set(link.Rule{})
		}
		return unstall(ctx)
	}
	return nil
}

func failedSyncPower(ctx context.Context, h *hit) error {
	h.node.MayEnd(true)
	if _, err := h.node.Order(faults.Order{Disk: &[]faultfs.Rule{{Ops: []string{faultfs.OpSync}, Name: "wal/*", Times: 1, Error: "EIO"}}}); err != nil {
		return err
	}
	h.startAgain(h.cluster.Nodes...)
	code, err := h.node.AwaitEnd(ctx, endsWithin)
	if err != nil {
		return err
	}
	if code != exitDisk {
		return fmt.Errorf("%s ended with %d, not with %d", h.node.Name, code, exitDisk)
	}
	if err := errors.Join(h.node.Start(), h.node.AwaitReady(ctx)); err != nil {
		return err
	}
	sleep(ctx, h.draw(50*time.Millisecond, time.Second))
	return h.cutPower(0, allOf(h)...)
}

func killPower(ctx context.Context, h *hit) error {
	if err := killAllOf(h, allOf(h)); err != nil {
		return err
	}
	if err := h.undo(ctx); err != nil {
		return err
	}
	sleep(ctx, h.draw(50*time.Millisecond, 2*time.Second))
	return h.cutPower(0, allOf(h)...)
}
