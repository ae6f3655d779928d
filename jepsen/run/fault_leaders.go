package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/remoting"
)

// moveLeaders has partitions led by one node after the other, drawn, the catalogue's too,
// as fast as it goes. Each is asked of any node.
func moveLeaders(ctx context.Context, h *hit) error {
	tried, before := 0, h.terms(ctx, false)
	var failed error
	h.lasts = func(ctx context.Context) {
		w := h.wire("jepsen-leaders")
		defer w.close()
		for end := time.Now().Add(h.p.For); time.Now().Before(end) && ctx.Err() == nil; {
			all, err := w.leaders(ctx, pick(h.rng, h.cluster.Nodes))
			if err != nil || len(all) == 0 {
				sleep(ctx, 50*time.Millisecond)
				failed = err
				continue
			}
			for range len(all) {
				part, to := &all[h.rng.IntN(len(all))], pick(h.rng, h.cluster.Nodes)
				if part.Leader == to.Name || !time.Now().Before(end) {
					continue
				}
				tried++
				req := remoting.NewRequest(remoting.MoveLeader, remoting.MoveLeaderHeader{Partition: int64(part.Partition), Node: to.Name})
				if _, typ, why := w.ask(ctx, pick(h.rng, h.cluster.Nodes), 0, req); typ == history.OK {
					part.Leader = to.Name
					h.count++
				} else {
					failed = fmt.Errorf("%s", why)
				}
			}
		}
	}
	h.proof = func(ctx context.Context) error {
		led := 0
		for end := time.Now().Add(leadsWithin); led == 0 && time.Now().Before(end); sleep(ctx, 50*time.Millisecond) {
			for id, term := range h.terms(ctx, true) {
				if was, known := before[id]; known && term > was {
					led++
				}
			}
		}
		h.detail = fmt.Sprintf("%d of %d moves, %d partitions led in a later term", h.count, tried, led)
		switch {
		case h.beside: // what is beside it may cut all off
		case h.count == 0:
			return fmt.Errorf("no leader was moved: %w", cmp.Or(failed, errors.New("nobody said who leads")))
		case led == 0:
			return errors.New("nobody leads in a later term than before, whatever was answered")
		}
		return nil
	}
	return nil
}

// leadsWithin is how long it may take until somebody leads what was moved last.
const leadsWithin = 2 * time.Second

// terms are the highest that nodes tell, by partition, or only those in which they lead.
func (r *run) terms(ctx context.Context, led bool) map[uint64]uint64 {
	out := make(map[uint64]uint64)
	for _, n := range r.cluster.Nodes {
		rs, err := n.AllReplicas(ctx)
		if err != nil {
			continue
		}
		for _, x := range rs {
			if !led || x.State == "Leader" {
				out[x.ID] = max(out[x.ID], x.Term)
			}
		}
	}
	return out
}

// leaders asks a node who leads what.
func (w *wire) leaders(ctx context.Context, n *cluster.Node) ([]remoting.PartitionLeader, error) {
	reply, typ, why := w.ask(ctx, n, 0, remoting.NewRequest(remoting.ListLeaders, nil))
	if typ != history.OK {
		return nil, fmt.Errorf("%s: %s", n.Name, why)
	}
	var body remoting.PartitionLeaders
	err := remoting.DecodeBody(reply.Body, &body)
	return body.Partitions, err
}
