package report

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"first": func(v []contradiction) []contradiction { return v[:min(len(v), shown)] },
	"rest":  func(v []contradiction) []contradiction { return v[min(len(v), shown):] },
	"kinds": func(nemesis string) string {
		if n := strings.Count(nemesis, ",") + 1; n > namedKinds {
			return fmt.Sprintf("of %d kinds", n)
		}
		return strings.ReplaceAll(cmp.Or(nemesis, "none"), ",", ", ")
	},
	"commas": func(names string) string { return strings.ReplaceAll(names, ",", ", ") },
	"short":  short, "seconds": func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }, "nobody": orNobody, "at": func(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) },
	"say": say, "moment": func(op history.Op) string { return fmt.Sprintf("%.3f s", float64(op.Time)/1e9) },
	"class": func(v check.Verdict) string { return [...]string{"valid", "absent", "unknown", "invalid"}[v] },
	"word":  func(v check.Verdict) string { return [...]string{"valid", "absent", "unknown", "invalid"}[v] },
}).Parse(source))

// shown is how many contradictions of a property are open on the page.
const shown = 2

// judged is a property with what the page says of each contradiction.
type judged struct {
	check.Result
	Broken []contradiction
}

// contradiction is one, with the faults that were in force then.
type contradiction struct {
	check.Violation
	Faults []Fault
	Events []Event
	More   int // events that are not shown
}

// beforehand is how long before a contradiction's first line a fault's end, or an event, may
// lie to be shown with it.
const beforehand = 2 * time.Second

// around are the faults in force between a contradiction's first line and its last, or
// shortly before.
func (f *figures) around(v check.Violation) (out []Fault) {
	if len(v.Ops) == 0 {
		return nil
	}
	from, to := time.Duration(v.Ops[0].Time)-beforehand, time.Duration(v.Ops[len(v.Ops)-1].Time)
	for _, x := range f.faults {
		if x.To >= from && x.From <= to {
			out = append(out, x)
		}
	}
	return out[:min(len(out), mostFaults)]
}

// mostFaults is how many are shown with a contradiction.
const mostFaults = 6

// namedKinds is how many kinds of faults are named at the head of the page.
const namedKinds = 8

// short is a duration to three digits; a dash for none.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// say is a line of a history without what the page shows beside it.
func say(op history.Op) (string, error) {
	b, err := json.Marshal(op)
	if err != nil {
		return "", err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return "", err
	}
	for _, k := range []string{"i", "t", "p", "type", "f"} {
		delete(m, k)
	}
	b, err = json.Marshal(m)
	return string(b), err
}

// Write writes the page of a run: of its history and of what that came to. again is
// the command that runs it again; empty: it is not known.
func Write(w io.Writer, ops []history.Op, rep *check.Report, again string) error {
	f := figuresOf(ops)
	if f.plan == nil {
		return errors.New("the history does not say what the run was to be")
	}
	kept, lines := 0, len(ops)
	var absent []check.Result
	var results []judged
	for _, r := range rep.Results {
		if r.Verdict == check.Absent {
			absent = append(absent, r)
			continue
		}
		x := judged{Result: r}
		for _, v := range r.Violations {
			events, more := f.near(v)
			x.Broken = append(x.Broken, contradiction{v, f.around(v), events, more})
		}
		results = append(results, x)
		for _, v := range r.Violations {
			if n := len(v.Ops); n > 0 {
				f.broken = append(f.broken, time.Duration(v.Ops[n-1].Time))
			}
		}
		if r.Verdict == check.Valid {
			kept++
		}
	}
	return page.Execute(w, struct {
		Plan                      *history.Plan
		Report                    *check.Report
		Results                   []judged
		Absent                    []check.Result
		Judged, Kept, Lines       int
		Lasted                    time.Duration
		Faults                    []Fault
		Operations                []Operation
		Lanes, Rate, Latency, Lag template.HTML
		Again                     string
	}{f.plan, rep, results, absent, len(results), kept, lines, f.to - f.from, f.faults, f.operations,
		template.HTML(f.lanes()), template.HTML(f.rate()), template.HTML(f.latency()), template.HTML(f.lag()), again}) // their text is escaped where it is put in
}
