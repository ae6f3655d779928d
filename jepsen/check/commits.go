package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// commits: a group's offset that was told, or whose commit was acknowledged, is never
// told lower to who asks after that, and never lies past the end, as it is at the end
// or as it was then. Of a group whose commits are in the history it is one that somebody
// committed, and was not refused. Groups that an operator moved are for register.
func commits(f *facts, r *Result) {
	moved := make(map[string]bool)
	for _, a := range f.asked[history.Reset] {
		moved[a.invoke.Group+" "+a.invoke.Queue] = true
	}
	type committed struct {
		key    string
		offset int64
	}
	begun := make(map[committed]int64) // line of the first commit of it that was not refused
	written := make(map[string]bool)   // groups whose commits are in the history
	for _, a := range f.asked[history.Commit] {
		written[a.invoke.Group] = true
		p := a.invoke.Places[0]
		k := committed{a.invoke.Group + " " + p.Queue, p.Offset}
		if _, known := begun[k]; !known && !a.is(history.Fail) {
			begun[k] = a.invoke.Index
		}
	}
	told := make(map[string]*highest)
	for i := range f.ops {
		op := &f.ops[i]
		if op.Type != history.OK {
			continue
		}
		switch op.F {
		case history.Commit:
			p := f.invoked[op].Places[0]
			r.Checked++
			if key := op.Group + " " + p.Queue; !moved[key] { // else it may have been passed over
				record(told, key, op, "", p.Offset)
				f.pastEnd(r, op, p)
			}
		case history.Committed:
			inv := f.invoked[op]
			for _, m := range op.Messages {
				r.Checked++
				key, p := op.Group+" "+m.Queue, history.Place{Queue: m.Queue, Offset: m.Offset}
				f.pastEnd(r, op, p)
				if moved[key] {
					continue
				}
				if h := told[key].before(inv.Index); h != nil && h.offset > m.Offset {
					r.violate(fmt.Sprintf("group %s had offset %d of %s at %s, and %d at %s.", op.Group, h.offset, m.Queue, at(h.op), m.Offset, at(op)),
						brief(h.op, history.Place{Queue: m.Queue, Offset: h.offset}), inv, brief(op, p))
				}
				if line, ok := begun[committed{key, m.Offset}]; written[op.Group] && m.Offset >= 0 && (!ok || line > op.Index) {
					r.violate(fmt.Sprintf("group %s had offset %d of %s at %s, which nobody has committed.", op.Group, m.Offset, m.Queue, at(op)), inv, brief(op, p))
				}
				record(told, key, op, "", m.Offset)
			}
		}
	}
}

func (f *facts) pastEnd(r *Result, op *history.Op, p history.Place) {
	if b := f.bounds[p.Queue]; b != nil && p.Offset > b.Range.End {
		r.violate(fmt.Sprintf("group %s had offset %d of %s, whose end is %d.", op.Group, p.Offset, p.Queue, b.Range.End), brief(op, p), b)
	} else if s := f.stored(p.Queue, p.Offset-1); s != nil && f.begun(s).Index > op.Index {
		r.violate(fmt.Sprintf("group %s had offset %d of %s at %s; what stands before that was sent later, at %s.", op.Group, p.Offset, p.Queue, at(op), at(s.invoke)), brief(op, p), s.invoke)
	}
}
