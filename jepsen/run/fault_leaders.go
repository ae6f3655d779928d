package run

import (
	"context"
	"fmt"
	"time"

	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
	"raftmq/remoting"
)

// moveLeaders has partitions led by one node after the other, drawn, the catalogue's too,
// as fast as it goes. Each is asked of any node.
func moveLeaders(_ context.Context, h *hit) error {
	tried := 0
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
				part, to := pick(h.rng, all), pick(h.rng, h.cluster.Nodes)
				if part.Leader == to.Name || !time.Now().Before(end) {
					continue
				}
				tried++
				req := remoting.NewRequest(remoting.MoveLeader, remoting.MoveLeaderHeader{Partition: int64(part.Partition), Node: to.Name})
				if _, typ, why := w.ask(ctx, pick(h.rng, h.cluster.Nodes), 0, req); typ == history.OK {
					h.count++
				} else {
					failed = fmt.Errorf("%s", why)
				}
			}
		}
	}
	h.proof = func(context.Context) error {
		h.detail = fmt.Sprintf("%d of %d moves", h.count, tried)
		if h.count == 0 && !h.beside { // what is beside it may cut all off
			return fmt.Errorf("no leader was moved: %w", failed)
		}
		return nil
	}
	return nil
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
