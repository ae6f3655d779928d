package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"raftmq/jepsen/cluster"
)

var processFaults = []kind{
	{name: "kill", area: "process", says: "a node is killed with -9 and started again", short: 500 * time.Millisecond, long: 3 * time.Second, unseats: true, begin: killOne},
	{name: "pause", area: "process", says: "a node is stopped with SIGSTOP, also for longer than its followers wait, and goes on", short: 500 * time.Millisecond, long: 7 * time.Second, unseats: true, stops: true, begin: pauseOne},
	{name: "kill-majority", area: "process", says: "R9: all nodes but one are killed together", short: 500 * time.Millisecond, long: 2 * time.Second, begin: killMajority},
	{name: "kill-all", area: "process", says: "all nodes are killed together", short: 200 * time.Millisecond, long: time.Second, begin: killAll},
	{name: "pause-majority", area: "process", says: "all nodes but one are stopped and go on", short: time.Second, long: 4 * time.Second, stops: true, begin: pauseMajority},
	{name: "restart", area: "process", says: "a node is told to end, must end with 0, and is started again", short: 500 * time.Millisecond, long: 2 * time.Second, unseats: true, begin: restartOne},
	{name: "upgrade", area: "process", says: "a node is told to end, and runs another release's program for a while, then its own again", short: 3 * time.Second, long: 8 * time.Second, other: true, unseats: true, begin: upgrade},
	{name: "storm", area: "process", says: "nodes are killed as fast as they are up again", short: 2 * time.Second, long: 4 * time.Second, begin: storm},
	{name: "move-leaders", area: "process", says: "leaders, the catalogue's too, are moved from node to node as fast as it goes", short: 2 * time.Second, long: 5 * time.Second, begin: moveLeaders},
}

// killOne also is what others begin with.
func killOne(_ context.Context, h *hit) (err error) {
	h.pid, err = h.node.Kill()
	h.startAgain(h.node)
	return err
}

// startAgain has nodes started by undo, and waits until they are ready.
func (h *hit) startAgain(nodes ...*cluster.Node) {
	h.undone = "start"
	h.undo = func(ctx context.Context) (err error) {
		for _, n := range nodes {
			if !n.Running() {
				err = errors.Join(err, n.Start())
			}
		}
		for _, n := range nodes {
			err = errors.Join(err, n.AwaitReady(ctx))
		}
		return err
	}
}

func pauseOne(_ context.Context, h *hit) (err error) {
	h.pid, err = h.node.Pause()
	h.resumeAgain(h.node)
	return err
}

func (h *hit) resumeAgain(nodes ...*cluster.Node) {
	h.undone = "resume"
	h.undo = func(ctx context.Context) (err error) {
		for _, n := range nodes {
			_, e := n.Resume()
			err = errors.Join(err, e)
		}
		for _, n := range nodes {
			err = errors.Join(err, n.AwaitReady(ctx))
		}
		return err
	}
}

// majority is the node that the fault is aimed at, and as many others as make a majority.
func (h *hit) majority() []*cluster.Node {
	return append([]*cluster.Node{h.node}, h.also[:len(h.cluster.Nodes)/2]...)
}

func killAllOf(h *hit, nodes []*cluster.Node) (err error) {
	for _, n := range nodes {
		_, e := n.Kill()
		err = errors.Join(err, e)
	}
	h.count = int64(len(nodes))
	h.startAgain(nodes...)
	return err
}

func killMajority(_ context.Context, h *hit) error { return killAllOf(h, h.majority()) }
func killAll(_ context.Context, h *hit) error      { return killAllOf(h, h.cluster.Nodes) }

func pauseMajority(_ context.Context, h *hit) (err error) {
	for _, n := range h.majority() {
		_, e := n.Pause()
		err = errors.Join(err, e)
	}
	h.count = int64(len(h.majority()))
	h.resumeAgain(h.majority()...)
	return err
}

func restartOne(_ context.Context, h *hit) error {
	h.startAgain(h.node)
	if h.pid = h.node.PID(); h.pid == 0 {
		return fmt.Errorf("%s does not run", h.node.Name)
	}
	return h.stop()
}

// stop tells the node to end. One that does not, or not with 0, is told like any that ends as it should not.
func (h *hit) stop() error {
	err := h.node.Stop()
	if err != nil {
		h.node.TellEnd()
	}
	return err
}

// upgrade has the node run the other release's program, proved by what the kernel says that
// the process is.
func upgrade(ctx context.Context, h *hit) error {
	h.pid = h.node.PID()
	swap := func(ctx context.Context, other bool) error {
		if err := h.stop(); err != nil {
			return err
		}
		h.node.Switch(other)
		return errors.Join(h.node.Start(), h.node.AwaitReady(ctx))
	}
	h.undone = "start"
	h.undo = func(ctx context.Context) error { return swap(ctx, false) }
	h.proof = func(context.Context) error {
		is, err := os.Stat(fmt.Sprintf("/proc/%d/exe", h.node.PID()))
		if err != nil {
			return err
		}
		want, err := os.Stat(h.o.Other)
		if err == nil && !os.SameFile(is, want) {
			err = errors.New("it does not run the other program")
		}
		h.detail, h.count = h.o.Other, 1
		return err
	}
	return swap(ctx, true)
}

// storm kills one node after the other; each has a moment to begin.
func storm(ctx context.Context, h *hit) error {
	h.startAgain(h.cluster.Nodes...)
	if _, err := h.node.Kill(); err != nil {
		return err
	}
	h.count = 1
	var failed error
	h.lasts = func(ctx context.Context) {
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil; {
			n := h.cluster.Nodes[h.rng.IntN(len(h.cluster.Nodes))]
			if !n.Running() {
				failed = errors.Join(failed, n.Start())
			}
			time.Sleep(h.draw(50*time.Millisecond, 400*time.Millisecond))
			if n.Running() && h.rng.IntN(2) == 0 {
				if _, err := n.Kill(); err != nil {
					failed = errors.Join(failed, err)
				} else {
					h.count++
				}
			}
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("%d kills", h.count)
		return failed
	}
	return nil
}
