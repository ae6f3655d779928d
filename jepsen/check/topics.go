package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// topics: what was created is there for whoever asks after that, until it is deleted;
// what was never wanted is never told; a node that has answered a change or a deletion knows of it until it is started again; at the end all nodes tell the same, as it was asked for
// last; and the messages of a topic are there until it is deleted, and are gone with it.
func topics(f *facts, r *Result) {
	puts, drops := byTopic(f.asked[history.PutTopic]), byTopic(f.asked[history.DropTopic])
	starts := make(map[string][]int64) // of each node, in their order
	for i := range f.ops {
		if op := &f.ops[i]; op.F == history.Started {
			starts[op.Node] = append(starts[op.Node], op.Index)
		}
	}
	for _, a := range f.asked[history.GetTopic] {
		if !a.is(history.OK) {
			continue
		}
		r.Checked++
		if a.outcome.Count == 0 {
			if p := standing(puts[a.invoke.Topic], drops[a.invoke.Topic], a); p != nil {
				r.violate(fmt.Sprintf("topic %s was created at %s and not deleted since; %s said at %s that there is none.", a.invoke.Topic, at(p.outcome), a.invoke.Node, at(a.outcome)), p.invoke, p.outcome, a.invoke, a.outcome)
			}
			continue
		}
		wanted := false
		for _, p := range puts[a.invoke.Topic] {
			wanted = wanted || p.invoke.Count == a.outcome.Count && p.invoke.Index < a.outcome.Index && !p.is(history.Fail)
		}
		if !wanted {
			r.violate(fmt.Sprintf("%s said at %s that topic %s has %d queues, which nobody has asked for.", a.invoke.Node, at(a.outcome), a.invoke.Topic, a.outcome.Count), a.invoke, a.outcome)
		} else if c := overruled(puts[a.invoke.Topic], drops[a.invoke.Topic], a, a.invoke.Node); c != nil && !within(starts[a.invoke.Node], c.outcome.Index, a.outcome.Index) {
			r.violate(fmt.Sprintf("%s changed or deleted topic %s at %s, and said at %s that it has %d queues, as before.", a.invoke.Node, a.invoke.Topic, at(c.outcome), at(a.outcome), a.outcome.Count), c.invoke, c.outcome, a.invoke, a.outcome)
		}
	}
	atTheEnd(f, r, puts, drops)
	goneWithTheirTopic(f, r, puts, drops)
}

// within reports whether one of some places in the history, in their order, lies between two.
func within(places []int64, from, to int64) bool {
	i, _ := slices.BinarySearch(places, from)
	return i < len(places) && places[i] < to
}

func byTopic(all []*asked) map[string][]*asked {
	out := make(map[string][]*asked)
	for _, a := range all {
		out[a.invoke.Topic] = append(out[a.invoke.Topic], a)
	}
	return out
}

// undoing is what deletions leave of creations.
type undoing struct {
	answered int64 // line of the last answer; -1: there was none
	until    int64 // when those are over of which nobody knows what became, ns
}

// undoneBy are the deletions that may have been done by a line.
func undoneBy(drops []*asked, line int64) undoing {
	u := undoing{answered: -1}
	for _, d := range drops {
		switch {
		case d.is(history.Fail) || d.invoke.Index >= line:
		case d.is(history.OK):
			u.answered = max(u.answered, d.outcome.Index)
		default:
			u.until = max(u.until, d.invoke.Time+doneLate.Nanoseconds())
		}
	}
	return u
}

// spares reports whether all of them were over when a creation began.
func (u undoing) spares(p *asked) bool {
	return p.invoke.Index > u.answered && p.invoke.Time >= u.until
}

// standing is a creation that was over before a question began, and that no deletion
// can have undone before the answer; nil: there is none.
func standing(puts, drops []*asked, question *asked) *asked {
	u := undoneBy(drops, question.outcome.Index)
	for _, p := range puts {
		if p.is(history.OK) && p.outcome.Index < question.invoke.Index && u.spares(p) {
			return p
		}
	}
	return nil
}

// doneLate is for how long a request may yet be done of which nobody knows what became: longer than any fault cuts a node off.
const doneLate = 2 * time.Minute

// overruled is a change or a deletion, answered by a node ("": any), that began when every request for what
// an answer tells was over, and was over when that was asked; nil: there is none, or nothing is told.
func overruled(puts, drops []*asked, answer *asked, node string) (by *asked) {
	if answer.outcome.Count == 0 {
		return nil // for standing
	}
	last := int64(-1)
	for _, p := range puts {
		switch {
		case p.invoke.Count != answer.outcome.Count || p.is(history.Fail) || p.invoke.Index > answer.outcome.Index:
		case p.is(history.OK):
			last = max(last, p.outcome.Index)
		case answer.outcome.Time-p.invoke.Time < doneLate.Nanoseconds():
			return nil // it may be done at any time
		default:
			last = max(last, p.invoke.Index)
		}
	}
	if last < 0 {
		return nil // nobody wanted it, which is told apart
	}
	for _, all := range [][]*asked{puts, drops} {
		for _, c := range all {
			if c.is(history.OK) && c.invoke.Index > last && c.outcome.Index < answer.invoke.Index && (node == "" || c.invoke.Node == node) {
				return c
			}
		}
	}
	return nil
}

// atTheEnd: the answers after the last fault, when nobody changes anything, are one, and
// are what was asked for last; and each node that is asked says something.
func atTheEnd(f *facts, r *Result, puts, drops map[string][]*asked) {
	healed := false
	first := make(map[string]*asked)
	type question struct{ topic, node string }
	silent := make(map[question]bool)
	next := make(map[*history.Op]*asked)
	for _, a := range f.asked[history.GetTopic] {
		next[a.invoke] = a
	}
	for i := range f.ops {
		op := &f.ops[i]
		healed = healed || op.F == history.Healed
		a := next[op]
		if !healed || a == nil {
			continue
		}
		q := question{op.Topic, op.Node}
		if !a.is(history.OK) { // it may be asked again
			if _, said := silent[q]; !said {
				silent[q] = true
			}
			continue
		}
		silent[q] = false
		r.Checked++
		if p := overruled(puts[op.Topic], drops[op.Topic], a, ""); p != nil {
			r.violate(fmt.Sprintf("at the end %s says that topic %s has %d queues, which was changed since, says %s.", op.Node, op.Topic, a.outcome.Count, at(p.outcome)), p.invoke, p.outcome, a.invoke, a.outcome)
		}
		o := first[op.Topic]
		if o == nil {
			first[op.Topic] = a
		} else if o.outcome.Count != a.outcome.Count {
			r.violate(fmt.Sprintf("at the end %s says that topic %s has %d queues, and %s that it has %d.", o.invoke.Node, op.Topic, o.outcome.Count, op.Node, a.outcome.Count), o.invoke, o.outcome, a.invoke, a.outcome)
		}
	}
	for _, n := range f.plan.Nodes {
		for _, t := range slices.Sorted(maps.Keys(puts)) {
			if silent[question{t, n}] {
				r.doubt("at the end %s did not say whether there is topic %s", n, t)
			}
		}
	}
}

// goneWithTheirTopic: a node that has answered a creation gives no message of before a
// deletion that was over when the creation began; nor does any other, after the last fault.
func goneWithTheirTopic(f *facts, r *Result, puts, drops map[string][]*asked) {
	noted := make(map[string]*asked)
	for _, a := range f.asked[history.Note] {
		noted[a.invoke.Values[0]] = a
	}
	notes := byTopic(f.asked[history.Note])
	healed := int64(math.MaxInt64) // line from which on all nodes know of all
	for i := range f.ops {
		if op := &f.ops[i]; op.F == history.Healed && op.Type == history.OK {
			healed = op.Index
		}
	}
	for _, a := range f.asked[history.Notes] {
		if !a.is(history.OK) {
			continue
		}
		r.Checked++
		// The latest deletion that lies before a creation which this node answered
		// before it was asked.
		var gone, again *asked
		for _, p := range puts[a.invoke.Topic] {
			if !p.is(history.OK) || p.invoke.Node != a.invoke.Node && a.invoke.Index < healed || p.outcome.Index > a.invoke.Index {
				continue
			}
			for _, d := range drops[a.invoke.Topic] {
				if d.is(history.OK) && d.outcome.Index < p.invoke.Index && (gone == nil || d.invoke.Index > gone.invoke.Index) {
					gone, again = d, p
				}
			}
		}
		stillThere(r, a, a.invoke.Index > healed, notes[a.invoke.Topic], puts[a.invoke.Topic], drops[a.invoke.Topic])
		for _, v := range a.outcome.Values {
			n := noted[v]
			switch {
			case n == nil:
				r.violate(fmt.Sprintf("topic %s has %s, which nobody put into it.", a.invoke.Topic, v), a.invoke, a.outcome)
			case n.is(history.Fail):
				r.violate(fmt.Sprintf("%s certainly failed at %s, and is in topic %s.", v, at(n.outcome), a.invoke.Topic), n.invoke, n.outcome, a.invoke, a.outcome)
			case gone != nil && n.is(history.OK) && n.outcome.Index < gone.invoke.Index:
				r.violate(fmt.Sprintf("%s was put into topic %s, which was then deleted at %s and created again at %s; at %s %s gives it again.", v, a.invoke.Topic, at(gone.outcome), at(again.outcome), at(a.outcome), a.invoke.Node),
					n.invoke, n.outcome, gone.invoke, gone.outcome, again.invoke, again.outcome, a.invoke, a.outcome)
			}
		}
	}
}

// stillThere: what was put into a topic before a question is in the answer, unless the topic
// may have been deleted since. Nodes that may not have heard of the latest creation are passed over, before all are well again.
func stillThere(r *Result, a *asked, well bool, notes, puts, drops []*asked) {
	u := undoneBy(drops, a.outcome.Index)
	known := make(map[string]int64) // line of each node's first answer that what stands was created
	for _, p := range puts {
		if !p.is(history.OK) || !u.spares(p) {
			continue
		}
		if line, ok := known[p.invoke.Node]; !ok || p.outcome.Index < line {
			known[p.invoke.Node] = p.outcome.Index
		}
	}
	knows := func(request *asked) bool {
		line, ok := known[request.invoke.Node]
		return u == undoing{answered: -1} || ok && line < request.invoke.Index
	}
	if !knows(a) && !(well && len(known) > 0) {
		return
	}
	for _, n := range notes {
		if n.is(history.OK) && n.outcome.Index < a.invoke.Index && knows(n) && !slices.Contains(a.outcome.Values, n.invoke.Values[0]) {
			r.violate(fmt.Sprintf("%s was put into topic %s at %s, and the topic was not deleted since; at %s %s does not give it.", n.invoke.Values[0], a.invoke.Topic, at(n.outcome), at(a.outcome), a.invoke.Node),
				n.invoke, n.outcome, a.invoke, a.outcome)
			return
		}
	}
}
