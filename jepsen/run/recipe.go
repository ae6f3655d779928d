package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	{name: "cut-kill-wipe", area: "recipe", says: "R5: a leader is cut off, the two others are killed together, and one of them loses its folder", short: 2 * time.Second, long: 4 * time.Second, links: true, stops: true, begin: cutKillWipe},
	{name: "half-kill", area: "recipe", says: "R8: who leads the partition of a transaction is killed between the half and its decision", short: time.Second, long: 3 * time.Second, begin: halfKill},
	{name: "answer-kill", area: "recipe", says: "R8: who leads the partition of a transaction is killed when that is decided, before its producer is told", short: time.Second, long: 3 * time.Second, begin: answerKill},
	{name: "replace-kill", area: "recipe", says: "R11: a node loses its folder, and while it is replaced another is killed, again and again", short: 2 * time.Second, long: 4 * time.Second, stops: true, begin: replaceKill},
	{name: "damaged-minority", area: "recipe", says: "R6: a node lags, of the two others one is killed, and bits of what only those two have change; then the sound one is stopped", short: time.Second, long: 2 * time.Second, stops: true, begin: damagedMinority},
	{name: "wiped-minority", area: "recipe", says: "R3: a node lags, of the two others one is killed and loses its folder; then the other is stopped", short: time.Second, long: 2 * time.Second, stops: true, begin: wipedMinority},
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
	h.startAgain(h.cluster.Nodes...) // it does not run yet if nothing was lost
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

func cutKillWipe(ctx context.Context, h *hit) error {
	if err := h.rules(both(h.away()), link.Rule{Cut: true}); err != nil {
		return err
	}
	heal := h.undo
	sleep(ctx, h.draw(200*time.Millisecond, time.Second))
	var failed error
	for _, n := range h.also {
		_, err := n.Kill()
		failed = errors.Join(failed, err)
	}
	failed = errors.Join(failed, h.also[0].Wipe())
	for _, n := range h.also {
		failed = errors.Join(failed, n.Start())
	}
	h.startAgain(h.also...)
	start := h.undo
	h.undo = func(ctx context.Context) error {
		for _, w := range both(h.away()) {
			h.links.Link(w.from, w.to).Set(link.Rule{})
		}
		return errors.Join(start(ctx), heal(ctx))
	}
	h.detail += fmt.Sprintf("; %s and %s killed, %s wiped", h.also[0].Name, h.also[1].Name, h.also[0].Name)
	return failed
}

// halfWithin is how long a half is waited for.
const halfWithin = 10 * time.Second

// halfKill kills from within a local transaction, so that nothing has been decided yet. Without
// transactions it is a kill at any time.
func halfKill(ctx context.Context, h *hit) error {
	if h.ledger == nil {
		h.detail = "there are no transactions: at any time"
		return killOne(ctx, h)
	}
	killed := make(chan error, 1)
	strike := func(slot int) {
		n, err := h.leads(ctx, transactionsTopic, slot)
		if err == nil {
			h.node = n
			h.pid, err = n.Kill()
		}
		killed <- err
	}
	h.ledger.between.Store(&strike)
	select {
	case err := <-killed:
		h.startAgain(h.node)
		h.detail, h.count = "leader "+h.node.Name, 1
		return err
	case <-time.After(halfWithin):
	case <-ctx.Done():
	}
	if h.ledger.between.CompareAndSwap(&strike, nil) {
		return fmt.Errorf("no half was sent within %v", halfWithin)
	}
	err := <-killed // it is at it
	h.startAgain(h.node)
	return err
}

// decidedWithin is how long a decision that was sent is waited for.
const decidedWithin = time.Second

// answerKill keeps a decision's answer from its producer, and kills when others are told that it
// is made. Without transactions it is a kill at any time.
func answerKill(ctx context.Context, h *hit) error {
	if h.ledger == nil {
		h.detail = "there are no transactions: at any time"
		return killOne(ctx, h)
	}
	for end := time.Now().Add(halfWithin); time.Now().Before(end) && ctx.Err() == nil; {
		sent := make(chan *deciding, 1)
		var drop func()
		strike := func(d *deciding) {
			drop = d.replies.keep()
			sent <- d
		}
		h.ledger.deciding.Store(&strike)
		select {
		case d := <-sent:
			done, err := h.killUnanswered(ctx, d)
			drop()
			if done {
				return err
			}
			continue
		case <-time.After(time.Until(end)):
		case <-ctx.Done():
		}
		if !h.ledger.deciding.CompareAndSwap(&strike, nil) {
			<-sent
			drop()
		}
	}
	return fmt.Errorf("no decision whose answer was kept back was made within %v", halfWithin)
}

// killUnanswered waits until a decision is made and kills; false: it was not made, or its
// producer knew.
func (h *hit) killUnanswered(ctx context.Context, d *deciding) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, decidedWithin)
	defer cancel()
	for sleep(ctx, 5*time.Millisecond) {
		t, err := h.clients[0].Admin().Transaction(ctx, d.name)
		if err != nil || t.DecidedBy == "" {
			continue
		}
		n, err := h.leads(ctx, transactionsTopic, d.slot)
		if err != nil {
			return false, nil
		}
		select {
		case <-d.answered:
			return false, nil
		default:
		}
		h.node = n
		h.pid, err = n.Kill()
		h.startAgain(n)
		h.detail, h.count = fmt.Sprintf("leader %s; %s was %s, and its producer not told", n.Name, d.name, t.State), 1
		return true, err
	}
	return false, nil
}

// leads is who says that it leads a topic's partition of a slot. Partitions are numbered in the
// order of their slots.
func (r *run) leads(ctx context.Context, t Topic, slot int) (*cluster.Node, error) {
	for end := time.Now().Add(time.Second); time.Now().Before(end); sleep(ctx, 20*time.Millisecond) {
		for _, n := range r.cluster.Nodes {
			rs, err := n.Replicas(ctx, t.Name)
			if err != nil || len(rs) != t.Partitions {
				continue
			}
			slices.SortFunc(rs, func(a, b cluster.Replica) int { return cmp.Compare(a.ID, b.ID) })
			if rs[slot].State == "Leader" {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody says that it leads %s in slot %d", t.Name, slot)
}

func replaceKill(ctx context.Context, h *hit) error {
	if err := wipe(ctx, h); err != nil {
		return err
	}
	if err := h.node.Start(); err != nil {
		return err
	}
	h.startAgain(h.cluster.Nodes...)
	what := h.node.Name + " wiped"
	var failed error
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil && failed == nil; h.count++ {
			n := h.also[h.rng.IntN(len(h.also))]
			sleep(ctx, h.draw(100*time.Millisecond, 800*time.Millisecond))
			if _, failed = n.Kill(); failed != nil {
				break
			}
			sleep(ctx, h.draw(50*time.Millisecond, 500*time.Millisecond))
			failed = n.Start()
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("%s, %d kills of others", what, h.count-1)
		return failed
	}
	return nil
}

// damagedMinority damages what was acknowledged while a node lagged.
func damagedMinority(ctx context.Context, h *hit) error {
	before, err := frames(h.node)
	if err != nil || len(before) == 0 {
		return errors.Join(err, errors.New("the write-ahead log has no frames"))
	}
	known := before[len(before)-1].sequence
	return h.leaveMinority(ctx, func() error {
		all, err := frames(h.node)
		if err != nil {
			return err
		}
		late := slices.DeleteFunc(all, func(f frame) bool { return f.sequence <= known })
		if len(late) < 8 {
			return fmt.Errorf("%d frames were written while %s was stopped", len(late), h.also[0].Name)
		}
		return h.flipIn(late[len(late)/4+h.rng.IntN(len(late)/2)])
	})
}

// wipedMinority takes all of it away.
func wipedMinority(ctx context.Context, h *hit) error {
	return h.leaveMinority(ctx, func() error {
		h.count, h.detail = 1, h.node.Name+" wiped"
		return h.node.Wipe()
	})
}

// leaveMinority has a node lag behind what is acknowledged, harms one of the two that have
// it, and leaves the lagging and the harmed one alone: they must not go on without it.
func (h *hit) leaveMinority(ctx context.Context, harm func() error) (err error) {
	lags, sound := h.also[0], h.also[1]
	if _, err := lags.Pause(); err != nil {
		return err
	}
	h.resumeAgain(lags)
	sleep(ctx, h.draw(1500*time.Millisecond, 3*time.Second))
	if h.pid, err = h.node.Kill(); err != nil {
		return err
	}
	h.undone = "start"
	h.undo = func(ctx context.Context) error {
		for _, n := range h.also {
			if is, _ := n.Paused(); is {
				if _, err := n.Resume(); err != nil {
					return err
				}
			}
		}
		return h.startOrReplace(ctx)
	}
	if err := harm(); err != nil {
		return err
	}
	if _, err := sound.Pause(); err != nil {
		return err
	}
	if _, err := lags.Resume(); err != nil {
		return err
	}
	if err := h.node.Start(); err != nil {
		return err
	}
	h.node.MayEnd(true)
	sleep(ctx, h.draw(3*time.Second, 5*time.Second)) // long enough for an election, if they hold one
	return nil
}

// flipIn changes a bit of a frame's records.
func (h *hit) flipIn(f frame) error {
	file, err := os.OpenFile(f.file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	b, at := make([]byte, 1), int64(f.at+h.rng.IntN(f.size))
	if _, err := file.ReadAt(b, at); err != nil {
		return err
	}
	was := b[0]
	b[0] ^= 1 << h.rng.IntN(8)
	h.count = 1
	h.detail = fmt.Sprintf("%s at %d, in frame %d: %#02x to %#02x", filepath.Base(f.file), at, f.sequence, was, b[0])
	_, err = file.WriteAt(b, at)
	return err
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
	if err != nil { // it must not end later
		_, e := h.node.Order(faults.Order{Disk: &[]faultfs.Rule{}})
		h.node.MayEnd(false)
		return errors.Join(err, e)
	}
	if err := h.endedWith(code, exitDisk); err != nil {
		return err
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
