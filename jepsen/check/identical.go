package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// identical: replicas of a partition that have applied the same have the same
// digest; and at the end all have applied the same.
func identical(f *facts, r *Result) {
	type key struct{ partition, applied uint64 }
	first := make(map[key]*history.Op)
	last := make(map[uint64]map[string]*history.Op)
	for i := range f.ops {
		op := &f.ops[i]
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
