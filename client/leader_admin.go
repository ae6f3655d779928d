package client

import (
	"context"
	"fmt"

	"raftmq/remoting"
)

// PartitionLeader is who leads a partition, as the node that was asked knows.
type PartitionLeader struct {
	Partition uint64   `json:"partition"` // 0: the catalogue, which has no topic and no slot
	Topic     string   `json:"topic,omitempty"`
	Slot      int      `json:"slot"`
	Leader    string   `json:"leader"` // "": none is known
	Voters    []string `json:"voters"` // in order of their names
}

// Leaders are those of a topic's partitions, or of all and of the catalogue: topic "".
// ErrTopicNotFound if there is no such topic.
func (a *Admin) Leaders(ctx context.Context, topic string) ([]PartitionLeader, error) {
	const op = "leaders"
	req := remoting.NewRequest(remoting.ListLeaders, nil)
	if topic != "" {
		req.SetExt("topic", topic)
	}
	r, addr, err := a.c.askEndpoint(ctx, op, req)
	if err != nil {
		return nil, err
	}
	if r.Code != remoting.OK {
		return nil, refusal(op, topic, "", addr, r)
	}
	var body remoting.PartitionLeaders
	if err := remoting.DecodeBody(r.Body, &body); err != nil {
		return nil, fmt.Errorf("%s from %s: %w", op, addr, err)
	}
	var all []PartitionLeader
	for _, p := range body.Partitions {
		all = append(all, PartitionLeader(p))
	}
	return all, nil
}

// MoveLeader has a node lead a partition; 0: the catalogue. Nothing that was acknowledged
// is lost, and producers and consumers go on after a moment. The node keeps it for ten
// minutes, then its preferred leader has it again; the catalogue stays. ErrInvalid if the node has no
// vote in it; with ErrNotNow if its replica is damaged, lags far behind or cannot be asked. After ErrUnavailable another may
// lead than before.
func (a *Admin) MoveLeader(ctx context.Context, partition uint64, node string) error {
	const op = "move leader"
	r, addr, err := a.c.askEndpoint(ctx, op, remoting.NewRequest(remoting.MoveLeader, remoting.MoveLeaderHeader{Partition: int64(partition), Node: node}))
	if err != nil {
		return err
	}
	if r.Code != remoting.OK {
		return refusal(op, "", "", addr, r).notNow()
	}
	return nil
}
