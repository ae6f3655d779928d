package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// session runs rows and keeps what they gave.
type session struct {
	lab     *lab
	results string // directory
	fresh   bool   // what is there does not count
	// disk times the disk before each run.
	disk func(context.Context) (figures, error)
}

// run does what is not done of the rows, one after the other. A row that fails is told of at the end, and the others go on;
// its runs that ended stay. The commit is raftmq's, if it is known.
func (s *session) run(ctx context.Context, ws []row, commit string) error {
	versions, build, err := s.lab.versions(ctx)
	if err != nil {
		return err
	}
	if commit != "" {
		versions["commit"] = commit
	}
	var failed []string
	for i := range ws {
		if len(s.sides(&ws[i])) == 0 {
			continue
		}
		if err := s.row(ctx, &ws[i], versions, build); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.lab.say("%s: %v", ws[i].name, err)
			failed = append(failed, ws[i].name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not measured: %s", strings.Join(failed, ", "))
	}
	return nil
}

// row does what is left of one row.
func (s *session) row(ctx context.Context, w *row, versions map[string]string, build string) error {
	r, err := s.begun(w, build)
	if err != nil {
		return err
	}
	sides := s.sides(w)
	if r.Done && s.whole(r, w, sides) {
		s.lab.say("%s: done on %s", w.name, r.Runs[len(r.Runs)-1].Began.Format(time.DateOnly))
		return nil
	}
	if r.Build == "" {
		r.Row, r.Work, r.Scale, r.Build = w.name, w.work, s.lab.scale, build
	}
	r.Versions, r.Host, r.Rounds, r.Done = versions, describeMachine(), w.turns(s.lab.scale), false
	for round := range r.Rounds {
		for _, x := range sides {
			if r.has(x.name, round) {
				continue
			}
			one, err := s.turn(ctx, w, x, round)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", x.name, round+1, err)
			}
			r.Runs = append(r.Runs, *one)
			if err := r.save(s.results); err != nil {
				return err
			}
		}
	}
	r.Done = true
	r.sumUp(w)
	if err := r.save(s.results); err != nil {
		return err
	}
	for i := range w.measures {
		m := &w.measures[i]
		v, least, most := m.value(r)
		s.lab.say("%s: %s: %s  %s  %s", w.name, m.what, m.show(v), m.spread(least, most), m.judge(v))
	}
	return nil
}

// begun is the row's file if it counts, or an empty result.
func (s *session) begun(w *row, build string) (*result, error) {
	if s.fresh {
		return new(result), nil
	}
	r, err := readResult(s.results, w.name)
	switch {
	case err != nil:
		return nil, err
	case r == nil || r.Scale != s.lab.scale || !r.Done && r.Build != build:
		return new(result), nil
	}
	return r, nil
}

// sides of a row that can be run: without nats-server, those of NATS are left out, and without RocketMQ, those that are for a comparison with it.
func (s *session) sides(w *row) []side {
	return slices.DeleteFunc(slices.Clone(w.sides), func(x side) bool {
		return s.lab.nats == "" && strings.HasPrefix(x.name, theirs) || s.lab.rocketmq == "" && (strings.HasPrefix(x.name, rocketPrefix) || x.name == oursWire)
	})
}

// whole reports whether all of the row's runs are there: one that was measured without NATS is not, when NATS is.
func (s *session) whole(r *result, w *row, sides []side) bool {
	for round := range w.turns(s.lab.scale) {
		for _, x := range sides {
			if !r.has(x.name, round) {
				return false
			}
		}
	}
	return true
}

// usualRounds is how often each side has its turn unless the row says otherwise.
const usualRounds = 3

// turns of each side; scaled down, one.
func (w *row) turns(scale float64) int {
	switch {
	case scale < 0.1:
		return 1
	case w.rounds == 0:
		return usualRounds
	}
	return w.rounds
}

func (s *session) turn(ctx context.Context, w *row, x side, round int) (*run, error) {
	machine, err := s.disk(ctx)
	if err != nil {
		return nil, err
	}
	one := &run{Side: x.name, Round: round, Began: time.Now().UTC().Truncate(time.Second), Machine: machine}
	begin := time.Now()
	stolen, total := processorTime()
	if one.Figures, err = x.run(ctx, s.lab); err != nil {
		return nil, err
	}
	one.Seconds = float64(time.Since(begin).Milliseconds()) / 1000
	one.Machine[load1m] = loadAverage()
	if stolen2, total2 := processorTime(); total2 > total {
		one.Machine[steal] = 100 * (stolen2 - stolen) / (total2 - total)
	}
	s.lab.say("%s: round %d, %-9s %s; fdatasync p50 %s ms, load %s, steal %s %%", w.name, round+1, x.name, one.Figures.tell(),
		number(one.figure(diskSync)), number(one.Machine[load1m]), number(one.Machine[steal]))
	return one, nil
}
