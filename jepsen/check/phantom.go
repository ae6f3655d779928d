package check

import (
	"fmt"
	"slices"
	"strings"

	"raftmq/jepsen/history"
)

// phantom: whatever anybody was given had been sent before, is as it was sent, did not certainly fail, and is of a queue
// that there is.
func phantom(f *facts, r *Result) {
	f.needFinal(r)
	queues := make(map[string]bool)
	for _, q := range f.plan.Queues {
		queues[q] = true
	}
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Read, history.Deliver, history.Look, history.Final:
		default:
			continue
		}
		for _, m := range op.Messages {
			r.Checked++
			p := history.Place{Queue: m.Queue, Offset: m.Offset}
			s := f.byValue[m.Value]
			switch {
			case strings.HasPrefix(m.Value, "!"):
				r.violate(fmt.Sprintf("%s offset %d has bytes that nobody sent: %s.", m.Queue, m.Offset, m.Value[1:]), brief(op, p))
			case s == nil:
				r.violate(fmt.Sprintf("%s at %s offset %d was never sent.", m.Value, m.Queue, m.Offset), brief(op, p))
			case s.is(history.Fail) && !f.maybeResent(m.Value):
				r.violate(fmt.Sprintf("%s certainly failed at %s (%s), and is at %s offset %d.", m.Value, at(s.outcome), s.outcome.Error, m.Queue, m.Offset), s.invoke, s.outcome, brief(op, p))
			case !queues[m.Queue]:
				r.violate(fmt.Sprintf("%s was given to %s at %s from %s offset %d, a queue that there is not.", m.Value, who(op), at(op), m.Queue, m.Offset), brief(op, p))
			case op.Index < f.begun(s).Index:
				r.violate(fmt.Sprintf("%s was seen at %s, before it was sent at %s.", m.Value, at(op), at(s.invoke)), brief(op, p), s.invoke)
			}
		}
	}
}

// maybeResent reports whether a value was sent again and that did not certainly fail.
func (f *facts) maybeResent(value string) bool {
	return slices.ContainsFunc(f.resent[value], func(a *asked) bool { return !a.is(history.Fail) })
}
