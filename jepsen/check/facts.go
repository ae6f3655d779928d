package check

import (
	"errors"
	"fmt"

	"raftmq/jepsen/history"
)

// facts is a history by what it says. It is not changed once gathered.
type facts struct {
	ops     []history.Op
	plan    *history.Plan
	sends   []*send                     // by Invoke
	byValue map[string]*send            // delays too
	final   map[dumpKey]*dump           // what each node holds at the end
	onDisk  map[dumpKey]*dump           // what lies on each disk when the nodes have stopped
	bounds  map[string]*history.Op      // of each queue, at the end
	places  map[string][]sight          // of each value in the final dumps: each place once, with the first line that shows it; without copies
	copies  map[string][]sight          // of each value among what groups put back, likewise
	invoked map[*history.Op]*history.Op // the Invoke of an outcome
	asked   map[string][]*asked         // all requests, by what they do
	resent  map[string][]*asked         // those that sent a value again
}

// asked is a request. Without an outcome, or with Info, it is not known what became
// of it.
type asked struct{ invoke, outcome *history.Op }

func (a *asked) is(t history.Type) bool { return a.outcome != nil && a.outcome.Type == t }

type dumpKey struct{ node, queue string }

// dump is a queue as one node reads it at the end.
type dump struct {
	messages []history.Message // as they were read
	lines    []*history.Op     // of each message
	at       map[int64]int     // offset to the last index in messages
	whole    bool              // it was read to its end
}

// sight is that a value stood in a place.
type sight struct {
	place history.Place
	times int // how often the group had been given it
	op    *history.Op
}

// send is a request to store values.
type send struct {
	values []string
	*asked
}

// gather also refuses what no run can write: two sends of one value, an outcome
// without an Invoke, a process with two operations at once, places that do not fit
// the values.
func gather(ops []history.Op) (*facts, error) {
	if len(ops) == 0 || ops[0].Run == nil {
		return nil, errors.New("the history does not begin with what the run was to be")
	}
	f := &facts{ops: ops, plan: ops[0].Run, byValue: make(map[string]*send), final: make(map[dumpKey]*dump), onDisk: make(map[dumpKey]*dump), bounds: make(map[string]*history.Op),
		places: make(map[string][]sight), copies: make(map[string][]sight), invoked: make(map[*history.Op]*history.Op), asked: make(map[string][]*asked), resent: make(map[string][]*asked)}
	if len(f.plan.Nodes) == 0 || len(f.plan.Queues) == 0 {
		return nil, errors.New("the history does not name nodes and queues")
	}
	open := make(map[string]*asked)
	for i := range ops {
		op := &ops[i]
		switch {
		case (op.F == history.Prepared || op.F == history.Asked) && len(op.Values) != 1:
			return nil, fmt.Errorf("line %d: %s of %d values", op.Index+1, op.F, len(op.Values))
		case op.Request():
		case op.F == history.Final:
			f.addFinal(op)
			continue
		case op.F == history.Disk:
			add(f.onDisk, op)
			continue
		case op.F == history.Bounds && op.Range != nil:
			f.bounds[op.Queue] = op
			continue
		default:
			continue
		}
		if op.Type == history.Invoke {
			if open[op.Process] != nil {
				return nil, fmt.Errorf("line %d: process %s does two things at once", op.Index+1, op.Process)
			}
			a := &asked{invoke: op}
			open[op.Process] = a
			f.asked[op.F] = append(f.asked[op.F], a)
			if err := complete(op); err != nil {
				return nil, err
			}
			if op.F == history.Resend {
				f.resent[op.Values[0]] = append(f.resent[op.Values[0]], a)
			}
			if op.F != history.Send && op.F != history.Delay {
				continue
			}
			s := &send{values: op.Values, asked: a}
			if op.F == history.Send {
				f.sends = append(f.sends, s)
			}
			for _, v := range op.Values {
				if f.byValue[v] != nil {
					return nil, fmt.Errorf("line %d: value %s is sent twice", op.Index+1, v)
				}
				f.byValue[v] = s
			}
			continue
		}
		a := open[op.Process]
		if a == nil || a.invoke.F != op.F {
			return nil, fmt.Errorf("line %d: an outcome without its beginning", op.Index+1)
		}
		delete(open, op.Process)
		if err := answers(a.invoke, op); err != nil {
			return nil, err
		}
		a.outcome, f.invoked[op] = op, a.invoke
	}
	return f, nil
}

// begun is the first line that asked for a send's values: one that sends them again, and did not certainly fail, may come before it.
func (f *facts) begun(s *send) *history.Op {
	first := s.invoke
	for _, v := range s.values {
		for _, a := range f.resent[v] {
			if a.invoke.Index < first.Index && !a.is(history.Fail) {
				first = a.invoke
			}
		}
	}
	return first
}

// complete reports what is missing of an Invoke that its property reads.
func complete(op *history.Op) error {
	ok := true
	switch op.F {
	case history.Resend, history.Note, history.Decide, history.Delay, history.Recall:
		ok = len(op.Values) == 1
	case history.Commit, history.Reset:
		ok = len(op.Places) == 1
	case history.Back, history.TakeOut:
		ok = len(op.Places) == 1 && len(op.Values) == 1
	case history.Look:
		ok = op.Range != nil
	}
	if !ok {
		return fmt.Errorf("line %d: a %s without what it is about", op.Index+1, op.F)
	}
	return nil
}

// answers reports what is missing of an outcome.
func answers(inv, op *history.Op) error {
	if op.Type != history.OK {
		return nil
	}
	switch op.F {
	case history.Send, history.Resend:
		if len(op.Places) != len(inv.Values) {
			return fmt.Errorf("line %d: %d values have %d places", op.Index+1, len(inv.Values), len(op.Places))
		}
	case history.End:
		if op.Range == nil {
			return fmt.Errorf("line %d: an end without its bounds", op.Index+1)
		}
	case history.Committed:
		if inv.Queue != "" && len(op.Messages) != 1 {
			return fmt.Errorf("line %d: one queue has %d offsets", op.Index+1, len(op.Messages))
		}
	}
	return nil
}

func (f *facts) addFinal(op *history.Op) {
	add(f.final, op)
	to := f.places
	if _, copies := f.plan.Copies[op.Queue]; copies {
		to = f.copies
	}
	for _, m := range op.Messages {
		p := history.Place{Queue: m.Queue, Offset: m.Offset}
		known := false
		for _, s := range to[m.Value] {
			known = known || s.place == p
		}
		if !known {
			to[m.Value] = append(to[m.Value], sight{p, m.Times, op})
		}
	}
}

// add adds a line to the dump that it is of.
func add(to map[dumpKey]*dump, op *history.Op) {
	k := dumpKey{op.Node, op.Queue}
	d := to[k]
	if d == nil {
		d = &dump{at: make(map[int64]int)}
		to[k] = d
	}
	d.whole = op.Type == history.OK
	for _, m := range op.Messages {
		d.at[m.Offset] = len(d.messages)
		d.messages = append(d.messages, m)
		d.lines = append(d.lines, op)
	}
}

// missing lists the dumps that a verdict about the final log needs and that are
// not there, or not whole.
func (f *facts) missing() (out []string) {
	for _, n := range f.plan.Nodes {
		for _, q := range f.plan.Queues {
			if d := f.final[dumpKey{n, q}]; d == nil || !d.whole {
				out = append(out, n+" "+q)
			}
		}
	}
	for _, q := range f.plan.Queues {
		if f.bounds[q] == nil {
			out = append(out, "the bounds of "+q)
		}
	}
	return out
}

// needFinal doubts r if the final log is not known on every replica.
func (f *facts) needFinal(r *Result) {
	if m := f.missing(); len(m) > 0 {
		r.doubt("not read to the end: %d of the final dumps, first %s", len(m), m[0])
	}
}

// floor is a queue's first offset at the end; what was below it may be gone.
func (f *facts) floor(queue string) int64 {
	if b := f.bounds[queue]; b != nil {
		return b.Range.Min
	}
	return 0
}
