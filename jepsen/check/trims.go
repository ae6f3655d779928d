package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// So many reads below a queue's first offset may find no leader, or lose their answers, that none is told where it is.
const mostUntold = 10

// trims: a queue's first offset only rises, and is never past its end; a read below it is told where it is, and
// a read at or above it is served, from where it was asked for. Of a log at least as much is kept as is to be. Something must have
// been trimmed.
func trims(f *facts, r *Result) {
	first := make(map[string]*highest)
	trimmed, below, told, untold := false, 0, 0, 0
	for i := range f.ops {
		op := &f.ops[i]
		if least := f.plan.Keeps[op.Topic]; op.F == history.Kept && op.Range != nil && least > 0 {
			r.Checked++
			if is := op.Range.End - op.Range.Min; is < least {
				r.violate(fmt.Sprintf("%s has %d bytes of a partition's log of topic %s at %s, from %d to %d, of which %d are to be kept.", op.Node, is, op.Topic, at(op), op.Range.Min, op.Range.End, least), op)
			}
		}
		if op.F != history.End || op.Type != history.OK {
			continue
		}
		r.Checked++
		inv := f.invoked[op]
		trimmed = trimmed || op.Range.Min > 0
		if op.Range.Min > op.Range.End {
			r.violate(fmt.Sprintf("%s said at %s that %s begins at %d, and then that it ends at %d.", op.Node, at(op), op.Queue, op.Range.Min, op.Range.End), inv, op)
		}
		if h := first[op.Queue].before(inv.Index); h != nil && h.offset > op.Range.Min {
			r.violate(fmt.Sprintf("%s began at offset %d at %s, and %s says at %s that it begins at %d.", op.Queue, h.offset, at(h.op), op.Node, at(op), op.Range.Min), h.op, inv, op)
		}
		record(first, op.Queue, op, "", op.Range.Min)
		if b := f.bounds[op.Queue]; b != nil && b.Range.Min < op.Range.Min {
			r.violate(fmt.Sprintf("%s began at offset %d at %s, and at %d at the end.", op.Queue, op.Range.Min, at(op), b.Range.Min), inv, op, b)
		}
	}
	for _, a := range f.asked[history.Look] {
		h := first[a.invoke.Queue].before(a.invoke.Index)
		isBelow := h != nil && a.invoke.Range.Min < h.offset
		switch {
		case a.is(history.OK):
			f.unbroken(r, a)
			if isBelow && len(a.outcome.Messages) > 0 {
				below++
			}
		case a.is(history.Fail) && a.outcome.Range != nil:
			f.gone(r, a)
			if isBelow {
				told++
			}
		case isBelow:
			untold++
		}
	}
	if told == 0 && untold >= mostUntold {
		r.doubt("of %d reads below a beginning none was told where that is", untold)
	}
	if below > 0 {
		r.note("%d reads were served from below a beginning that was told before, by replicas that still had it", below)
	}
	if !trimmed {
		r.doubt("nothing was trimmed")
	}
}

// gone: what a Look is told to be kept no more is not kept at the end.
func (f *facts) gone(r *Result, a *asked) {
	r.Checked++
	b := f.bounds[a.invoke.Queue]
	if from := a.invoke.Range.Min; b != nil && from >= b.Range.Min {
		r.violate(fmt.Sprintf("%s said at %s that offset %d of %s is not kept any more; the queue begins at %d.", a.invoke.Node, at(a.outcome), from, a.invoke.Queue, b.Range.Min), a.invoke, a.outcome, b)
	} else if b != nil && a.outcome.Range.Min > b.Range.Min {
		r.violate(fmt.Sprintf("%s said at %s that %s begins at %d; it begins at %d at the end.", a.invoke.Node, at(a.outcome), a.invoke.Queue, a.outcome.Range.Min, b.Range.Min), a.invoke, a.outcome, b)
	}
}
