package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// dense: on every replica a queue is its floor, the next offset, and so on to its
// end.
func dense(f *facts, r *Result) {
	f.needFinal(r)
	for _, node := range f.plan.Nodes {
		for _, q := range f.plan.Queues {
			d, b := f.final[dumpKey{node, q}], f.bounds[q]
			if d == nil || b == nil {
				continue
			}
			next := b.Range.Min
			var before *history.Op
			for i, m := range d.messages {
				r.Checked++
				if m.Offset != next {
					text := fmt.Sprintf("on %s, %s goes on with offset %d where %d should be.", node, q, m.Offset, next)
					r.violate(text, brief(before, history.Place{Queue: q, Offset: next - 1}), brief(d.lines[i], history.Place{Queue: q, Offset: m.Offset}), b)
				}
				next, before = m.Offset+1, d.lines[i]
			}
			r.Checked++
			if d.whole && next != b.Range.End {
				r.violate(fmt.Sprintf("on %s, %s ends at %d; its leader says %d.", node, q, next, b.Range.End), brief(before, history.Place{Queue: q, Offset: next - 1}), b)
			}
		}
	}
}
