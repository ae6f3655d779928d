package run

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"raftmq/internal/faults"
	"raftmq/internal/vfs/faultfs"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/jepsen/vclock"
)

// nemesis does what the schedule says, each fault with its proof, and undoes the
// last ones also when ctx ends. What the cluster needs until it is well again puts off
// what comes later.
func (r *run) nemesis(ctx context.Context, plan []Planned) {
	var late time.Duration
	for _, round := range rounds(plan) {
		if free := time.Since(r.begun) + shortQuiet; free > round[0].At+late {
			late = free - round[0].At
		}
		r.revive(ctx)
		var wg sync.WaitGroup
		for _, p := range round {
			select {
			case <-time.After(time.Until(r.begun.Add(p.At + late))):
			case <-ctx.Done():
			}
			if ctx.Err() == nil {
				wg.Go(func() { r.strike(ctx, p, len(round) > 1) })
			}
		}
		wg.Wait()
	}
}

// revive starts nodes that ended by themselves, which the history has already, so that
// what comes has whom to strike.
func (r *run) revive(ctx context.Context) {
	for _, n := range r.cluster.Nodes {
		if n.Running() || ctx.Err() != nil {
			continue
		}
		e := &history.Effect{Kind: "start"}
		op := history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: n.Name, Fault: e}
		err := n.Start()
		if err == nil {
			err = n.AwaitReady(ctx)
		}
		if e.PID, e.Verified = n.PID(), err == nil; err != nil {
			op.Error = err.Error()
		}
		r.history.Add(op)
	}
}

// strike is one fault from its beginning to its end.
func (r *run) strike(ctx context.Context, p Planned, beside bool) {
	n, before := r.target(ctx, p.Target)
	if n == nil {
		return // the checker counts faults
	}
	h := &hit{run: r, p: p, rng: rand.New(rand.NewPCG(p.Draw, 0)), node: n, beside: beside}
	for _, x := range r.cluster.Nodes {
		if x != n {
			h.also = append(h.also, x)
		}
	}
	h.rng.Shuffle(len(h.also), func(i, j int) { h.also[i], h.also[j] = h.also[j], h.also[i] })
	e := &history.Effect{Kind: p.Kind, Before: before}
	op := history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: n.Name, Fault: e}
	undone := context.WithoutCancel(ctx)
	struck := time.Now()
	err := kindOf(p.Kind).begin(ctx, h)
	n, op.Node = h.node, h.node.Name // it may have chosen another
	if err == nil {
		var lasting sync.WaitGroup
		if h.lasts != nil {
			lasting.Go(func() { h.lasts(ctx) })
		}
		e.After = r.follows(ctx, n, before, p.For)
		lasting.Wait()
		if h.proof != nil {
			err = h.proof(undone)
		}
	}
	e.PID, e.Detail, e.Count, e.Verified = h.pid, h.detail, h.count, err == nil
	e.Lasted = int64(time.Since(struck))
	if err != nil {
		op.Error = err.Error()
	}
	r.history.Add(op)
	r.o.Say("%6.1f s  %-15s %s for %v; leader %s, then %s; %s (%d)%s", time.Since(r.begun).Seconds(), p.Kind, n.Name, p.For, before, e.After, e.Detail, e.Count, said(err))
	if h.undo == nil {
		return
	}
	u := &history.Effect{Kind: h.undone}
	op = history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: n.Name, Fault: u}
	err = h.undo(undone)
	u.PID, u.Verified = n.PID(), err == nil
	if err != nil {
		op.Error = err.Error()
		r.o.Say("%6.1f s  %-15s %s%s", time.Since(r.begun).Seconds(), h.undone, n.Name, said(err))
	}
	r.history.Add(op)
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// mend ends what a fault that failed may have left: links, clocks, disks, and nodes that
// are paused or do not run.
func (r *run) mend() (err error) {
	if r.links != nil {
		r.links.Heal()
	}
	for _, n := range r.cluster.Nodes {
		if !n.Running() {
			err = errors.Join(err, n.Start())
			continue
		}
		if is, e := n.Paused(); e == nil && is {
			_, e := n.Resume()
			err = errors.Join(err, e)
		}
		if r.breaks { // whether that was of use shows when they are to be alike
			n.Order(faults.Order{Disk: &[]faultfs.Rule{}})
			n.SetClock(vclock.Change{Right: true})
		}
	}
	return err
}

// target is the node that a fault is for, and who leads the first partition.
func (r *run) target(ctx context.Context, target string) (n *cluster.Node, leader string) {
	for end := time.Now().Add(5 * time.Second); leader == "" && time.Now().Before(end) && ctx.Err() == nil; {
		if leader = r.leader(ctx, nil); leader == "" {
			time.Sleep(20 * time.Millisecond)
		}
	}
	for i, x := range r.cluster.Nodes {
		if target == strconv.Itoa(i) || target == "leader" && x.Name == leader {
			n = x
		}
	}
	if target == "leader" && leader == "" {
		n = r.cluster.Nodes[0] // nobody leads: whoever it hits, that is for the checker to judge
	}
	return n, leader
}

// follows waits for as long as a fault lasts and returns who led the first
// partition meanwhile, as the other nodes say: the first other than before, else
// before; empty if nobody was seen to.
func (r *run) follows(ctx context.Context, hurt *cluster.Node, before string, last time.Duration) (after string) {
	end := time.Now().Add(last)
	for time.Now().Before(end) {
		if after == "" || after == before {
			if l := r.leader(ctx, hurt); l != "" {
				after = l
			}
		}
		select {
		case <-time.After(min(50*time.Millisecond, time.Until(end))):
		case <-ctx.Done():
			return after
		}
	}
	return after
}

// leader is the node that says in the highest term that it leads the topic's first
// partition; empty: none that was asked says so.
func (r *run) leader(ctx context.Context, except *cluster.Node) (name string) {
	term, first := uint64(0), uint64(0)
	for _, n := range r.cluster.Nodes {
		if n == except {
			continue
		}
		rs, err := n.Replicas(ctx, topic)
		if err != nil {
			continue
		}
		for _, x := range rs {
			if first == 0 || x.ID < first {
				first, term, name = x.ID, 0, ""
			}
			if x.ID == first && x.State == "Leader" && x.Term > term {
				term, name = x.Term, n.Name
			}
		}
	}
	return name
}
