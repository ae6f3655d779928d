package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// agreement: receipts, readers, consumers and every replica at the end say the same
// of a place, and what anybody was given is not past the end then.
func agreement(f *facts, r *Result) {
	f.needFinal(r)
	type claim struct {
		value string
		op    *history.Op
	}
	first := make(map[history.Place]claim)
	say := func(op *history.Op, p history.Place, v string) {
		r.Checked++
		c, ok := first[p]
		if !ok {
			first[p] = claim{v, op}
			return
		}
		if c.value != v {
			r.violate(fmt.Sprintf("%s offset %d is %s to %s at %s, and %s to %s at %s.", p.Queue, p.Offset, c.value, who(c.op), at(c.op), v, who(op), at(op)), brief(c.op, p), brief(op, p))
		}
	}
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Send, history.Resend:
			if op.Type != history.OK {
				continue
			}
			for i, v := range f.invoked[op].Values {
				say(op, op.Places[i], v)
			}
		case history.Read, history.Deliver, history.Look, history.Final:
			for _, m := range op.Messages {
				p := history.Place{Queue: m.Queue, Offset: m.Offset}
				say(op, p, m.Value)
				if b := f.bounds[m.Queue]; b != nil && op.F != history.Final && m.Offset >= b.Range.End { // a final dump that is longer is for dense
					r.violate(fmt.Sprintf("%s offset %d was %s to %s at %s, and the queue ends at %d at the end.", m.Queue, m.Offset, m.Value, who(op), at(op), b.Range.End), brief(op, p), b)
				}
			}
		}
	}
}

// who names the speaker of a line.
func who(op *history.Op) string {
	switch op.F {
	case history.Send, history.Resend:
		return "its sender " + op.Process
	case history.End, history.Look:
		return op.Process + " through " + op.Node
	case history.Final:
		return op.Node
	case history.Deliver:
		return "group " + op.Group
	}
	return "reader " + op.Process
}
