package check

import (
	"fmt"
	"sort"

	"raftmq/jepsen/history"
)

// order: a send that was acknowledged before another began stands before it, if in
// the same queue; and the values of one send stand in their order. What became of
// unknown sends is taken from the final log.
func order(f *facts, r *Result) {
	f.needFinal(r)
	done := make(map[string]*highest)
	for i := range f.ops {
		op := &f.ops[i]
		if op.F == history.Send && op.Type == history.OK {
			for j, p := range op.Places {
				record(done, p.Queue, op, f.invoked[op].Values[j], p.Offset)
			}
		}
	}
	for _, s := range f.sends {
		places, first := f.standing(s), f.begun(s)
		for i, x := range places {
			r.Checked++
			if h := done[x.place.Queue].before(first.Index); h != nil && h.offset >= x.place.Offset {
				other := f.byValue[h.value]
				r.violate(fmt.Sprintf("%s was acknowledged at %s at %s offset %d; %s was sent after that, at %s, and stands before it, at offset %d.",
					h.value, at(h.op), x.place.Queue, h.offset, x.value, at(first), x.place.Offset), other.invoke, h.op, first, s.outcome, brief(x.op, x.place))
			}
			if i > 0 && places[i-1].place.Queue == x.place.Queue && places[i-1].place.Offset >= x.place.Offset {
				r.violate(fmt.Sprintf("%s and %s were sent together in this order, and stand at offsets %d and %d of %s.", places[i-1].value, x.value,
					places[i-1].place.Offset, x.place.Offset, x.place.Queue), s.invoke, s.outcome, brief(x.op, x.place))
			}
		}
	}
}

// stands is a value of a send and where it is.
type stands struct {
	value string
	place history.Place
	op    *history.Op // that says so
}

// standing is where a send's values are: by its receipt, else by the final log.
func (f *facts) standing(s *send) (out []stands) {
	for i, v := range s.values {
		if s.is(history.OK) {
			out = append(out, stands{v, s.outcome.Places[i], s.outcome})
		} else if at := f.places[v]; len(at) > 0 {
			out = append(out, stands{v, at[0].place, at[0].op})
		}
	}
	return out
}

// highest is, for each line that raised it, the highest offset that was known in a
// queue.
type highest struct{ raised []raise }

type raise struct {
	op     *history.Op
	value  string
	offset int64
}

// record is called in the order of lines.
func record(m map[string]*highest, key string, op *history.Op, value string, offset int64) {
	h := m[key]
	if h == nil {
		h = &highest{}
		m[key] = h
	}
	if n := len(h.raised); n == 0 || h.raised[n-1].offset < offset {
		h.raised = append(h.raised, raise{op, value, offset})
	}
}

// before is the highest known before a line; nil: none was.
func (h *highest) before(index int64) *raise {
	if h == nil {
		return nil
	}
	n := sort.Search(len(h.raised), func(i int) bool { return h.raised[i].op.Index >= index })
	if n == 0 {
		return nil
	}
	return &h.raised[n-1]
}
