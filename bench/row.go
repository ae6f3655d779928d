package main

import (
	"context"
	"math"
)

// row is one line of the table, or a curve.
type row struct {
	name string // of its file and for --rows
	work string
	// rounds is how often each side has its turn; 0: three times.
	rounds   int
	sides    []side
	measures []measure
	curve    *curve // nil: none
}

// side is one of those that take turns.
type side struct {
	name string
	run  func(ctx context.Context, l *lab) (figures, error)
}

// measure is what is read off a row's medians.
type measure struct {
	what string
	// of computes it from figures; a missing one is NaN, and so is then the measure.
	of         func(at look) float64
	must, goal float64 // 0: none
	less       bool    // smaller is better
	unit       string
}

// look is a figure of a side: the median of its runs, or that of one round.
type look func(side, figure string) float64

func figure(side, name string) func(look) float64 {
	return func(at look) float64 { return at(side, name) }
}

func ratio(side, other, name string) func(look) float64 {
	return func(at look) float64 { return at(side, name) / at(other, name) }
}

// verdict is what a value has reached.
type verdict string

const (
	reachedGoal verdict = "goal"
	reachedMust verdict = "must"
	missed      verdict = "below"
	unknown     verdict = "not measured"
	noBound     verdict = "" // nothing was asked for
)

func (m *measure) judge(v float64) verdict {
	holds := func(bound float64) bool { return m.less && v <= bound || !m.less && v >= bound }
	switch {
	case math.IsNaN(v):
		return unknown
	case m.must == 0 && m.goal == 0:
		return noBound
	case m.goal != 0 && holds(m.goal):
		return reachedGoal
	case m.must != 0 && holds(m.must):
		return reachedMust
	}
	return missed
}

// value is the measure of the medians, and the least and most of the rounds that are whole.
func (m *measure) value(r *result) (v, least, most float64) {
	v = m.of(r.median)
	least, most = math.NaN(), math.NaN()
	for round := range r.rounds() {
		x := m.of(func(side, figure string) float64 { return r.one(side, round, figure) })
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		if math.IsNaN(least) || x < least {
			least = x
		}
		if math.IsNaN(most) || x > most {
			most = x
		}
	}
	return v, least, most
}
