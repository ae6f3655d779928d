package check

import (
	"fmt"
	"time"

	"raftmq/jepsen/history"
)

// earlySlack is by how much a message may come before its time by the run's clock: the
// cluster's time is taken of its nodes' every half second, and one of them may run
// fast until then.
const earlySlack = 1500 * time.Millisecond

// timers (P12): a message that is to come later comes after its time, is in one place, and
// in none if it was taken back; what was acknowledged and not taken back is there at the
// end. All answers about taking it back agree.
func timers(f *facts, r *Result) {
	missing := f.missing()
	if len(missing) > 0 {
		r.doubt("queues were not read to their ends: %v", missing)
	}
	first := make(map[string]*history.Op) // that showed a value
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Read, history.Deliver, history.Look, history.Final:
			for _, m := range op.Messages {
				if first[m.Value] == nil {
					first[m.Value] = op
				}
			}
		}
	}
	recalls := make(map[string][]*asked)
	for _, a := range f.asked[history.Recall] {
		v := a.invoke.Values[0]
		recalls[v] = append(recalls[v], a)
	}
	came, back := 0, 0
	for _, d := range f.asked[history.Delay] {
		r.Checked++
		v := d.invoke.Values[0]
		var taken, late, unsure *asked
		for _, a := range recalls[v] {
			switch {
			case a.is(history.OK):
				taken = a
			case a.is(history.Fail):
				late = a
			default:
				unsure = a
			}
		}
		if taken != nil {
			back++
		}
		if taken != nil && late != nil {
			r.violate(fmt.Sprintf("%s was taken back, says %s, and comes, says %s.", v, at(taken.outcome), at(late.outcome)), taken.outcome, late.outcome)
		}
		seen, places := first[v], f.places[v]
		if len(places) > 1 {
			r.violate(fmt.Sprintf("%s was sent once, and stands at %s offset %d and at %s offset %d.", v, places[0].place.Queue, places[0].place.Offset, places[1].place.Queue, places[1].place.Offset),
				d.invoke, d.outcome, brief(places[0].op, places[0].place), brief(places[1].op, places[1].place))
		}
		if seen == nil {
			switch {
			case len(missing) > 0 || taken != nil || unsure != nil && late == nil:
			case d.is(history.OK) || late != nil:
				r.violate(fmt.Sprintf("%s was acknowledged at %s, not taken back, and is nowhere.", v, at(d.outcome)), d.invoke, d.outcome)
			}
			continue
		}
		came++
		if due := d.invoke.Time + d.invoke.Wait; seen.Time < due-earlySlack.Nanoseconds() {
			r.violate(fmt.Sprintf("%s was to come %v after %s, and was seen at %s.", v, time.Duration(d.invoke.Wait), at(d.invoke), at(seen)), d.invoke, sighting(seen, v))
		}
		if taken != nil {
			r.violate(fmt.Sprintf("%s was taken back, says %s, and was seen at %s.", v, at(taken.outcome), at(seen)), d.invoke, taken.invoke, taken.outcome, sighting(seen, v))
		}
	}
	r.note("%d messages came later, %d were taken back", came, back)
}

// sighting is a line with those of its messages that are of a value.
func sighting(op *history.Op, value string) *history.Op {
	var ps []history.Place
	for _, m := range op.Messages {
		if m.Value == value {
			ps = append(ps, history.Place{Queue: m.Queue, Offset: m.Offset})
		}
	}
	return brief(op, ps...)
}
