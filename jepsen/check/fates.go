package check

import (
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// Checks of transactions in a run: as package run sets them, with room for clocks and
// timers that differ.
var runChecks = ChecksOf{Timeout: 2 * time.Second, Interval: 2 * time.Second, Limit: 1000, Slack: 2 * time.Second}

// fates gathers the transactions of a history and has them judged.
func fates(f *facts, r *Result) {
	all := make(map[string]*Transaction)
	of := func(v string) *Transaction {
		t := all[v]
		if t == nil {
			t = &Transaction{Value: v, Prepared: history.Info}
			if s := f.byValue[v]; s != nil {
				t.Begun = time.Duration(s.invoke.Time)
				if s.is(history.Fail) {
					t.Prepared = history.Fail
				}
			}
			all[v] = t
		}
		return t
	}
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Prepared:
			of(op.Values[0]).Prepared = history.OK
		case history.Asked:
			t := of(op.Values[0])
			t.Asked = append(t.Asked, time.Duration(op.Time))
		}
	}
	for _, a := range f.asked[history.Decide] {
		t := of(a.invoke.Values[0])
		d := Decide{Fate: Committed, Begun: a.invoke.Index, Type: history.Info}
		if a.invoke.Fate == history.RollingBack {
			d.Fate = RolledBack
		}
		if a.outcome != nil {
			d.Type, d.Ended = a.outcome.Type, a.outcome.Index
		}
		t.Decides = append(t.Decides, d)
	}
	type shown struct {
		place history.Place
		value string
	}
	known := make(map[shown]bool)
	for i := range f.ops {
		op := &f.ops[i]
		switch op.F {
		case history.Read, history.Deliver, history.Look, history.Final:
		default:
			continue
		}
		for _, m := range op.Messages {
			s := shown{history.Place{Queue: m.Queue, Offset: m.Offset}, m.Value}
			if _, copies := f.plan.Copies[m.Queue]; copies || all[m.Value] == nil || known[s] {
				continue
			}
			known[s] = true
			all[m.Value].Seen = append(all[m.Value].Seen, Seen{s.place, op.Index})
		}
	}
	whole := len(f.missing()) == 0
	var list []Transaction
	for _, t := range all {
		if s := f.byValue[t.Value]; s != nil && s.is(history.OK) { // it names the fate, and is no try of its own
			t.Decides = append(t.Decides, Decide{Fate: Committed, Begun: s.outcome.Index, Type: history.OK, Ended: s.outcome.Index})
		}
		t.Owed = t.Prepared == history.OK && (len(t.Decides) == 0 || whole && t.undecided())
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Transaction) int { return int(a.Begun - b.Begun) })
	*r = Transactions(list, runChecks, whole)
}

// undecided reports whether no decision can hold: there were only tries to commit of which
// nobody knows what became, and nobody was given the message.
func (t *Transaction) undecided() bool {
	return len(t.Seen) == 0 && !slices.ContainsFunc(t.Decides, func(d Decide) bool { return d.Fate != Committed || d.Type != history.Info })
}
