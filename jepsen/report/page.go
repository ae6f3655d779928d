package report

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"time"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"first": func(v []check.Violation) []check.Violation { return v[:min(len(v), shown)] },
	"rest":  func(v []check.Violation) []check.Violation { return v[min(len(v), shown):] },
	"short": short, "seconds": func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }, "nobody": orNobody,
	"say": say, "moment": func(op history.Op) string { return fmt.Sprintf("%.3f s", float64(op.Time)/1e9) },
	"class": func(v check.Verdict) string { return [...]string{"valid", "absent", "unknown", "invalid"}[v] },
	"word":  func(v check.Verdict) string { return [...]string{"valid", "absent", "unknown", "invalid"}[v] },
}).Parse(source))

// shown is how many contradictions of a property are open on the page.
const shown = 2

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
	judged, kept, lines := 0, 0, len(ops)
	var absent []check.Result
	var results []check.Result
	for _, r := range rep.Results {
		if r.Verdict == check.Absent {
			absent = append(absent, r)
			continue
		}
		results = append(results, r)
		for _, v := range r.Violations {
			if n := len(v.Ops); n > 0 {
				f.broken = append(f.broken, time.Duration(v.Ops[n-1].Time))
			}
		}
		judged++
		if r.Verdict == check.Valid {
			kept++
		}
	}
	return page.Execute(w, struct {
		Plan                 *history.Plan
		Report               *check.Report
		Results, Absent      []check.Result
		Judged, Kept, Lines  int
		Lasted               time.Duration
		Faults               []Fault
		Operations           []Operation
		Lanes, Rate, Latency template.HTML
		Again                string
	}{f.plan, rep, results, absent, judged, kept, lines, f.to - f.from, f.faults, f.operations,
		template.HTML(f.lanes()), template.HTML(f.rate()), template.HTML(f.latency()), again}) // their text is escaped where it is put in
}
