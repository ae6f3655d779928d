package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// texts are the parts of the document that are written by hand: method.md, limits.md, kinds.md, filters.md, and for a curve
// perhaps its row's name with .md, which says where it bends.
//
//go:embed text/*.md
var texts embed.FS

// document is the name of what is rendered, pictures that of its pictures' folder beside it.
const (
	document = "performance.md"
	pictures = "performance"
)

// render writes the document and its pictures of the results that are there. What is
// written depends on them and on the texts alone.
func render(results, docs string) error {
	var rs []*result
	for _, w := range rows() {
		r, err := readResult(results, w.name)
		if err != nil {
			return err
		}
		if r != nil && len(r.Runs) > 0 {
			r.sumUp(&w)
			rs = append(rs, r)
		}
	}
	if err := os.MkdirAll(docs, 0o755); err != nil {
		return err
	}
	b, err := page(rs)
	if err != nil {
		return err
	}
	for _, r := range rs {
		if c := rowNamed(r.Row).curve; c != nil {
			if err := drawCurve(r, c, filepath.Join(docs, pictures, r.Row+".svg")); err != nil {
				return fmt.Errorf("%s: %w", r.Row, err)
			}
		}
	}
	return os.WriteFile(filepath.Join(docs, document), b, 0o644)
}

func rowNamed(name string) *row {
	for _, w := range rows() {
		if w.name == name {
			return &w
		}
	}
	return nil
}

// page is the document.
func page(rs []*result) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Performance\n\n")
	if len(rs) == 0 {
		b.WriteString("The table against NATS JetStream is not measured yet: `make bench` does it.\n\n")
	} else {
		origin(&b, rs)
	}
	if err := text(&b, "method"); err != nil {
		return nil, err
	}
	if len(rs) > 0 {
		table(&b, rs)
		figuresOf(&b, rs)
		if err := curves(&b, rs); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"limits", "kinds", "filters"} {
		if err := text(&b, name); err != nil {
			return nil, err
		}
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), nil
}

// text adds one that is written by hand.
func text(b *bytes.Buffer, name string) error {
	t, err := texts.ReadFile("text/" + name + ".md")
	if err != nil {
		return err
	}
	b.Write(bytes.TrimSpace(t))
	b.WriteString("\n\n")
	return nil
}

// origin says when, on what and of what the results are.
func origin(b *bytes.Buffer, rs []*result) {
	var first, last time.Time
	versions := make(map[string]map[string]bool)
	hosts := make(map[string]bool)
	trial := false
	for _, r := range rs {
		for _, x := range r.Runs {
			if first.IsZero() || x.Began.Before(first) {
				first = x.Began
			}
			if x.Began.After(last) {
				last = x.Began
			}
		}
		for name, v := range r.Versions {
			if versions[name] == nil {
				versions[name] = make(map[string]bool)
			}
			versions[name][v] = true
		}
		if r.Host != "" {
			hosts[r.Host] = true
		}
		trial = trial || r.Scale != 1
	}
	dates := first.Format("2 January 2006")
	if end := last.Format("2 January 2006"); end != dates {
		dates += " to " + end
	}
	var of []string
	for _, name := range sorted(versions) {
		of = append(of, name+" "+strings.Join(sorted(versions[name]), " and "))
	}
	fmt.Fprintf(b, "%s. %s.\n%s.\n\n", dates, strings.Join(of, ", "), strings.Join(sorted(hosts), "; "))
	if trial {
		b.WriteString("**Some rows are trials at a smaller scale, marked so: they say nothing of speed.**\n\n")
	}
}

// table is what was asked for and what was reached.
func table(b *bytes.Buffer, rs []*result) {
	b.WriteString("## What was asked for, and reached\n\n| work | what | must | goal | reached | single rounds | |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rs {
		w := rowNamed(r.Row)
		for i := range w.measures {
			m := &w.measures[i]
			v, least, most := m.value(r)
			name := w.work
			if i > 0 {
				name = ""
			} else {
				name += r.reservation()
			}
			said := m.judge(v)
			if said != noBound {
				said = "**" + said + "**"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", name, m.what, m.bound(m.must), m.bound(m.goal), m.show(v), m.spread(least, most), said)
		}
	}
	b.WriteString("\n")
}

// reservation says what is wrong with a result; usually nothing.
func (r *result) reservation() string {
	switch {
	case r.Scale != 1:
		return fmt.Sprintf(" (trial, scale %v)", r.Scale)
	case !r.Done:
		return " (unfinished)"
	}
	return ""
}

// bound is a must or a goal; empty if there is none.
func (m *measure) bound(v float64) string {
	switch {
	case v == 0:
		return ""
	case m.less:
		return "≤ " + number(v) + m.unit
	}
	return number(v) + m.unit
}

// show is a value with its unit; a dash if it is not known.
func (m *measure) show(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return number(v) + m.unit
}

// spread is that of several rounds; empty of one.
func (m *measure) spread(least, most float64) string {
	if math.IsNaN(least) || least == most {
		return ""
	}
	return number(least) + " to " + number(most)
}

// figuresOf are the medians of each side, with the machine's.
func figuresOf(b *bytes.Buffer, rs []*result) {
	b.WriteString("## The figures\n\n| work | of | medians | turns | fdatasync p50, p99 | load | steal | on |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rs {
		w := rowNamed(r.Row)
		if w.curve != nil {
			continue
		}
		name := w.work
		for _, x := range w.sides {
			n, last := 0, time.Time{}
			for _, one := range r.Runs {
				if one.Side == x.name {
					n, last = n+1, one.Began
				}
			}
			if n == 0 {
				continue
			}
			fmt.Fprintf(b, "| %s | %s | %s | %d | %s, %s ms | %s | %s %% | %s |\n", name, sideName(x.name), r.Medians[x.name].tell(), n,
				number(r.machine(x.name, diskSync)), number(r.machine(x.name, diskSync99)), number(r.machine(x.name, load1m)), number(r.machine(x.name, steal)), last.Format(time.DateOnly))
			name = ""
		}
	}
	b.WriteString("\n")
}

// curves are the pictures, with what is written by hand about where they bend, and their points.
func curves(b *bytes.Buffer, rs []*result) error {
	begun := false
	for _, r := range rs {
		w := rowNamed(r.Row)
		if w.curve == nil {
			continue
		}
		if !begun {
			b.WriteString("## Curves\n\nBars are the least and the most of the turns.\n\n")
			begun = true
		}
		fmt.Fprintf(b, "### %s\n\n![%s](%s/%s.svg)\n\n", capital(w.work), w.work, pictures, r.Row)
		if err := text(b, r.Row); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := points(b, r, w.curve); err != nil {
			return err
		}
	}
	return nil
}

// points is a curve as a table.
func points(b *bytes.Buffer, r *result, c *curve) error {
	lines, err := seriesOf(r, c.panels[0].figure)
	if err != nil {
		return err
	}
	var xs []float64
	fmt.Fprintf(b, "| %s |", c.x)
	for _, name := range backward(sorted(lines)) { // ours first
		for _, p := range c.panels {
			fmt.Fprintf(b, " %s, %s |", sideName(name), p.title)
		}
		for _, d := range lines[name] {
			if !slices.Contains(xs, d.x) {
				xs = append(xs, d.x)
			}
		}
	}
	slices.Sort(xs)
	fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", 1+len(lines)*len(c.panels)))
	for _, x := range xs {
		fmt.Fprintf(b, "| %s |", number(x))
		for _, name := range backward(sorted(lines)) {
			for _, p := range c.panels {
				fmt.Fprintf(b, " %s |", number(r.median(at(name, int(x)), p.figure)))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	return nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// plainNumber has three digits that count.
func plainNumber(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// thousands of what is not negative, with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
