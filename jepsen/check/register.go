package check

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"raftmq/jepsen/history"
)

// Bounds of what is searched for an order. A key that takes longer is unknown.
const (
	searchTime = 10 * time.Second // of one key
	maxLost    = 12               // changes of one key of which nobody knows what became
)

// groupPlace is what a group's register holds: its offset, -1 for none, and whether an
// operator has moved it. From then on commits are passed over until a client of the group reads from
// there, which nobody does in the groups that operators move here.
type groupPlace struct {
	offset int64
	moved  bool
}

type groupCall struct {
	f      string
	offset int64 // of a commit or a move
}

var groupRegister = porcupine.NondeterministicModel{
	Init: func() []any { return []any{groupPlace{offset: -1}} },
	Step: func(state, input, output any) []any {
		s, c := state.(groupPlace), input.(groupCall)
		switch c.f {
		case history.Commit:
			if s.moved {
				return []any{s}
			}
			return []any{groupPlace{offset: max(s.offset, c.offset)}}
		case history.Reset:
			return []any{groupPlace{c.offset, true}}
		}
		if output.(int64) != s.offset {
			return nil
		}
		return []any{s}
	},
	Equal: func(a, b any) bool { return a == b },
}

// register: the answers about one group in one queue fit one order of its commits,
// an operator's moves and the questions, in which nothing stands before what was
// over when it began.
func register(f *facts, r *Result) {
	keys := make(map[string][]*asked)
	for _, name := range []string{history.Commit, history.Reset, history.Committed} {
		for _, a := range f.asked[name] {
			if a.invoke.Queue != "" { // else it is about all queues at once
				k := a.invoke.Group + " " + a.invoke.Queue
				keys[k] = append(keys[k], a)
			}
		}
	}
	model := groupRegister.ToModel()
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		var calls []porcupine.Operation
		lost, moved := 0, false
		for _, a := range keys[k] {
			c := groupCall{f: a.invoke.F}
			moved = moved || c.f == history.Reset
			op := porcupine.Operation{Call: a.invoke.Index, Return: int64(len(f.ops)), Output: int64(-1)}
			switch {
			case a.is(history.Fail):
				continue
			case a.is(history.OK):
				op.Return = a.outcome.Index
			case c.f == history.Committed:
				continue // a question without an answer
			default:
				lost++
			}
			if c.f == history.Committed {
				op.Output = a.outcome.Messages[0].Offset
			} else {
				c.offset = a.invoke.Places[0].Offset
			}
			op.Input = c
			calls = append(calls, op)
			r.Checked++
		}
		if lost > maxLost && !moved { // whether it went back needs no search: commits says
			r.note("%s: of %d commits nobody knows what became; no order was searched", k, lost)
			continue
		}
		if lost > maxLost {
			r.doubt("%s: of %d changes nobody knows what became", k, lost)
			continue
		}
		switch porcupine.CheckOperationsTimeout(model, calls, searchTime) {
		case porcupine.Unknown:
			r.doubt("%s: no order was found or excluded within %v", k, searchTime)
		case porcupine.Illegal:
			r.violate(fmt.Sprintf("no order of the %d commits, moves and questions about %s gives these answers%s.", len(calls), k, shortest(f, model, calls)), opsOf(f, prefix(model, calls))...)
		}
	}
}

// prefix is the shortest beginning of calls, by their outcomes, that has no order.
func prefix(model porcupine.Model, calls []porcupine.Operation) []porcupine.Operation {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	low, high := 0, len(calls) // calls[:high] has none
	for low+1 < high {
		mid := (low + high) / 2
		if porcupine.CheckOperationsTimeout(model, begun(calls, mid), searchTime/10) == porcupine.Illegal {
			high = mid
		} else {
			low = mid
		}
	}
	return begun(calls, high)
}

// begun are the first n calls, and those changes that had begun by the last one's end:
// they may have been done already.
func begun(calls []porcupine.Operation, n int) []porcupine.Operation {
	out := slices.Clone(calls[:n])
	if n == 0 {
		return out
	}
	for _, c := range calls[n:] {
		if c.Call < calls[n-1].Return && c.Input.(groupCall).f != history.Committed {
			c.Return = int64(1) << 62
			out = append(out, c)
		}
	}
	return out
}

// shortest says which answer first fits no order.
func shortest(f *facts, model porcupine.Model, calls []porcupine.Operation) string {
	p := prefix(model, calls)
	last := int64(-1)
	for _, c := range p {
		if c.Return < int64(len(f.ops)) {
			last = max(last, c.Return)
		}
	}
	if last < 0 {
		return ""
	}
	return fmt.Sprintf("; the first that fits none came at %s", at(&f.ops[last]))
}

// opsOf are the lines of the last few calls.
func opsOf(f *facts, calls []porcupine.Operation) (out []*history.Op) {
	const most = 8
	slices.SortFunc(calls, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	for _, c := range calls[max(0, len(calls)-most):] {
		out = append(out, &f.ops[c.Call])
		if c.Return < int64(len(f.ops)) {
			out = append(out, &f.ops[c.Return])
		}
	}
	return out
}
