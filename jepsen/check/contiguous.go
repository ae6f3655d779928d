package check

import (
	"fmt"
	"slices"

	"raftmq/jepsen/history"
)

// contiguous: what a reader is given of a queue begins at its first offset, since readers
// read all there is, and rises by one, within an answer and from one to the next.
func contiguous(f *facts, r *Result) {
	type key struct{ process, queue string }
	type seen struct {
		offset int64
		op     *history.Op
	}
	last := make(map[key]seen)
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Read {
			continue
		}
		for _, m := range op.Messages {
			k := key{op.Process, m.Queue}
			r.Checked++
			if p, ok := last[k]; ok && m.Offset != p.offset+1 {
				r.violate(fmt.Sprintf("reader %s was given offset %d of %s right after %d.", op.Process, m.Offset, m.Queue, p.offset),
					brief(p.op, history.Place{Queue: m.Queue, Offset: p.offset}), brief(op, history.Place{Queue: m.Queue, Offset: m.Offset}))
			}
			if _, ok := last[k]; !ok && m.Offset != 0 && !slices.Contains(f.plan.Trims, m.Queue) {
				r.violate(fmt.Sprintf("reader %s was given offset %d of %s first.", op.Process, m.Offset, m.Queue), brief(op, history.Place{Queue: m.Queue, Offset: m.Offset}), f.bounds[m.Queue])
			}
			last[k] = seen{m.Offset, op}
		}
	}
}
