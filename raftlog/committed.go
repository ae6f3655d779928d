package raftlog

import "context"

// Committed asks node, which may be this one, for the group's commit index, which a
// majority confirms. An error says that the index is not known; ErrNotLeader, that
// node is "". A node that leads sends what is committed by itself: see greet.go.
func (r *Replica) Committed(ctx context.Context, node string) (uint64, error) {
	if _, ok := r.Leads(); ok {
		return r.readRound(ctx)
	}
	if node == "" {
		return 0, ErrNotLeader
	}
	index, err := r.host.ask(ctx, node, kindRead, r.cfg.Group, 1)
	if err != nil {
		return 0, err
	}
	return index[0], nil
}

// Reached reports whether the machine has applied every command up to index.
func (r *Replica) Reached(index uint64) bool {
	at, _, err := r.apply.progress()
	return err == nil && r.reached(at.index, index)
}
