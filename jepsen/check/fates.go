package check

import (
	"fmt"
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// Checks of transactions in a run: as package run sets them. A question may be long on its way, so of how far
// two are apart nothing is said; the first comes no sooner than a message that is to come later would.
var runChecks = ChecksOf{Timeout: 2 * time.Second, Interval: 2 * time.Second, Limit: 1000, Slack: 2 * time.Second}

// When nothing is broken any more, an answer to a question holds, or it is asked again soon: one or two may be lost on their
// way, not so many, each so long behind the one before. And who has not been asked again for so long will not be.
const (
	mostAnswers  = 4
	answersApart = time.Second
	askedWithin  = 20 * time.Second
)

// fates gathers the transactions of a history and has them judged.
func fates(f *facts, r *Result) {
	all := make(map[string]*Transaction)
	var strange []*history.Op
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
			if f.byValue[op.Values[0]] == nil {
				strange = append(strange, op)
				continue
			}
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
	early := f.early()
	_, healed := f.lastFault()
	var list []Transaction
	for _, t := range all {
		if s := f.byValue[t.Value]; s != nil && s.is(history.OK) { // it names the fate, and is no try of its own
			t.Decides = append(t.Decides, Decide{Fate: Committed, Begun: s.outcome.Index, Type: history.OK, Ended: s.outcome.Index})
		}
		t.Owed = healed > 0 && t.Prepared == history.OK && (len(t.Decides) == 0 || whole && t.undecided())
		if len(t.Asked) > 0 {
			t.Early = min(early(span{int64(t.Begun), int64(t.Asked[0])}), runChecks.Slack) // below 0, nobody can say
		}
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Transaction) int { return int(a.Begun - b.Begun) })
	*r = Transactions(list, runChecks, whole)
	for _, op := range strange {
		r.violate(fmt.Sprintf("a producer was asked at %s about %s, which nobody has sent.", at(op), op.Values[0]), op)
	}
	f.answersHold(r, list, whole)
}

// lastFault is when the last fault was over, and when all had time to become well since, ns; 0: the run broke off before that.
func (f *facts) lastFault() (over, healed int64) {
	for i := range f.ops {
		switch op := &f.ops[i]; {
		case op.F == history.Fault && op.Fault != nil:
			over = op.Time
		case op.F == history.Healed:
			healed = op.Time
		}
	}
	return over, healed
}

// answersHold: after the last fault, what producers answer holds. One that has said so before is not asked on and on; and
// what only commits were asked for is there, or asked about. When no transaction waits for a decision any more, each has one.
func (f *facts) answersHold(r *Result, list []Transaction, whole bool) {
	quiet, end := f.lastFault()
	if end == 0 {
		return
	}
	settled := slices.IndexFunc(f.ops, func(op history.Op) bool { return op.F == history.Settled && op.Type == history.OK })
	decides := make(map[string][]*history.Op) // by value, in their order
	for _, a := range f.asked[history.Decide] {
		decides[a.invoke.Values[0]] = append(decides[a.invoke.Values[0]], a.invoke)
	}
	for i := range list {
		t := &list[i]
		var answers []*history.Op
		since := quiet
		for _, op := range decides[t.Value] {
			if since = max(since, op.Time); op.Time > quiet && (len(answers) == 0 || op.Time-answers[len(answers)-1].Time >= answersApart.Nanoseconds()) {
				answers = append(answers, op)
			}
		}
		asked := slices.ContainsFunc(t.Asked, func(at time.Duration) bool { return int64(at) > since })
		switch {
		case len(answers) > mostAnswers:
			r.violate(fmt.Sprintf("producers have said of %s %d times since the last fault what is to become of it, and are asked about it still.", t.Value, len(answers)), answers...)
		case whole && settled >= 0 && t.undecided() && (t.Prepared == history.OK || len(t.Asked) > 0):
			r.violate(fmt.Sprintf("%s is nowhere, nobody wanted it rolled back, and it waits for no decision, say nodes at %s.", t.Value, at(&f.ops[settled])), append(decides[t.Value], &f.ops[settled])...)
		case whole && len(t.Decides) > 0 && t.undecided() && (t.Prepared == history.OK || len(t.Asked) > 0) && !asked && end-since >= askedWithin.Nanoseconds():
			r.violate(fmt.Sprintf("%s was to be committed, is nowhere, and nobody was asked about it in the last %v.", t.Value, time.Duration(end-since)), decides[t.Value]...)
		}
	}
}

// undecided reports whether no decision can hold: there were only tries to commit of which
// nobody knows what became, and nobody was given the message.
func (t *Transaction) undecided() bool {
	return len(t.Seen) == 0 && !slices.ContainsFunc(t.Decides, func(d Decide) bool { return d.Fate != Committed || d.Type != history.Info })
}
