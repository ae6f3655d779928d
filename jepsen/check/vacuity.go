package check

import (
	"slices"

	"raftmq/jepsen/history"
)

// Below these a run says nothing about the cluster.
const (
	leastDone = 0.5 // of the planned sends begun, and of the planned faults
	leastOK   = 0.2 // of the sends begun acknowledged
	// Of those begun while nothing is broken, nor was in the last calmAfter, if there are
	// calmSends of them.
	leastCalm = 0.7
	calmAfter = 10e9 // ns
	calmSends = 50
	// manyFaults that are proved, and not one send that was not done, nor a request of any kind that was
	// not answered, or not within slowAnswer, are faults that nobody felt.
	manyFaults = 5
	slowAnswer = 1e9 // ns
)

// load: sends were begun and acknowledged, nearly all of them while nothing was broken, and
// faults were felt.
func load(f *facts, r *Result) {
	ok, fail, unknown, calm, calmOK := 0, 0, 0, 0, 0
	broken := f.spans(func(string) bool { return true })
	for _, s := range f.sends {
		at := span{s.invoke.Time - calmAfter, s.invoke.Time}
		if s.outcome != nil {
			at.to = s.outcome.Time
		}
		if !slices.ContainsFunc(broken, at.meets) {
			if calm++; s.is(history.OK) || s.meant() {
				calmOK++
			}
		}
		switch {
		case s.is(history.OK):
			ok++
		case s.is(history.Fail):
			fail++
		default:
			unknown++
		}
	}
	r.Checked = len(f.sends)
	r.note("%d sends: %d acknowledged, %d certainly failed, %d unknown", len(f.sends), ok, fail, unknown)
	if n := len(f.sends); float64(n) < leastDone*float64(f.plan.Sends) {
		r.doubt("%d sends of %d planned", n, f.plan.Sends)
	}
	if n := len(f.sends); float64(ok) < leastOK*float64(n) {
		r.doubt("%d of %d sends were acknowledged", ok, n)
	}
	r.note("%d of %d were done while nothing was broken", calmOK, calm)
	if calm >= calmSends && float64(calmOK) < leastCalm*float64(calm) {
		r.doubt("%d of %d sends were acknowledged while nothing was broken", calmOK, calm)
	}
	if proved := f.proved(); proved >= manyFaults && unknown+fail+f.unanswered() == 0 {
		r.doubt("%d faults, and every request was answered at once", proved)
	}
}

// unanswered is how many requests of any kind had no answer, or a slow one.
func (f *facts) unanswered() (n int) {
	for _, all := range f.asked {
		for _, a := range all {
			if a.outcome == nil || a.is(history.Info) || a.outcome.Time-a.invoke.Time > slowAnswer {
				n++
			}
		}
	}
	return n
}

// meant reports whether a send is a transaction whose program rolled it back, or said
// nothing.
func (s *send) meant() bool {
	return s.outcome != nil && (s.outcome.Error == "rolled back" || s.outcome.Error == "undecided")
}

// proved is how many faults were.
func (f *facts) proved() (n int) {
	for i := range f.ops {
		if e := f.ops[i].Fault; e != nil && e.Verified {
			switch e.Kind {
			case "exit", "start", "resume", "heal":
			default:
				n++
			}
		}
	}
	return n
}

// faults: at least half of the planned ones happened, each of them is proved, and at least
// one took a leader away.
func faults(f *facts, r *Result) {
	changed := 0
	for i := range f.ops {
		op := &f.ops[i]
		if op.F != history.Fault || op.Fault == nil {
			continue
		}
		switch op.Fault.Kind {
		case "exit":
			continue
		case "start", "resume", "heal":
		default:
			r.Checked++
		}
		if !op.Fault.Verified {
			r.doubt("%s of %s at %s is not proved: %s", op.Fault.Kind, op.Node, at(op), op.Error)
		}
		if op.Fault.After != "" && op.Fault.After != op.Fault.Before {
			changed++
		}
	}
	if float64(r.Checked) < leastDone*float64(f.plan.Faults) { // the others had no time: what the cluster needs to be well again puts them off
		r.doubt("%d faults of %d planned", r.Checked, f.plan.Faults)
	}
	if r.Checked > 0 && changed == 0 && !f.plan.Gentle {
		r.doubt("no fault took a leader away")
	}
	r.note("%d faults of %d planned, %d leader changes", r.Checked, f.plan.Faults, changed)
}
