package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// damaging are the faults that damage files of a node, have it lose what it has written, or have its reads fail: what it tells of damage from then on is
// theirs.
var damaging = []string{"flip", "flip-live", "flip-wal", "flip-catalogue", "flip-then-lead", "damaged-minority", "read-error", "write-error", "fsync-error", "failed-sync-power"}

// identical: replicas of a partition that have applied the same have the same
// digest; and at the end all have applied the same. Nor has a node told that they did not, or that its files were damaged
// by nothing: it is mended from the others, and not seen at the end.
func identical(f *facts, r *Result) {
	type key struct{ partition, applied uint64 }
	first := make(map[key]*history.Op)
	last := make(map[uint64]map[string]*history.Op)
	for i := range f.ops {
		op := &f.ops[i]
		if op.F == history.Event && op.Event != nil {
			switch {
			case op.Event.Differs():
				r.violate(fmt.Sprintf("%s said at %s that replicas are not the same: %s.", op.Node, at(op), op.Event.What), op)
			case op.Event.Damage() && !f.damaged(op):
				r.violate(fmt.Sprintf("%s said at %s that its files are damaged, and nothing had damaged them: %s.", op.Node, at(op), op.Event.What), op)
			}
		}
		if op.F != history.Replica || op.Replica == nil {
			continue
		}
		r.Checked++
		s := op.Replica
		k := key{s.Partition, s.Applied}
		if o := first[k]; o == nil {
			first[k] = op
		} else if o.Replica.Digest != s.Digest {
			r.violate(fmt.Sprintf("after entry %d of partition %d, %s has digest %s and %s has %s.", s.Applied, s.Partition, o.Node, o.Replica.Digest, op.Node, s.Digest), o, op)
		}
		if last[s.Partition] == nil {
			last[s.Partition] = make(map[string]*history.Op)
		}
		last[s.Partition][op.Node] = op
	}
	for _, id := range slices.Sorted(maps.Keys(last)) {
		nodes := last[id]
		for _, n := range f.plan.Nodes {
			if nodes[n] == nil {
				r.doubt("%s said nothing of partition %d", n, id)
			} else if nodes[n].Replica.Applied != nodes[f.plan.Nodes[0]].Replica.Applied {
				r.doubt("replicas of partition %d were not compared at one entry", id)
			}
			if nodes[f.plan.Nodes[0]] == nil {
				break
			}
		}
	}
}

// damaged reports whether a fault had damaged files of a node before it told so.
func (f *facts) damaged(told *history.Op) bool {
	return slices.ContainsFunc(f.ops, func(op history.Op) bool {
		return op.F == history.Fault && op.Fault != nil && op.Node == told.Node && slices.Contains(damaging, op.Fault.Kind) && op.Time-op.Fault.Lasted <= told.Time
	})
}
