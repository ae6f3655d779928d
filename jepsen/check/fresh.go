package check

import (
	"fmt"
	"slices"

	"raftmq/jepsen/history"
)

// fresh: the end of a queue that a node tells, and what it gives of a queue up to its
// end, know of every send that was acknowledged, and of every end that was told,
// before the question; and of nothing that was not yet sent, nor is there at the end.
func fresh(f *facts, r *Result) {
	f.needFinal(r)
	known := make(map[string]*highest) // the last offset of a queue that is known to be there
	for i := range f.ops {
		op := &f.ops[i]
		if op.Type != history.OK {
			continue
		}
		switch op.F {
		case history.Send, history.Resend:
			for j, p := range op.Places {
				record(known, p.Queue, op, f.invoked[op].Values[j], p.Offset)
			}
		case history.End, history.Look:
			inv := f.invoked[op]
			if op.Range == nil { // it stopped before the end
				continue
			}
			r.Checked++
			h := known[op.Queue].before(inv.Index)
			if h != nil && h.offset >= op.Range.End {
				r.violate(fmt.Sprintf("offset %d of %s was told at %s (%s); asked at %s, %s said at %s that the queue ends at %d.", h.offset, op.Queue, at(h.op), who(h.op), at(inv), op.Node, at(op), op.Range.End),
					f.invoked[h.op], h.op, inv, brief(op))
			}
			if s := f.stored(op.Queue, op.Range.End-1); s != nil && f.begun(s).Index > op.Index {
				r.violate(fmt.Sprintf("%s said at %s that %s ends at %d; what stands before that was sent later, at %s.", op.Node, at(op), op.Queue, op.Range.End, at(s.invoke)), inv, brief(op), s.invoke)
			}
			if b := f.bounds[op.Queue]; b != nil && op.Range.End > b.Range.End {
				r.violate(fmt.Sprintf("%s said at %s that %s ends at %d; at the end it ends at %d.", op.Node, at(op), op.Queue, op.Range.End, b.Range.End), inv, brief(op), b)
			}
			record(known, op.Queue, op, "", op.Range.End-1)
		}
	}
	for _, a := range f.asked[history.Look] {
		switch {
		case a.is(history.OK):
			f.unbroken(r, a)
		case a.is(history.Fail) && a.outcome.Range != nil && !slices.Contains(f.plan.Trims, a.invoke.Queue): // else it is for trims
			f.gone(r, a)
		}
	}
}

// stored is the send whose value stands in a place at the end; nil: nothing is known
// of it.
func (f *facts) stored(queue string, offset int64) *send {
	for _, n := range f.plan.Nodes {
		if d := f.final[dumpKey{n, queue}]; d != nil {
			if i, there := d.at[offset]; there {
				return f.byValue[d.messages[i].Value]
			}
		}
	}
	return nil
}

// unbroken: what a Look gave begins where it was asked for, has no gap, and goes on
// to the end that it names.
func (f *facts) unbroken(r *Result, a *asked) {
	r.Checked++
	next := a.invoke.Range.Min
	for _, m := range a.outcome.Messages {
		if m.Offset != next {
			r.violate(fmt.Sprintf("%s was asked at %s for %s from offset %d on, and gave %d where %d should be.", a.invoke.Node, at(a.invoke), a.invoke.Queue, a.invoke.Range.Min, m.Offset, next),
				a.invoke, brief(a.outcome, history.Place{Queue: m.Queue, Offset: m.Offset}, history.Place{Queue: m.Queue, Offset: next - 1}))
			return
		}
		next++
	}
	if g := a.outcome.Range; g != nil && len(a.outcome.Messages) > 0 && next != g.End {
		r.violate(fmt.Sprintf("%s gave %s from offset %d to %d at %s, and said that it ends at %d.", a.invoke.Node, a.invoke.Queue, a.invoke.Range.Min, next, at(a.outcome), g.End), a.invoke, brief(a.outcome))
	}
}
