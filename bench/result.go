package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// result is a row's file.
type result struct {
	Row      string             `json:"row"`
	Work     string             `json:"work"`
	Scale    float64            `json:"scale"`  // 1: full size
	Rounds   int                `json:"rounds"` // that were meant
	Done     bool               `json:"done"`
	Versions map[string]string  `json:"versions"`
	Host     string             `json:"host"`  // the machine, in words
	Build    string             `json:"build"` // the first of the SHA-256 of raftmq's program
	Runs     []run              `json:"runs"`
	Summary  []summary          `json:"summary,omitempty"`
	Medians  map[string]figures `json:"medians,omitempty"`
}

// run is one turn of one side.
type run struct {
	Side    string    `json:"side"`
	Round   int       `json:"round"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // with founding and filling
	Figures figures   `json:"figures"`
	Machine figures   `json:"machine"` // fdatasync before, load at the end, steal meanwhile
}

// summary is a measure with its verdict. Numbers that are not known are absent.
type summary struct {
	What    string   `json:"what"`
	Must    float64  `json:"must,omitempty"`
	Goal    float64  `json:"goal,omitempty"`
	Value   *float64 `json:"value,omitempty"`
	Least   *float64 `json:"least,omitempty"`
	Most    *float64 `json:"most,omitempty"`
	Verdict verdict  `json:"verdict,omitempty"`
}

func resultFile(dir, row string) string { return filepath.Join(dir, row+".json") }

// readResult returns nil without an error if there is no file.
func readResult(dir, row string) (*result, error) {
	b, err := os.ReadFile(resultFile(dir, row))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("result %s: %w", resultFile(dir, row), err)
	}
	return r, nil
}

// save writes the file; whoever reads it sees the old one or the new one.
func (r *result) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := resultFile(dir, r.Row)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

func (r *result) has(side string, round int) bool {
	for _, x := range r.Runs {
		if x.Side == side && x.Round == round {
			return true
		}
	}
	return false
}

// rounds is how many were begun.
func (r *result) rounds() int {
	n := 0
	for _, x := range r.Runs {
		n = max(n, x.Round+1)
	}
	return n
}

// one is a figure of a side in a round; NaN if it is not there.
func (r *result) one(side string, round int, name string) float64 {
	for _, x := range r.Runs {
		if x.Side == side && x.Round == round {
			return x.figure(name)
		}
	}
	return math.NaN()
}

// figure is one of the run or of its machine; NaN if it is not there.
func (x *run) figure(name string) float64 {
	if v, ok := x.Figures[name]; ok {
		return v
	}
	if v, ok := x.Machine[name]; ok {
		return v
	}
	return math.NaN()
}

// median is that of all runs of a side, or of all sides if side is empty; NaN if there are none.
func (r *result) median(side, name string) float64 {
	var all []float64
	for _, x := range r.Runs {
		if side == "" || x.Side == side {
			all = append(all, x.figure(name))
		}
	}
	return median(all)
}

// machine is the median of a figure of the machine, over a side's runs.
func (r *result) machine(side, name string) float64 {
	var all []float64
	for _, x := range r.Runs {
		if v, ok := x.Machine[name]; ok && x.Side == side {
			all = append(all, v)
		}
	}
	return median(all)
}

// sumUp computes summary and medians of the runs.
func (r *result) sumUp(w *row) {
	r.Summary, r.Medians = nil, make(map[string]figures)
	for i := range w.measures {
		m := &w.measures[i]
		v, least, most := m.value(r)
		r.Summary = append(r.Summary, summary{What: m.what, Must: m.must, Goal: m.goal, Value: known(v), Least: known(least), Most: known(most), Verdict: m.judge(v)})
	}
	for _, x := range r.Runs {
		if r.Medians[x.Side] != nil {
			continue
		}
		f := make(figures)
		for name := range x.Figures {
			if v := r.median(x.Side, name); !math.IsNaN(v) {
				f[name] = v
			}
		}
		r.Medians[x.Side] = f
	}
}

func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
