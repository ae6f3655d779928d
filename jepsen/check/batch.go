package check

import (
	"fmt"

	"raftmq/jepsen/history"
)

// batch: the values of one send are in one queue side by side, on every replica
// that has any of them.
func batch(f *facts, r *Result) {
	f.needFinal(r)
	whole := len(f.missing()) == 0 // else what is not seen may be there
	for _, s := range f.sends {
		if len(s.values) < 2 {
			continue
		}
		r.Checked++
		var first *stands
		there := 0
		for i, v := range s.values {
			at := f.places[v]
			if len(at) == 0 {
				continue
			}
			there++
			x := stands{v, at[0].place, at[0].op}
			if first == nil {
				if i > 0 {
					break
				}
				first = &x
				continue
			}
			if x.place.Queue != first.place.Queue || x.place.Offset != first.place.Offset+int64(i) {
				r.violate(fmt.Sprintf("%s and %s were sent as one batch, and stand apart: %s offset %d, %s offset %d.", first.value, v, first.place.Queue, first.place.Offset, x.place.Queue, x.place.Offset),
					s.invoke, s.outcome, brief(first.op, first.place), brief(x.op, x.place))
				break
			}
		}
		// What lies below the floor may be gone, the front of a batch first.
		if whole && there > 0 && there < len(s.values) && !f.cut(s) {
			var ops []*history.Op
			missing := ""
			for _, v := range s.values {
				if at := f.places[v]; len(at) > 0 {
					ops = append(ops, brief(at[0].op, at[0].place))
				} else {
					missing = v
				}
			}
			r.violate(fmt.Sprintf("of a batch of %d values some are stored, and %s is not.", len(s.values), missing), append(ops, s.invoke, s.outcome)...)
		}
	}
}

// cut reports whether the front of a batch may lie below its queue's floor.
func (f *facts) cut(s *send) bool {
	for _, v := range s.values {
		if at := f.places[v]; len(at) > 0 {
			return f.floor(at[0].place.Queue) > 0 && at[0].place.Offset-f.floor(at[0].place.Queue) < int64(len(s.values))
		}
	}
	return false
}
