package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// commits: a group's offset that was told is never told lower to who asks after
// that, and never lies past the end.
func commits(f *facts, r *Result) {
	told := make(map[string]*highest)
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Committed || op.Type != history.OK {
			continue
		}
		inv := f.invoked[op]
		for _, m := range op.Messages {
			r.Checked++
			key, p := op.Group+" "+m.Queue, history.Place{Queue: m.Queue, Offset: m.Offset}
			if h := told[key].before(inv.Index); h != nil && h.offset > m.Offset {
				r.violate(fmt.Sprintf("group %s had offset %d of %s at %s, and %d at %s.", op.Group, h.offset, m.Queue, at(h.op), m.Offset, at(op)),
					brief(h.op, history.Place{Queue: m.Queue, Offset: h.offset}), inv, brief(op, p))
			}
			if b := f.bounds[m.Queue]; b != nil && m.Offset > b.Range.End {
				r.violate(fmt.Sprintf("group %s had offset %d of %s, whose end is %d.", op.Group, m.Offset, m.Queue, b.Range.End), brief(op, p), b)
			}
			record(told, key, op, "", m.Offset)
		}
	}
}
