package run

import (
	"context"
	"strconv"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
)

// nemesis does what the schedule says, each fault with its proof, and undoes the
// last one also when ctx ends.
func (r *run) nemesis(ctx context.Context, plan []Planned) {
	for _, p := range plan {
		select {
		case <-time.After(time.Until(r.begun.Add(p.At))):
		case <-ctx.Done():
			return
		}
		n, before := r.target(ctx, p.Target)
		if n == nil {
			continue // the checker counts faults
		}
		e := &history.Effect{Kind: p.Kind, Before: before}
		op := history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: n.Name, Fault: e}
		var err error
		struck := time.Now()
		if p.Kind == "kill" {
			e.PID, err = n.Kill()
		} else {
			e.PID, err = n.Pause()
		}
		if err != nil {
			op.Error = err.Error()
		} else {
			e.Verified = true
			e.After = r.follows(ctx, n, before, p.For)
		}
		e.Lasted = int64(time.Since(struck))
		r.history.Add(op)
		r.o.Say("%6.1f s  %-5s %s for %v; leader %s, then %s", time.Since(r.begun).Seconds(), p.Kind, n.Name, p.For, before, e.After)
		r.undo(context.WithoutCancel(ctx), n, p.Kind)
	}
}

// undo starts or continues a node and waits until it is ready.
func (r *run) undo(ctx context.Context, n *cluster.Node, kind string) {
	e := &history.Effect{Kind: "resume"}
	op := history.Op{Process: "nemesis", Type: history.Info, F: history.Fault, Node: n.Name, Fault: e}
	var err error
	if kind == "kill" {
		e.Kind = "start"
		if err = n.Start(); err == nil {
			e.PID = n.PID()
		}
	} else {
		e.PID, err = n.Resume()
	}
	if err == nil {
		err = n.AwaitReady(ctx)
	}
	if err != nil {
		op.Error = err.Error()
	}
	e.Verified = err == nil
	r.history.Add(op)
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
