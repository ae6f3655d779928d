package check

import (
	"fmt"
	"slices"

	"raftmq/jepsen/history"
)

// Verdict is what a property, or a whole run, came to.
type Verdict int

const (
	// Valid: it was checked, and held.
	Valid Verdict = iota
	// Absent: the run had nothing to do with it.
	Absent
	// Unknown: it could not be checked, or not enough of it.
	Unknown
	// Invalid: it did not hold.
	Invalid
)

func (v Verdict) String() string { return [...]string{"valid", "absent", "unknown", "INVALID"}[v] }

// MarshalText gives the word of the table.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Violation is one contradiction.
type Violation struct {
	Text string       `json:"text"` // one sentence
	Ops  []history.Op `json:"ops"`  // the lines that cannot all be true, each with what matters of it
}

// Result is one property's.
type Result struct {
	ID         string      `json:"id"`
	Promise    string      `json:"promise"`
	Verdict    Verdict     `json:"verdict"`
	Checked    int         `json:"checked"`    // facts that were compared
	Violated   int         `json:"violated"`   // how many did not hold
	Violations []Violation `json:"violations"` // the first of them, at most maxViolations
	Notes      []string    `json:"notes,omitempty"`
}

const maxViolations = 10

// violate adds a contradiction.
func (r *Result) violate(text string, ops ...*history.Op) {
	r.Violated++
	r.Verdict = Invalid
	if len(r.Violations) == maxViolations {
		return
	}
	v := Violation{Text: text}
	for _, op := range ops {
		if op == nil {
			continue
		}
		if i := slices.IndexFunc(v.Ops, func(o history.Op) bool { return o.Index == op.Index }); i < 0 {
			v.Ops = append(v.Ops, *op)
		} else { // two parts of one line
			v.Ops[i].Messages = append(v.Ops[i].Messages, op.Messages...)
		}
	}
	slices.SortFunc(v.Ops, func(a, b history.Op) int { return int(a.Index - b.Index) })
	r.Violations = append(r.Violations, v)
}

// doubt makes the property unknown, unless it is known not to hold.
func (r *Result) doubt(format string, args ...any) {
	r.Verdict = max(r.Verdict, Unknown)
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Report is what a history came to.
type Report struct {
	Verdict Verdict  `json:"verdict"` // the worst of all properties
	Results []Result `json:"results"`
}

// property is one promise. Those that are always judged need no load of their own;
// the others are judged if the plan says that the run proves them.
type property struct {
	id, promise string
	always      bool
	check       func(f *facts, r *Result)
}

var properties = []property{
	{"P1", "what was acknowledged is on every replica, where the receipt says", true, durable},
	{"P2", "nothing is there that was not sent, or that certainly failed", true, phantom},
	{"P3", "one place has one message, for everybody and for ever", true, agreement},
	{"P4", "offsets have no gap", true, dense},
	{"P5", "what was sent later stands later in its queue", true, order},
	{"P6", "a send is stored at most once, however often it was tried", true, once},
	{"P6b", "whoever sends again is told where it is since the first time", false, resends},
	{"P7", "a reader is given each message, in order", false, contiguous},
	{"P8", "a group's offset never goes back, nor past the end", false, commits},
	{"P8r", "commits, moves and questions of a group's offset have one order", false, register},
	{"P9", "each group has handled what was acknowledged", false, delivered},
	{"P10", "a transaction has one fate, and its message shares it", false, fates},
	{"P11", "who holds a queue's lock holds it alone, and it is handled in order", false, locks},
	{"P12", "a message that is to come later comes after its time, once; taken back, never", false, timers},
	{"P13", "what a group put back comes again, at most as often as set, then it is a dead letter; each once", false, retries},
	{"P14", "a topic that was created is there for everybody, and its messages go with it", false, topics},
	{"P15", "a batch is stored together or not at all", false, batch},
	{"P16", "replicas are identical", true, identical},
	{"P17", "ends and reads know of all that was acknowledged before", false, fresh},
	{"P19", "a queue's first offset only rises, and nothing above it goes", false, trims},
	{"P20", "all is well again soon after the last fault", true, recovery},
	{"terms", "a partition has one leader in a term", false, terms},
	{"disk", "what a node gave at the end is on its disk when it has stopped", false, disk},
	{"load", "enough was done to mean something", true, load},
	{"faults", "each planned fault happened and had its effect", false, faults},
}

// History judges ops, all of one run. It fails if they do not begin with what the
// run was to be, or are no history: then there is nothing to judge.
func History(ops []history.Op) (*Report, error) {
	f, err := gather(ops)
	if err != nil {
		return nil, err
	}
	for _, id := range f.plan.Proves {
		if !slices.ContainsFunc(properties, func(p property) bool { return p.id == id }) {
			return nil, fmt.Errorf("the run is to prove %s, which is no property", id)
		}
	}
	rep := &Report{}
	for _, p := range properties {
		r := Result{ID: p.id, Promise: p.promise, Violations: []Violation{}}
		if !p.always && !slices.Contains(f.plan.Proves, p.id) && (p.id != "faults" || f.plan.Faults == 0) {
			r.Verdict = Absent
		} else {
			p.check(f, &r)
			if r.Checked == 0 {
				r.doubt("nothing to check")
			}
			for _, n := range needs[p.id] {
				if !n.met(f) {
					r.doubt("%s", n.says)
				}
			}
			rep.Verdict = max(rep.Verdict, r.Verdict)
		}
		rep.Results = append(rep.Results, r)
	}
	return rep, nil
}

// brief is op with no messages but those at the places; the others do not matter.
func brief(op *history.Op, places ...history.Place) *history.Op {
	if op == nil {
		return nil
	}
	b := *op
	b.Messages = nil
	for _, m := range op.Messages {
		if slices.Contains(places, history.Place{Queue: m.Queue, Offset: m.Offset}) {
			b.Messages = append(b.Messages, m)
		}
	}
	return &b
}

// at is when a line was written, in words.
func at(op *history.Op) string { return fmt.Sprintf("%.3f s", float64(op.Time)/1e9) }
