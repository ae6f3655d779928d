package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// delivered: each group, once it has come to the ends of all queues, has handled each
// acknowledged value at its place.
func delivered(f *facts, r *Result) {
	type key struct {
		group string
		place history.Place
	}
	given := make(map[key]int)
	drained := make(map[string]*history.Op)
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Deliver:
			if op.Type == history.Fail {
				continue
			}
			for _, m := range op.Messages {
				given[key{op.Group, history.Place{Queue: m.Queue, Offset: m.Offset}}]++
			}
		case history.Drained:
			if op.Type == history.OK {
				drained[op.Group] = op
			}
		}
	}
	again := make(map[string]int)
	for k, n := range given {
		again[k.group] += n - 1
	}
	for _, g := range slices.Sorted(maps.Keys(f.plan.Groups)) {
		end := drained[g]
		if end == nil {
			r.doubt("group %s did not come to the end", g)
			continue
		}
		r.note("group %s handled %d messages again", g, again[g])
		for _, s := range f.sends {
			if !s.is(history.OK) {
				continue
			}
			for i, v := range s.values {
				p := s.outcome.Places[i]
				if p.Offset < f.floor(p.Queue) || !slices.Contains(f.plan.Groups[g], p.Queue) {
					continue
				}
				r.Checked++
				if given[key{g, p}] == 0 {
					r.violate(fmt.Sprintf("%s was acknowledged at %s at %s offset %d; group %s came to the end of the queue and has never handled it.", v, at(s.outcome), p.Queue, p.Offset, g), s.invoke, s.outcome, end)
				}
			}
		}
	}
}
