package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// letters: a dead letter is taken out once, by whoever is told so, and then it is not
// listed; until then it is. One that is to be handled again comes once.
func (g *retryGroup) letters(r *Result) {
	var list map[history.Place]*history.Message
	for _, op := range g.listed {
		is := make(map[history.Place]*history.Message)
		for i, m := range op.Messages {
			is[history.Place{Queue: m.Queue, Offset: m.Offset}] = &op.Messages[i]
		}
		g.list(r, op, is)
		list = is
	}
	for _, n := range g.f.plan.Nodes {
		if !slices.ContainsFunc(g.listed, func(op *history.Op) bool { return op.Node == n }) {
			r.doubt("the dead letters of group %s were not listed through %s", g.name, n)
		}
	}
	type span struct {
		least, most int
		lines       []*history.Op
	}
	spans := make(map[string]*span)
	of := func(v string) *span {
		if spans[v] == nil {
			spans[v] = &span{}
		}
		return spans[v]
	}
	for k, sights := range g.copies {
		if !k.dead && k.times == 0 {
			of(k.value).lines = append(of(k.value).lines, shown(sights)...)
		}
	}
	for _, p := range sortedPlaces(g.outs) {
		o := outcomesOf(g.outs[p])
		r.Checked++
		if o.taken > 1 {
			r.violate(fmt.Sprintf("the dead letter %s at %s offset %d was taken out %d times.", o.value, p.Queue, p.Offset, o.taken), o.lines...)
		}
		if o.gone > 0 && o.taken == 0 && o.unsureAgain+o.unsureDrop == 0 {
			r.violate(fmt.Sprintf("the dead letter %s at %s offset %d is gone, says %s, and nobody took it out.", o.value, p.Queue, p.Offset, at(o.wasGone)), o.lines...)
		}
		s := of(o.value)
		s.lines = append(s.lines, o.lines...)
		switch {
		case o.again > 0:
			s.least, s.most = s.least+1, s.most+1
		case o.taken > 0 || o.unsureAgain == 0: // it was dropped, or nobody asked for it again
		case o.gone > 0 && o.unsureDrop == 0:
			s.least, s.most = s.least+1, s.most+1
		case list[p] == nil:
			s.most++
		}
	}
	for _, v := range slices.Sorted(maps.Keys(spans)) {
		s, n := spans[v], len(g.copies[copyKey{value: v}])
		switch {
		case n < s.least && g.whole:
			r.violate(fmt.Sprintf("%s was taken out of the dead letters of group %s %d times to be handled again, and comes %d times.", v, g.name, s.least, n), s.lines...)
		case n > s.most:
			r.violate(fmt.Sprintf("%s was taken out of the dead letters of group %s at most %d times to be handled again, and comes %d times.", v, g.name, s.most, n), s.lines...)
		}
	}
}

// list judges one list of dead letters.
func (g *retryGroup) list(r *Result, op *history.Op, is map[history.Place]*history.Message) {
	there := make(map[history.Place]bool)
	for _, k := range sortedKeys(g.copies) {
		if !k.dead {
			continue
		}
		for _, s := range g.copies[k] {
			there[s.place] = true
			r.Checked++
			o := outcomesOf(g.outs[s.place])
			switch {
			case is[s.place] != nil && (o.taken > 0 || o.gone > 0):
				r.violate(fmt.Sprintf("the dead letter %s at %s offset %d was taken out, and %s lists it.", k.value, s.place.Queue, s.place.Offset, op.Node), append(o.lines, brief(op, s.place))...)
			case is[s.place] != nil && (is[s.place].Value != k.value || is[s.place].Times != k.times):
				r.violate(fmt.Sprintf("%s lists %s, given %d times, at %s offset %d, where %s is, given %d times.", op.Node, is[s.place].Value, is[s.place].Times, s.place.Queue, s.place.Offset, k.value, k.times), brief(s.op, s.place), brief(op, s.place))
			case is[s.place] == nil && o.taken+o.gone+o.unsureAgain+o.unsureDrop == 0:
				r.violate(fmt.Sprintf("nobody took the dead letter %s at %s offset %d out, and %s does not list it.", k.value, s.place.Queue, s.place.Offset, op.Node), brief(s.op, s.place), brief(op))
			}
		}
	}
	if !g.whole {
		return
	}
	for _, p := range sortedPlaces(is) {
		if !there[p] {
			r.violate(fmt.Sprintf("%s lists a dead letter at %s offset %d, where none is.", op.Node, p.Queue, p.Offset), brief(op, p))
		}
	}
}

// outcomes are what became of the requests to take one dead letter out.
type outcomes struct {
	value                   string
	taken, again            int // was told so; of these to be handled again
	gone                    int
	wasGone                 *history.Op // the first that said so
	unsureAgain, unsureDrop int
	lines                   []*history.Op
}

func outcomesOf(all []*asked) (o outcomes) {
	for _, a := range all {
		o.value = a.invoke.Values[0]
		o.lines = append(o.lines, a.invoke, a.outcome)
		drop := a.invoke.Fate == history.Dropping
		switch {
		case a.is(history.OK) && a.outcome.Count > 0:
			if o.taken++; !drop {
				o.again++
			}
		case a.is(history.OK):
			if o.gone++; o.wasGone == nil {
				o.wasGone = a.outcome
			}
		case a.is(history.Fail):
		case drop:
			o.unsureDrop++
		default:
			o.unsureAgain++
		}
	}
	return o
}

func sortedPlaces[V any](m map[history.Place]V) []history.Place {
	return slices.SortedFunc(maps.Keys(m), func(a, b history.Place) int {
		if a.Queue != b.Queue {
			if a.Queue < b.Queue {
				return -1
			}
			return 1
		}
		return int(a.Offset - b.Offset)
	})
}
