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

// ReplicaLook is what a node says of its replica of a partition.
type ReplicaLook struct {
	Node     string `json:"node"`
	Silent   bool   `json:"silent,omitempty"` // it does not answer, or has it not open: the rest is not known
	Applied  uint64 `json:"applied"`
	First    int64  `json:"first"`    // position of the oldest that is kept
	Position int64  `json:"position"` // of the end
	Digest   string `json:"digest"`   // of the log through applied
	Disputed bool   `json:"disputed,omitempty"`
	Whole    bool   `json:"to_be_copied,omitempty"` // in quarantine, and to be copied whole
	Reason   string `json:"reason,omitempty"`       // why it is in quarantine; of a disputed one with the digests that were compared
}

// Replicas asks every node that holds the partition what it says of its replica.
func (a *Admin) Replicas(ctx context.Context, partition uint64) ([]ReplicaLook, error) {
	return a.settle(ctx, "replicas", partition, "")
}

// SettleDispute declares that of a partition whose replicas differ without a majority
// (DamagedReplica.Reason begins with "disputed") the replica of node truth counts: it
// serves again, and the others copy themselves from it. What only they had is gone.
// ErrInvalid if there is no such replica; with ErrNotNow if it is not disputed, or that replica cannot count: nothing was changed.
// After other errors some may have been told, and it may be said again. It returns what the
// replicas say then; who is silent is not told, and stays disputed until it is said again.
func (a *Admin) SettleDispute(ctx context.Context, partition uint64, truth string) ([]ReplicaLook, error) {
	if truth == "" {
		return nil, fmt.Errorf("%w: settle dispute: no node is named", ErrInvalid)
	}
	return a.settle(ctx, "settle dispute", partition, truth)
}

func (a *Admin) settle(ctx context.Context, op string, partition uint64, truth string) (looks []ReplicaLook, err error) {
	r, addr, err := a.c.askEndpoint(ctx, op, remoting.NewRequest(remoting.SettleDispute, remoting.DisputeHeader{Partition: int64(partition), Truth: truth}))
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal(op, "", "", addr, r).notNow()
	}
	var body remoting.ReplicaLooks
	if err := remoting.DecodeBody(r.Body, &body); err != nil {
		return nil, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	for _, l := range body.Replicas {
		looks = append(looks, ReplicaLook(l))
	}
	return looks, nil
}
