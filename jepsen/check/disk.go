package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// disk: when the nodes have stopped, each has on its disk what it gave at the end, in
// the same places, and beside that nothing but what lies below the floor.
func disk(f *facts, r *Result) {
	f.needFinal(r)
	for _, n := range f.plan.Nodes {
		for _, q := range f.plan.Queues {
			given, there := f.final[dumpKey{n, q}], f.onDisk[dumpKey{n, q}]
			switch {
			case there == nil || !there.whole:
				r.doubt("the disk of %s was not read: %s", n, q)
				continue
			case given == nil:
				continue // needFinal said so
			}
			for i, m := range given.messages {
				r.Checked++
				p := history.Place{Queue: q, Offset: m.Offset}
				j, ok := there.at[m.Offset]
				if !ok {
					r.violate(fmt.Sprintf("%s gave %s at %s offset %d, and has nothing there on its disk.", n, m.Value, q, m.Offset), brief(given.lines[i], p), brief(there.last()))
				} else if v := there.messages[j].Value; v != m.Value {
					r.violate(fmt.Sprintf("%s gave %s at %s offset %d, and has %s there on its disk.", n, m.Value, q, m.Offset, v), brief(given.lines[i], p), brief(there.lines[j], p))
				}
			}
			if !given.whole {
				continue
			}
			for j, m := range there.messages {
				r.Checked++
				p := history.Place{Queue: q, Offset: m.Offset}
				i, ok := given.at[m.Offset]
				if ok && j != there.at[m.Offset] && m.Value != given.messages[i].Value { // the last one there was looked at
					r.violate(fmt.Sprintf("%s gave %s at %s offset %d, and has %s there too on its disk.", n, given.messages[i].Value, q, m.Offset, m.Value), brief(given.lines[i], p), brief(there.lines[j], p))
				}
				if !ok && m.Offset >= f.floor(q) {
					r.violate(fmt.Sprintf("%s has %s at %s offset %d on its disk, and did not give it.", n, m.Value, q, m.Offset), brief(there.lines[j], p), brief(given.last()))
				}
			}
		}
	}
	stored, not := 0, 0
	for _, s := range f.sends {
		if s.is(history.OK) || s.is(history.Fail) {
			continue
		}
		if len(f.places[s.values[0]]) > 0 {
			stored++
		} else {
			not++
		}
	}
	r.note("of %d sends of which clients did not know what became, %d are stored and %d are not", stored+not, stored, not)
}
