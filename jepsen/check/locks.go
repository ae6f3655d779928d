package check

import (
	"fmt"
	"maps"
	"slices"

	"raftmq/jepsen/history"
)

// lockLasts is for how long a granted queue is certainly the holder's unless it gives
// it back, in ns: half of what the broker grants, so that clocks may differ.
const lockLasts = 30e9

// hold is that a process certainly has a queue: from the line where it was told so,
// until it asks to give it back or the time is over.
type hold struct {
	invoke, ok *history.Op
	until      *history.Op // the Invoke of what may end it; nil: nothing did
}

// giveBacks are the unlocks of a process, of one queue, of which nobody knows whether or when they took effect. Each may end one hold that
// came later, within doneLate. An unlock that was done, or certainly was not, explains nothing later.
type giveBacks []*asked

// take takes one that may have ended h, the last that was asked for before h was given: those before it may explain earlier holds too.
func (g *giveBacks) take(h *hold) *asked {
	for i := len(*g) - 1; i >= 0; i-- {
		if u := (*g)[i]; u.invoke.Index < h.ok.Index && h.ok.Time < u.invoke.Time+doneLate.Nanoseconds() {
			*g = slices.Delete(*g, i, i+1)
			return u
		}
	}
	return nil
}

// has reports whether all of a request lies within h.
func (h *hold) has(a *asked) bool {
	return h.ok.Index < a.invoke.Index && a.outcome.Time < h.invoke.Time+lockLasts && (h.until == nil || a.outcome.Index < h.until.Index)
}

// locks: while a process certainly holds a queue for its group, the group's offset
// there is moved by nobody else, and the queue is given to nobody else; and what is
// handled under locks is handled in order, from where the last commit left off.
//
// A hold also ends when an earlier unlock of its process, whose outcome nobody knows, takes effect after all.
func locks(f *facts, r *Result) {
	holds := make(map[string][]*hold) // by group and queue
	open := make(map[string]*hold)    // by that and process
	unsure := make(map[string]*giveBacks)
	key := func(op *history.Op) string { return op.Group + " " + op.Queue }
	undone := make(map[*history.Op]bool) // the Invoke of an unlock that certainly was not done
	for _, a := range f.asked[history.Unlock] {
		k := key(a.invoke) + " " + a.invoke.Process
		switch {
		case a.is(history.Fail):
			undone[a.invoke] = true
		case !a.is(history.OK):
			if unsure[k] == nil {
				unsure[k] = new(giveBacks)
			}
			*unsure[k] = append(*unsure[k], a)
		}
	}
	for i := range f.ops {
		op := &f.ops[i]
		k := key(op)
		switch {
		case op.F == history.Lock && op.Type == history.OK:
			h := &hold{invoke: f.invoked[op], ok: op}
			holds[k], open[k+" "+op.Process] = append(holds[k], h), h
		case op.F == history.Unlock && op.Type == history.Invoke && !undone[op]:
			if h := open[k+" "+op.Process]; h != nil && h.until == nil {
				h.until = op
			}
		}
	}
	lost := make(map[*hold]*asked) // to the unlock that explains it
	foreign := func(a *asked, what string) {
		if a.outcome == nil {
			return
		}
		r.Checked++
		last := make(map[string]*hold) // by process: it was given the queue again, the earlier one tells less
		for _, h := range holds[key(a.invoke)] {
			if h.ok.Process != a.invoke.Process && h.has(a) {
				last[h.ok.Process] = h
			}
		}
		for _, p := range slices.Sorted(maps.Keys(last)) {
			h := last[p]
			if lost[h] == nil && unsure[key(h.ok)+" "+p] != nil {
				lost[h] = unsure[key(h.ok)+" "+p].take(h)
			}
			if lost[h] != nil {
				continue
			}
			r.violate(fmt.Sprintf("%s held %s for group %s from %s on; %s %s at %s.", h.ok.Process, a.invoke.Queue, a.invoke.Group, at(h.ok), a.invoke.Process, what, at(a.outcome)),
				h.invoke, h.ok, a.invoke, a.outcome, h.until)
			return
		}
	}
	for _, a := range f.asked[history.Lock] {
		if a.is(history.OK) {
			foreign(a, "was given it")
		}
	}
	for _, a := range f.asked[history.Commit] {
		if len(holds[key(a.invoke)]) > 0 && a.is(history.OK) {
			foreign(a, "committed there")
		}
	}
	ended := 0
	for _, u := range lost {
		if u != nil {
			ended++
		}
	}
	if ended > 0 {
		r.note("%d holds ended by an earlier unlock of unknown outcome", ended)
	}
	handledInOrder(f, r, holds)
}

// handledInOrder: in the queues that were locked, no message is handled whose
// predecessor was not, unless somebody moved the group there while nobody held the
// queue; nor one below a commit that was acknowledged before its handler was given it.
func handledInOrder(f *facts, r *Result, holds map[string][]*hold) {
	next := make(map[string]int64)         // the first that nobody has handled
	committed := make(map[string]*highest) // what was acknowledged
	given := make(map[string]*history.Op)  // the Invoke of the Lock of a process
	last := make(map[string]*history.Op)   // that handled up to next
	moved := make(map[history.Place]bool)  // by group and queue: where a commit may have moved it
	refused := make(map[*history.Op]bool)  // the Invoke of a commit that certainly moved nothing
	for _, a := range f.asked[history.Commit] {
		refused[a.invoke] = a.is(history.Fail)
	}
	for i := range f.ops {
		op := &f.ops[i]
		k := op.Group + " " + op.Queue
		switch {
		case op.F == history.Lock && op.Type == history.OK:
			given[k+" "+op.Process] = f.invoked[op]
		case op.F == history.Commit && op.Type == history.Invoke && len(holds[k]) > 0 && !refused[op]:
			moved[history.Place{Queue: k, Offset: op.Places[0].Offset}] = true
		case op.F == history.Commit && op.Type == history.OK && len(holds[k]) > 0:
			record(committed, k, op, "", f.invoked[op].Places[0].Offset)
		case op.F == history.Deliver && op.Type == history.OK:
			for _, m := range op.Messages {
				k := op.Group + " " + m.Queue
				lock := given[k+" "+op.Process]
				if lock == nil {
					continue
				}
				r.Checked++
				p := history.Place{Queue: m.Queue, Offset: m.Offset}
				if m.Offset > next[k] && !moved[history.Place{Queue: k, Offset: m.Offset}] {
					r.violate(fmt.Sprintf("group %s handles %s in order: %s handled offset %d at %s, and nobody had handled %d.", op.Group, m.Queue, op.Process, m.Offset, at(op), next[k]),
						lock, brief(op, p), brief(last[k], history.Place{Queue: m.Queue, Offset: next[k] - 1}))
				}
				if h := committed[k].before(lock.Index); h != nil && m.Offset < h.offset {
					r.violate(fmt.Sprintf("group %s handles %s in order: %s handled offset %d at %s, though a commit of %d was acknowledged before it asked for the queue.",
						op.Group, m.Queue, op.Process, m.Offset, at(op), h.offset), h.op, lock, brief(op, p))
				}
				if m.Offset+1 > next[k] {
					next[k], last[k] = m.Offset+1, op
				}
			}
		}
	}
}
