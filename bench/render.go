package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// show is a value with its unit; a dash if it is not known.
func (m *measure) show(v *float64) string {
	if v == nil {
		return "–"
	}
	return number(*v) + m.unit
}

// number has three digits that count.
func number(v float64) string {
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

// render writes performance.md of the results that are there.
func render(results, docs string) error {
	out := "# Performance\n"
	for _, w := range rows() {
		r, err := readResult(results, w.name)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		r.finish(&w)
		for i, x := range r.Summary {
			out += fmt.Sprintf("| %s | %s | %s | %s |\n", w.work, x.What, w.measures[i].show(x.Value), x.Verdict)
		}
	}
	return os.WriteFile(filepath.Join(docs, "performance.md"), []byte(out), 0o644)
}
