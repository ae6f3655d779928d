package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// retries (P13): a message that a group puts back makes one copy for each request that
// says so, at most one for each of which nobody knows what became or that says that it was
// done before, and none for one that is refused. It was done before by another request, or by
// its own, which nodes ask again if an answer is lost; then one is there. A copy says how often the group was given the message. It comes again
// until that is as often as is set, or until the group gives it up, and lies among the
// dead letters then; once it is taken out, it comes again once more, or never.
//
// A group of the bundled client asks again by itself, under the identity of its delivery: there
// is at least one copy of what failed, and at most one for each time that it did.
func retries(f *facts, r *Result) {
	f.needFinal(r)
	for _, name := range slices.Sorted(maps.Keys(f.plan.Retries)) {
		g := f.retryGroup(name)
		g.counts(r)
		g.grounds(r)
		g.handled(r)
		g.letters(r)
		g.enough(r)
	}
}

// copyKey names the copies that mean the same: of a value, after so many times, in one
// kind of queue.
type copyKey struct {
	value string
	times int
	dead  bool
}

func (k copyKey) String() string {
	if k.dead {
		return fmt.Sprintf("%s, given %d times, among the dead letters", k.value, k.times)
	}
	return fmt.Sprintf("%s, given %d times, to come again", k.value, k.times)
}

// retryGroup is what one group was given, and did with it.
type retryGroup struct {
	f       *facts
	name    string
	most    int
	queues  []string
	asks    bool // its requests are written down
	whole   bool // all queues were read to their ends
	copies  map[copyKey][]sight
	backs   map[copyKey][]*asked    // by the copies that they make
	failed  map[copyKey]*history.Op // the first
	fails   map[copyKey]int
	settled map[history.Place]bool // handled, or put back
	drained *history.Op
	outs    map[history.Place][]*asked // that take a dead letter out
	listed  []*history.Op
}

func (f *facts) retryGroup(name string) *retryGroup {
	plan := f.plan.Retries[name]
	g := &retryGroup{f: f, name: name, most: plan.Most, queues: plan.Queues, whole: len(f.missing()) == 0, copies: make(map[copyKey][]sight), backs: make(map[copyKey][]*asked),
		failed: make(map[copyKey]*history.Op), fails: make(map[copyKey]int), settled: make(map[history.Place]bool), outs: make(map[history.Place][]*asked)}
	for v, sights := range f.copies {
		for _, s := range sights {
			if of := f.plan.Copies[s.place.Queue]; of.Group == name {
				k := copyKey{v, s.times, of.Dead}
				g.copies[k] = append(g.copies[k], s)
			}
		}
	}
	for _, a := range f.asked[history.Back] {
		if a.invoke.Group != name {
			continue
		}
		g.asks = true
		k := g.next(a.invoke.Values[0], a.invoke.Count, a.invoke.Fate)
		g.backs[k] = append(g.backs[k], a)
		if a.is(history.OK) { // who does not know asks again, and goes no further before
			g.settled[a.invoke.Places[0]] = true
		}
	}
	for _, a := range f.asked[history.TakeOut] {
		if a.invoke.Group == name {
			g.outs[a.invoke.Places[0]] = append(g.outs[a.invoke.Places[0]], a)
		}
	}
	for i := range f.ops {
		op := &f.ops[i]
		switch {
		case op.Group != name:
		case op.F == history.Drained && op.Type == history.OK:
			g.drained = op
		case op.F == history.Letters && op.Type == history.OK:
			g.listed = append(g.listed, op)
		case op.F == history.Deliver:
			for _, m := range op.Messages {
				if op.Type == history.OK || !g.asks {
					g.settled[history.Place{Queue: m.Queue, Offset: m.Offset}] = true
				}
				if op.Type != history.Fail {
					continue
				}
				k := g.next(m.Value, m.Times, op.Fate)
				if g.fails[k]++; g.failed[k] == nil {
					g.failed[k] = op
				}
			}
		}
	}
	return g
}

// next is the copy that a message becomes when it fails after it was given so many times
// before.
func (g *retryGroup) next(value string, times int, fate string) copyKey {
	return copyKey{value, times + 1, fate == history.Burying || times >= g.most}
}

// counts compares copies with the requests that make them.
func (g *retryGroup) counts(r *Result) {
	if !g.asks {
		return
	}
	keys := make(map[copyKey]bool)
	for k := range g.copies {
		keys[k] = k.times > 0
	}
	for k := range g.backs {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		if !keys[k] {
			continue // those that were taken out
		}
		r.Checked++
		done, before, unsure := 0, 0, 0
		var lines []*history.Op
		for _, a := range g.backs[k] {
			switch {
			case a.is(history.OK) && a.outcome.Count > 0:
				done++
			case a.is(history.OK):
				before++
			case !a.is(history.Fail):
				unsure++
			}
			lines = append(lines, a.invoke, a.outcome)
		}
		least := done
		if before > 0 {
			least = max(least, 1)
		}
		switch n := len(g.copies[k]); {
		case n < least && g.whole:
			r.violate(fmt.Sprintf("%s: group %s was told %d times that it is put back, and %d times that it was before, and there are %d.", k, g.name, done, before, n), append(lines, shown(g.copies[k])...)...)
		case n > done+before+unsure:
			r.violate(fmt.Sprintf("%s: group %s put it back %d times, and of %d nobody knows, and there are %d.", k, g.name, done+before, unsure, n), append(lines, shown(g.copies[k])...)...)
		}
	}
}

// grounds: each copy is of a message that the group failed the time before, and each that
// it failed is there.
func (g *retryGroup) grounds(r *Result) {
	for _, k := range sortedKeys(g.copies) {
		if k.times == 0 { // for letters, if it is to come again
			if k.dead {
				r.violate(fmt.Sprintf("%s: group %s has never failed it, so that it would be there.", k, g.name), shown(g.copies[k])...)
			}
			continue
		}
		r.Checked++
		if !k.dead && k.times > g.most {
			r.violate(fmt.Sprintf("%s: group %s is given a message %d times again at most.", k, g.name, g.most), shown(g.copies[k])...)
		} else if g.failed[k] == nil {
			r.violate(fmt.Sprintf("%s: group %s has never failed it the time before, so that it would be there.", k, g.name), shown(g.copies[k])...)
		}
	}
	if g.asks || !g.whole || g.drained == nil {
		return // counts knows better
	}
	for _, k := range sortedKeys(g.failed) {
		r.Checked++
		n := len(g.copies[k])
		if n > g.fails[k] {
			r.violate(fmt.Sprintf("%s: group %s failed it %d times, and there are %d.", k, g.name, g.fails[k], n), append([]*history.Op{brief(g.failed[k], placesOf(g.failed[k], k.value)...)}, shown(g.copies[k])...)...)
		}
		if n == 0 {
			r.violate(fmt.Sprintf("%s: group %s failed it at %s, and it is not there.", k, g.name, at(g.failed[k])), brief(g.failed[k], placesOf(g.failed[k], k.value)...), g.drained)
		}
	}
}

// handled: all that lies in the group's queues was handled, or put back.
func (g *retryGroup) handled(r *Result) {
	if g.drained == nil {
		r.doubt("group %s did not come to the end", g.name)
		return
	}
	look := func(queue string, m history.Message, line *history.Op) {
		p := history.Place{Queue: queue, Offset: m.Offset}
		if r.Checked++; !g.settled[p] && m.Offset >= g.f.floor(queue) {
			r.violate(fmt.Sprintf("%s is at %s offset %d; group %s came to the end of the queue and has never handled it nor put it back.", m.Value, queue, m.Offset, g.name), brief(line, p), g.drained)
		}
	}
	queues := slices.Clone(g.queues)
	for q, of := range g.f.plan.Copies {
		if of.Group == g.name && !of.Dead {
			queues = append(queues, q)
		}
	}
	slices.Sort(queues)
	for _, q := range queues {
		if d := g.f.final[dumpKey{g.f.plan.Nodes[0], q}]; d != nil {
			for i, m := range d.messages {
				look(q, m, d.lines[i])
			}
		}
	}
}

// enough: without any of these the run says little.
func (g *retryGroup) enough(r *Result) {
	again, dead, out := 0, 0, 0
	for k, sights := range g.copies {
		switch {
		case k.dead:
			dead += len(sights)
		case k.times == 0:
			out += len(sights)
		default:
			again += len(sights)
		}
	}
	r.note("group %s: %d came again, %d dead letters, of which %d were handled again", g.name, again, dead, out)
	if again == 0 || dead == 0 || g.asks && out == 0 {
		r.doubt("group %s: nothing came again, or was given up, or taken out", g.name)
	}
}

// shown are the lines that show copies.
func shown(sights []sight) (lines []*history.Op) {
	for _, s := range sights {
		lines = append(lines, brief(s.op, s.place))
	}
	return lines
}

// placesOf are those of a line's messages that are of a value.
func placesOf(op *history.Op, value string) (ps []history.Place) {
	for _, m := range op.Messages {
		if m.Value == value {
			ps = append(ps, history.Place{Queue: m.Queue, Offset: m.Offset})
		}
	}
	return ps
}

func sortedKeys[V any](m map[copyKey]V) []copyKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b copyKey) int {
		switch {
		case a.value != b.value:
			if a.value < b.value {
				return -1
			}
			return 1
		case a.times != b.times:
			return a.times - b.times
		case a.dead != b.dead && a.dead:
			return 1
		case a.dead != b.dead:
			return -1
		}
		return 0
	})
}
