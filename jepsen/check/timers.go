package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// By how much a message may come before its time by the run's clock. The cluster's time is
// the median of its nodes' clocks, and an answer that was long on its way, 400 ms at most,
// makes that late: so a message may be given its time by a late one and come by a true one.
// A wall clock that jumps or runs at another rate is not the median. A node whose timers
// run at a sixth, and which takes the time of the others every half second by them, is late
// by up to 2.5 s, and an answer may be later by as much.
const (
	earlySlack = 450 * time.Millisecond
	ratedSlack = 5 * time.Second
	ratedAfter = 3e9 // ns after the fault was undone
)

// leastGiven of the messages that come, of one, must be seen before the end. Those that are due in a
// run's last seconds are not.
const leastGiven = 0.1

// rateFaults are those by which a node's timers run at another rate.
var rateFaults = []string{"timer-rate", "slow-leader"}

// span is a time in which something was in force, ns.
type span struct{ from, to int64 }

func (s span) meets(o span) bool { return s.from <= o.to && o.from <= s.to }

// spans are those of the faults that match, each until it is undone.
func (f *facts) spans(match func(kind string) bool) (out []span) {
	open := make(map[string][]int) // by node, in the order in which they are undone
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Fault || op.Fault == nil {
			continue
		}
		switch op.Fault.Kind {
		case "exit":
		case "start", "resume", "heal":
			if is := open[op.Node]; len(is) > 0 {
				if is[0] >= 0 {
					out[is[0]].to = op.Time
				}
				open[op.Node] = is[1:]
			}
		default:
			at := -1 // none of those
			if match(op.Fault.Kind) {
				at = len(out)
				out = append(out, span{op.Time - op.Fault.Lasted, math.MaxInt64})
			}
			open[op.Node] = append(open[op.Node], at)
		}
	}
	return out
}

// early is by how much what waited in a span may be early: -1: by however much, since a node
// whose timers run at another rate may have been cut off from the others' clocks meanwhile.
func (f *facts) early() func(life span) time.Duration {
	rated := f.spans(func(kind string) bool { return slices.Contains(rateFaults, kind) })
	others := f.spans(func(kind string) bool { return !slices.Contains(rateFaults, kind) })
	return func(life span) time.Duration {
		slack := earlySlack
		for _, s := range rated {
			if !life.meets(span{s.from, min(s.to, math.MaxInt64-ratedAfter) + ratedAfter}) {
				continue
			}
			slack = ratedSlack
			if slices.ContainsFunc(others, s.meets) {
				return -1
			}
		}
		return slack
	}
}

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
	slack := f.early()
	came, given, back, loose := 0, 0, 0, 0
	var earliest time.Duration
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
		if came++; seen.F != history.Final {
			given++
		}
		due := d.invoke.Time + d.invoke.Wait
		earliest = max(earliest, time.Duration(due-seen.Time))
		if may := slack(span{d.invoke.Time, seen.Time}); may < 0 {
			loose++
		} else if seen.Time < due-may.Nanoseconds() {
			r.violate(fmt.Sprintf("%s was to come %v after %s, and was seen at %s.", v, time.Duration(d.invoke.Wait), at(d.invoke), at(seen)), d.invoke, sighting(seen, v))
		}
		if taken != nil {
			r.violate(fmt.Sprintf("%s was taken back, says %s, and was seen at %s.", v, at(taken.outcome), at(seen)), d.invoke, taken.invoke, taken.outcome, sighting(seen, v))
		}
	}
	r.note("%d messages came later, %d were taken back; the earliest came %v before its time", came, back, earliest)
	if loose > 0 {
		r.note("of %d messages nobody can say whether they came too early: a node's timers ran at a rate of their own, while something else was broken", loose)
	}
	if came == 0 || back == 0 {
		r.doubt("nothing came, or nothing was taken back")
	}
	if leastGiven*float64(came) > float64(given) { // what is only seen at the end may have come early
		r.doubt("of %d messages that came %d were given to somebody when they did", came, given)
	}
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
