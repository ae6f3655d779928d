package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// once: no replica has a value twice, and nobody was given it from two places, also if what lay
// there has gone since; unless its client is one that may store it more than once: such are counted.
func once(f *facts, r *Result) {
	f.needFinal(r)
	loose, twice := 0, 0
	for _, s := range f.sends {
		for _, v := range s.values {
			r.Checked++
			if s.invoke.Loose {
				loose++
				if len(f.places[v]) > 1 {
					twice++
				}
				continue
			}
			if at := f.places[v]; len(at) > 1 {
				r.violate(fmt.Sprintf("%s was sent once, and stands at %s offset %d and at %s offset %d.", v, at[0].place.Queue, at[0].place.Offset, at[1].place.Queue, at[1].place.Offset),
					s.invoke, s.outcome, brief(at[0].op, at[0].place), brief(at[1].op, at[1].place))
			}
		}
	}
	if loose > 0 {
		r.note("of %d values of clients that have no identity %d are stored more than once", loose, twice)
	}
	f.givenOnce(r)
	// A dump that shows one place twice.
	for _, n := range f.plan.Nodes {
		for _, q := range f.plan.Queues {
			d := f.final[dumpKey{n, q}]
			if d == nil {
				continue
			}
			for i, m := range d.messages {
				if d.at[m.Offset] != i {
					p := history.Place{Queue: q, Offset: m.Offset}
					r.violate(fmt.Sprintf("%s gives offset %d of %s twice.", n, m.Offset, q), brief(d.lines[i], p))
				}
			}
		}
	}
}

// givenOnce: what somebody was given while the run went on stands where it stands at the end, or stood before.
func (f *facts) givenOnce(r *Result) {
	first := make(map[string]sight) // of values that are gone at the end
	told := make(map[string]bool)
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Read, history.Deliver, history.Look:
		default:
			continue
		}
		for _, m := range op.Messages {
			s := f.byValue[m.Value]
			if _, copies := f.plan.Copies[m.Queue]; s == nil || s.invoke.Loose || copies || told[m.Value] {
				continue
			}
			p := history.Place{Queue: m.Queue, Offset: m.Offset}
			other, known := first[m.Value]
			if at := f.places[m.Value]; len(at) > 0 {
				other, known = at[0], true
			}
			if !known {
				first[m.Value] = sight{p, m.Times, op}
			} else if other.place != p {
				told[m.Value] = true
				r.violate(fmt.Sprintf("%s was sent once, was given to %s at %s from %s offset %d, and stands or stood at %s offset %d.", m.Value, who(op), at(op), p.Queue, p.Offset, other.place.Queue, other.place.Offset),
					s.invoke, s.outcome, brief(op, p), brief(other.op, other.place))
			}
		}
	}
}
