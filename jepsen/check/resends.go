package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// resends: all receipts of one value, of its send and of each time it was sent
// again under the same identity, name one place, and every replica has it there.
func resends(f *facts, r *Result) {
	f.needFinal(r)
	for _, s := range f.sends {
		for i, v := range s.values {
			var first *history.Op
			var place history.Place
			if s.is(history.OK) {
				first, place = s.outcome, s.outcome.Places[i]
			}
			for _, a := range f.resent[v] {
				if a.outcome == nil || a.outcome.Type != history.OK {
					continue
				}
				r.Checked++
				p := a.outcome.Places[0]
				if first == nil {
					first, place = a.outcome, p
				}
				if p != place {
					r.violate(fmt.Sprintf("%s was acknowledged at %s at %s offset %d, and sent again under the same identity at %s, where it is said to be at %s offset %d.",
						v, at(first), place.Queue, place.Offset, at(a.invoke), p.Queue, p.Offset), s.invoke, first, a.invoke, a.outcome)
				}
				for _, n := range f.plan.Nodes {
					d := f.final[dumpKey{n, p.Queue}]
					if d == nil || !d.whole || p.Offset < f.floor(p.Queue) {
						continue
					}
					if j, there := d.at[p.Offset]; !there || d.messages[j].Value != v {
						r.violate(fmt.Sprintf("%s, sent again at %s, was said to be at %s offset %d; on %s it is not there%s.", v, at(a.invoke), p.Queue, p.Offset, n, f.elsewhere(v)),
							s.invoke, a.invoke, a.outcome, f.bounds[p.Queue])
					}
				}
			}
		}
	}
}
