package client

import (
	"context"
	"fmt"

	"raftmq/remoting"
)

// DamagedReplica is a node's copy of a partition in which damage was found, and that
// is not repaired yet. Nobody is served what is damaged.
type DamagedReplica struct {
	Node      string
	Partition uint64
	Topic     string
	Slot      int
	Reason    string
}

// DamagedReplicas lists them, for all nodes that answer; silent are those that do not.
func (a *Admin) DamagedReplicas(ctx context.Context) (list []DamagedReplica, silent []string, err error) {
	r, addr, err := a.c.askEndpoint(ctx, "damaged replicas", remoting.NewRequest(remoting.ListQuarantined, nil))
	if err != nil {
		return nil, nil, err
	}
	if r.Code != remoting.OK {
		return nil, nil, refusal("damaged replicas", "", "", addr, r)
	}
	var body remoting.QuarantineList
	if err := remoting.DecodeBody(r.Body, &body); err != nil {
		return nil, nil, fmt.Errorf("damaged replicas from %s: %w", addr, err)
	}
	for _, q := range body.Replicas {
		list = append(list, DamagedReplica(q))
	}
	return list, body.Silent, nil
}
