package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"raftmq/jepsen/history"
)

// Figures are a run's in numbers: its requests by kind, and its faults.
func Figures(ops []history.Op) ([]Operation, []Fault) {
	f := figuresOf(ops)
	return f.operations, f.faults
}

// Operation is what became of the requests of one kind.
type Operation struct {
	Name    string        `json:"name"`
	OK      int           `json:"ok"`
	Fail    int           `json:"fail"`
	Unknown int           `json:"unknown"`
	Median  time.Duration `json:"medianNs"` // of those with an answer; 0: none had
	P99     time.Duration `json:"p99Ns"`
	Slowest time.Duration `json:"slowestNs"`
}

// Fault is one fault, or a node that ended by itself.
type Fault struct {
	Kind     string        `json:"kind"`
	Node     string        `json:"node"`
	Detail   string        `json:"detail,omitempty"`
	From     time.Duration `json:"fromNs"` // since the run began
	To       time.Duration `json:"toNs"`   // until all was well again; From: a moment
	Verified bool          `json:"verified"`
	Before   string        `json:"before,omitempty"` // leader
	After    string        `json:"after,omitempty"`
	Silent   time.Duration `json:"silentNs"` // longest time without an acknowledged send from From to afterwards behind To
	Error    string        `json:"error,omitempty"`
}

// afterwards is how long behind a fault's end its effect is looked for.
const afterwards = 5 * time.Second

// answered is a request that was asked.
type answered struct {
	f        string
	from, to time.Duration
	outcome  history.Type
}

// figures are what a history says in numbers.
type figures struct {
	plan       *history.Plan
	requests   []answered // by outcome
	faults     []Fault
	from, to   time.Duration // of the load
	operations []Operation
	events     []Event
	lags       map[string][]lag // by node
	broken     []time.Duration  // when the last line of each contradiction was written
}

// figuresOf reads a history.
func figuresOf(ops []history.Op) *figures {
	f := &figures{lags: make(map[string][]lag)}
	open := make(map[string]*history.Op)
	for i := range ops {
		op := &ops[i]
		at := time.Duration(op.Time)
		switch {
		case op.F == history.Run && op.Run != nil:
			f.plan = op.Run
		case op.F == history.Fault && op.Fault != nil:
			f.fault(op, at)
		case op.F == history.Event && op.Event != nil:
			f.events = append(f.events, Event{At: at, Node: op.Node, What: op.Event.What, Partitions: partitionsOf(op.Event)})
		case op.F == history.Lag:
			f.lags[op.Node] = append(f.lags[op.Node], lag{at, op.Count})
		case !op.Request():
		case op.Type == history.Invoke:
			open[op.Process] = op
			if f.from == 0 && op.F == history.Send {
				f.from = at
			}
		default:
			if inv := open[op.Process]; inv != nil && inv.F == op.F {
				f.requests = append(f.requests, answered{op.F, time.Duration(inv.Time), at, op.Type})
				if op.F == history.Send {
					f.to = max(f.to, at)
				}
				delete(open, op.Process)
			}
		}
	}
	for _, op := range open { // never answered
		f.requests = append(f.requests, answered{op.F, time.Duration(op.Time), time.Duration(op.Time), history.Info})
	}
	slices.SortFunc(f.requests, func(a, b answered) int { return cmp.Compare(a.to, b.to) })
	f.operations = operationsOf(f.requests)
	for i := range f.faults {
		x := &f.faults[i]
		f.to = max(f.to, x.To)
		x.Silent = f.silence(x.From, x.To+afterwards)
	}
	return f
}

// fault adds a line about one, or ends the one that it undoes.
func (f *figures) fault(op *history.Op, at time.Duration) {
	e := op.Fault
	switch e.Kind {
	case "start", "resume", "heal": // undone and well again
		for i := len(f.faults) - 1; i >= 0; i-- {
			if x := &f.faults[i]; x.Node == op.Node && x.Kind != "exit" {
				x.To = max(x.To, at)
				x.Verified = x.Verified && e.Verified
				x.Error = cmp.Or(x.Error, op.Error)
				return
			}
		}
		return
	}
	f.faults = append(f.faults, Fault{Kind: e.Kind, Node: op.Node, Detail: e.Detail, From: max(0, at-time.Duration(e.Lasted)), To: at, Verified: e.Verified, Before: e.Before, After: e.After, Error: op.Error})
}

// silence is the longest time between two acknowledged sends that meets [from, to].
func (f *figures) silence(from, to time.Duration) (longest time.Duration) {
	last := from
	for _, r := range f.requests {
		if r.f != history.Send || r.outcome != history.OK || r.to < from {
			continue
		}
		longest = max(longest, min(r.to, max(to, last))-last)
		if last = r.to; last > to {
			break
		}
	}
	return longest
}

func operationsOf(requests []answered) (out []Operation) {
	took := make(map[string][]time.Duration)
	all := make(map[string]*Operation)
	for _, r := range requests {
		o := all[r.f]
		if o == nil {
			o = &Operation{Name: r.f}
			all[r.f] = o
		}
		switch r.outcome {
		case history.OK:
			o.OK++
		case history.Fail:
			o.Fail++
		default:
			o.Unknown++
			continue
		}
		took[r.f] = append(took[r.f], r.to-r.from)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		o, d := all[name], took[name]
		slices.Sort(d)
		o.Median, o.P99, o.Slowest = quantile(d, 0.5), quantile(d, 0.99), quantile(d, 1)
		out = append(out, *o)
	}
	return out
}

// quantile of a sorted list; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// slot is what became of the sends that ended in a part of the run.
type slot struct {
	ok, fail, unknown int
	median, slowest   time.Duration // of those acknowledged; 0: none was
}

// slots divides the load's time into parts of one width.
func (f *figures) slots() (width time.Duration, out []slot) {
	const most = 150
	width = 250 * time.Millisecond
	for f.to-f.from > most*width {
		width *= 2
	}
	out = make([]slot, int((f.to-f.from)/width)+1)
	took := make([][]time.Duration, len(out))
	for _, r := range f.requests {
		if r.f != history.Send || r.to < f.from || r.to > f.to {
			continue
		}
		i := int((r.to - f.from) / width)
		switch r.outcome {
		case history.OK:
			out[i].ok++
			took[i] = append(took[i], r.to-r.from)
		case history.Fail:
			out[i].fail++
		default:
			out[i].unknown++
		}
	}
	for i, d := range took {
		slices.Sort(d)
		out[i].median, out[i].slowest = quantile(d, 0.5), quantile(d, 1)
	}
	return width, out
}
