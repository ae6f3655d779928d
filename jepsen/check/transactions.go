package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// Fate is what becomes of a transaction's message.
type Fate string

const (
	Committed  Fate = "committed"
	RolledBack Fate = "rolled back"
)

// Transaction is what a run knows of one, by its message's value. Lines are places in
// the history, times are by the run's clock.
type Transaction struct {
	Value    string
	Begun    time.Duration // when it was prepared for the first time
	Prepared history.Type  // Fail: certainly not stored
	Decides  []Decide      // each try of anybody, in the order they began
	Asked    []time.Duration
	// Early is by how much the first check may come too early; 0: by the slack of all, below 0: nobody can say.
	Early time.Duration
	// Owed: for as long as the cluster may take, it had no decision, a producer of its
	// group was connected and nothing was broken.
	Owed bool
	Seen []Seen // each place once, with the first line that shows it
}

// Decide is a try to decide: a producer's, an answer to a check, or an operator's.
type Decide struct {
	Fate  Fate
	Begun int64 // line
	// Type is OK if it was answered that this holds, Fail if that the other does, and
	// Info if nothing is known; or it was refused for another reason.
	Type  history.Type
	Ended int64 // line of an answer
}

// holds is the fate that an answer names; "" of none.
func (d Decide) holds() Fate {
	switch {
	case d.Type == history.OK:
		return d.Fate
	case d.Type == history.Fail && d.Fate == Committed:
		return RolledBack
	case d.Type == history.Fail:
		return Committed
	}
	return ""
}

// Seen is that somebody was given the message.
type Seen struct {
	Place history.Place
	Line  int64
}

// ChecksOf are the settings of checks, and how far clocks may differ.
type ChecksOf struct {
	Timeout, Interval time.Duration
	Limit             int
	Slack             time.Duration
}

// Transactions judges transactions (P10). whole says that every queue was read to its
// end when nothing went on any more: only then is what was not seen not there.
//
// A message is seen in one place at most; after a commit was answered, in exactly one;
// after a rollback, never; and by nobody before anyone asked for a commit. All answers
// name one fate, that somebody asked for. A producer is asked no sooner, no more often and no more times than set,
// and is asked when it is owed.
func Transactions(all []Transaction, c ChecksOf, whole bool) Result {
	r := Result{ID: "P10", Promise: "a transaction has one fate, and its message shares it", Violations: []Violation{}}
	if !whole {
		r.doubt("queues were not read to their ends")
	}
	for i := range all {
		t := &all[i]
		r.Checked++
		t.fate(&r, whole)
		t.asked(&r, c)
	}
	return r
}

func (t *Transaction) fate(r *Result, whole bool) {
	var named *Decide // the first answer
	firstCommit := int64(-1)
	for i := range t.Decides {
		d := &t.Decides[i]
		if d.Fate == Committed && (firstCommit < 0 || d.Begun < firstCommit) {
			firstCommit = d.Begun
		}
		switch fate := d.holds(); {
		case fate == "":
		case named == nil:
			named = d
		case named.holds() != fate:
			r.violate(fmt.Sprintf("%s: line %d was answered that it is %s, line %d that it is %s.", t.Value, named.Ended+1, named.holds(), d.Ended+1, fate))
		}
	}
	if named != nil && named.holds() == RolledBack && !slices.ContainsFunc(t.Decides, func(d Decide) bool { return d.Fate == RolledBack && d.Begun < named.Ended }) {
		r.violate(fmt.Sprintf("%s is rolled back, says line %d, and nobody asked for that.", t.Value, named.Ended+1))
	}
	if len(t.Seen) > 1 {
		r.violate(fmt.Sprintf("%s is at %s offset %d and at %s offset %d.", t.Value, t.Seen[0].Place.Queue, t.Seen[0].Place.Offset, t.Seen[1].Place.Queue, t.Seen[1].Place.Offset))
	}
	for _, s := range t.Seen {
		where := fmt.Sprintf("%s offset %d, line %d", s.Place.Queue, s.Place.Offset, s.Line+1)
		switch {
		case t.Prepared == history.Fail:
			r.violate(fmt.Sprintf("%s was certainly not stored, and is at %s.", t.Value, where))
		case firstCommit < 0:
			r.violate(fmt.Sprintf("nobody committed %s, and it is at %s.", t.Value, where))
		case s.Line < firstCommit:
			r.violate(fmt.Sprintf("%s was seen at %s, before anybody committed it, at line %d.", t.Value, where, firstCommit+1))
		case named != nil && named.holds() == RolledBack:
			r.violate(fmt.Sprintf("%s is rolled back, says line %d, and is at %s.", t.Value, named.Ended+1, where))
		}
	}
	if whole && named != nil && named.holds() == Committed && len(t.Seen) == 0 {
		r.violate(fmt.Sprintf("%s is committed, says line %d, and is nowhere.", t.Value, named.Ended+1))
	}
}

func (t *Transaction) asked(r *Result, c ChecksOf) {
	asked := slices.Sorted(slices.Values(t.Asked))
	if t.Owed && len(asked) == 0 {
		r.violate(fmt.Sprintf("%s, of %v, had no decision, and nobody was asked about it.", t.Value, t.Begun))
	}
	if t.Prepared == history.Fail && len(asked) > 0 {
		r.violate(fmt.Sprintf("%s was certainly not stored, and was asked about at %v.", t.Value, asked[0]))
	}
	if len(asked) > c.Limit {
		r.violate(fmt.Sprintf("%s was asked about %d times, and %d are the limit.", t.Value, len(asked), c.Limit))
	}
	for i, at := range asked {
		if i == 0 && t.Early >= 0 && at-t.Begun < c.Timeout-cmp.Or(t.Early, c.Slack) {
			r.violate(fmt.Sprintf("%s, of %v, was asked about at %v, before %v had gone by.", t.Value, t.Begun, at, c.Timeout))
		}
		if i > 0 && at-asked[i-1] < c.Interval-c.Slack {
			r.violate(fmt.Sprintf("%s was asked about at %v and at %v, less than %v apart.", t.Value, asked[i-1], at, c.Interval))
		}
	}
}
