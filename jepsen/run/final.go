package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"raftmq/client"
	"raftmq/jepsen/cluster"
	"raftmq/jepsen/history"
)

// Whoever does not answer at the end is asked again, so often and after so long.
const (
	endTries = 5
	endPause = 500 * time.Millisecond
)

// dumpLine is how many messages a line of a dump has at most.
const dumpLine = 500

// end waits until the replicas are alike, says what was not well, and reads each
// queue on each node. Nothing is sent or committed meanwhile.
func (r *run) end(ctx context.Context) error {
	sleep(ctx, time.Until(r.sent.Add(lateEffect)))
	if why := r.alike(ctx); why != "" {
		r.healed = append(r.healed, fmt.Sprintf("%v after the last fault %s", alikeLimit, why))
	}
	op := history.Op{Process: "run", Type: history.OK, F: history.Healed}
	if len(r.healed) > 0 {
		op.Type, op.Error = history.Info, strings.Join(r.healed, "; ")
	}
	r.history.Add(op)
	for _, p := range r.parts {
		if p.end != nil {
			p.end(ctx, r)
		}
	}
	r.o.Say("reading every replica")
	for _, t := range r.topics() {
		if err := r.bounds(ctx, t); err != nil {
			r.o.Say("the bounds of %s: %v", t.Name, err) // without them the checker says unknown
			return ctx.Err()
		}
	}
	for _, n := range r.cluster.Nodes {
		for _, t := range r.topics() {
			r.dump(ctx, n, t)
		}
	}
	if why := r.repaired(ctx); why != "" {
		r.history.Add(history.Op{Process: "run", Type: history.Info, F: history.Healed, Error: fmt.Sprintf("%v after every replica was read %s", alikeLimit, why)})
	}
	return ctx.Err()
}

// repaired waits until no replica is in quarantine, and returns which is at the end. What is damaged in a segment that is still
// written is found by who reads it, here at the latest: others give what its node is asked for, and it has that on its disk only
// when it is repaired.
func (r *run) repaired(ctx context.Context) (why string) {
	for end := time.Now().Add(alikeLimit); ; {
		why = ""
		for _, n := range r.cluster.Nodes {
			all, err := n.AllReplicas(ctx)
			if err != nil {
				continue
			}
			for _, x := range all {
				if x.Damage != "" {
					why = fmt.Sprintf("%s's replica of partition %d is in quarantine: %s", n.Name, x.ID, x.Damage)
				}
			}
		}
		if why == "" || ctx.Err() != nil || time.Now().After(end) {
			return why
		}
		sleep(ctx, endPause)
	}
}

// alike waits until all nodes have applied the same in each partition, and none is in
// quarantine, writes where each is, and returns what is not so at the end.
func (r *run) alike(ctx context.Context) (why string) {
	want := 0
	for _, t := range r.topics() {
		if t.Copies.Group == "" { // else it is in the partitions of another
			want += t.Partitions
		}
	}
	for end := time.Now().Add(alikeLimit); ; {
		applied := make(map[uint64][]uint64)
		var lines []history.Op
		why = ""
		for _, n := range r.cluster.Nodes {
			all, err := n.AllReplicas(ctx)
			if err != nil {
				continue
			}
			for _, t := range r.topics() {
				for _, x := range all {
					if x.Topic != t.Name {
						continue
					}
					if x.Damage != "" {
						why = fmt.Sprintf("%s's replica of partition %d is in quarantine: %s", n.Name, x.ID, x.Damage)
					}
					applied[x.ID] = append(applied[x.ID], x.Applied)
					lines = append(lines, history.Op{Process: "run", Type: history.OK, F: history.Replica, Node: n.Name,
						Replica: &history.State{Partition: x.ID, Applied: x.Applied, Digest: x.Digest}})
				}
			}
		}
		same := len(applied) == want
		for _, all := range applied {
			same = same && len(all) == nodes && slices.Min(all) == slices.Max(all)
		}
		if !same {
			why = "replicas have not applied the same"
		}
		if why == "" || time.Now().After(end) || ctx.Err() != nil {
			for _, l := range lines {
				r.history.Add(l)
			}
			return why
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// bounds writes the bounds of a topic's queues as their leaders say.
func (r *run) bounds(ctx context.Context, t Topic) error {
	rd, err := r.clients[0].NewReader(t.Name)
	if err != nil {
		return err
	}
	defer rd.Close()
	all, err := rd.Offsets(ctx)
	if err != nil {
		return err
	}
	for _, q := range slices.Sorted(maps.Keys(all)) {
		r.history.Add(history.Op{Process: "run", Type: history.OK, F: history.Bounds, Queue: t.Queue(q), Range: &history.Range{Min: all[q].Min, End: all[q].Max}})
	}
	return nil
}

// dump reads every queue of a topic through n alone, which serves from its own
// replica what that has applied.
func (r *run) dump(ctx context.Context, n *cluster.Node, t Topic) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	lines := make(map[string]*history.Op)
	for _, q := range t.names() {
		lines[q] = &history.Op{Process: "run", Type: history.Info, F: history.Final, Node: n.Name, Queue: q}
	}
	err := func() error {
		cl, err := client.Dial(ctx, client.WithEndpoints(n.NameServer), client.WithDialer(r.cluster.Only(n)))
		if err != nil {
			return err
		}
		defer cl.Close(context.WithoutCancel(ctx))
		rd, err := cl.NewReader(t.Name, client.FromPosition(client.Earliest()))
		if err != nil {
			return err
		}
		defer rd.Close()
		for d, err := range rd.UntilEnd(ctx) {
			if err != nil {
				return err
			}
			op := lines[t.Queue(d.Queue)]
			if op == nil {
				return fmt.Errorf("a message of queue %d, which the topic does not have", d.Queue)
			}
			op.Messages = append(op.Messages, history.Message{Queue: op.Queue, Offset: d.Offset, Value: valueOf(&d.Message), Times: d.Attempt - 1})
			if len(op.Messages) == dumpLine {
				r.history.Add(*op)
				op.Messages = nil
			}
		}
		return nil
	}()
	for _, q := range slices.Sorted(maps.Keys(lines)) {
		op := lines[q]
		if op.Type = history.OK; err != nil {
			op.Type, op.Error = history.Info, err.Error()
		}
		r.history.Add(*op)
	}
}
