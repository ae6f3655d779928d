package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
	"raftmq/jepsen/sim"
)

// setting is what a run was started with, but for where its programs and files are:
// run.json in its folder.
type setting struct {
	Workload string        `json:"workload"`
	Nemesis  string        `json:"nemesis"`
	Backend  string        `json:"backend,omitempty"`
	Limit    time.Duration `json:"limitNs"`
	Rate     int           `json:"rate"`
	Seed     uint64        `json:"seed"`
}

// options are those of a run with this setting.
func (s setting) options() (o run.Options, err error) {
	o = run.Options{Workloads: strings.Split(s.Workload, ","), Backend: s.Backend, Limit: s.Limit, Rate: s.Rate, Seed: history.Seed(s.Seed)}
	if s.Rate < 1 || s.Limit <= 0 {
		return o, errors.New("the rate and the time limit must be positive")
	}
	if s.Nemesis != "none" {
		expand := run.Expand
		if s.Backend == sim.Backend {
			expand = run.ExpandSimulated
		}
		names := strings.Split(s.Nemesis, ",")
		if o.Faults, err = expand(names); err != nil {
			return o, fmt.Errorf("%w; see jepsen doctor", err)
		}
		for _, name := range names { // a run without a fault that is asked for is another
			if some, err := expand([]string{name}); err != nil || len(some) == 0 {
				return o, errors.Join(err, fmt.Errorf("no fault of %s can be had here; see jepsen doctor", name))
			}
		}
	}
	return o, nil
}

// again is the command that does it once more.
func (s setting) again() string {
	backend := ""
	if s.Backend != "" {
		backend = " --backend " + s.Backend
	}
	return fmt.Sprintf("%s test --workload %s --nemesis %s%s --time-limit %v --rate %d --seed %d", os.Args[0], s.Workload, s.Nemesis, backend, s.Limit, s.Rate, s.Seed)
}

// programs are what a run starts.
type programs struct{ server, other, stock string }

func (p *programs) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.server, "binary", "", "the raftmq to test (default: raftmq-faults, else raftmq, beside this program)")
	c.Flags().StringVar(&p.other, "other", "", "the raftmq of another release, for the fault upgrade")
	c.Flags().StringVar(&p.stock, "stock", "", "RocketMQ's Go client, for the workload stock (default: stockclient beside the raftmq, built by make stockclient)")
}

func (p *programs) find(o *run.Options) error {
	o.Program, o.Other, o.Stock = p.server, p.other, p.stock
	if err := findProgram(&o.Program); err != nil {
		return err
	}
	if at := filepath.Join(filepath.Dir(o.Program), "stockclient"); o.Stock == "" {
		if _, err := os.Stat(at); err == nil {
			o.Stock = at
		}
	}
	return nil
}

// once makes a run in a new folder of store, judges it and says what it came to. The
// error is nil only if that is valid; the report is nil if there was no run.
func once(ctx context.Context, out, say io.Writer, store string, s setting, p programs, plan []run.Planned) (dir string, rep *check.Report, err error) {
	dir, _, err = perform(ctx, out, say, store, s, p, plan)
	if err != nil {
		return dir, nil, err
	}
	ops, rep, err := judge(out, filepath.Join(dir, historyFile))
	if rep != nil {
		err = errors.Join(err, conclude(dir, ops, rep, s.again()))
		fmt.Fprintf(out, "report: %s\n", filepath.Join(dir, "index.html"))
	}
	if err != nil {
		fmt.Fprintf(out, "again: %s\n", s.again())
	}
	return dir, rep, err
}

// Files of a run's folder.
const (
	historyFile  = "history.jsonl"
	scheduleFile = "schedule.json"
	resultsFile  = "results.json"
)

// perform makes a run in a new folder of store. A simulated one says how much processor
// time it took.
func perform(ctx context.Context, out, say io.Writer, store string, s setting, p programs, plan []run.Planned) (dir string, took time.Duration, err error) {
	o, err := s.options()
	if err != nil {
		return "", 0, err
	}
	simulated := s.Backend == sim.Backend
	if !simulated {
		if err := p.find(&o); err != nil {
			return "", 0, err
		}
	}
	o.Schedule = plan
	o.Store = filepath.Join(store, fmt.Sprintf("%s-%s-%d", time.Now().UTC().Format("20060102T150405.000"), strings.ReplaceAll(s.Nemesis, ",", "+"), s.Seed))
	if err := os.MkdirAll(o.Store, 0o755); err != nil {
		return "", 0, err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = writeWhole(filepath.Join(o.Store, "run.json"), append(b, '\n'))
	}
	if err != nil {
		return "", 0, err
	}
	o.Say = func(format string, args ...any) { fmt.Fprintf(say, format+"\n", args...) }
	fmt.Fprintf(out, "workload %s, nemesis %s, seed %d, store %s\n", s.Workload, s.Nemesis, s.Seed, o.Store)
	if simulated {
		took, err = simulate(ctx, o)
	} else {
		err = run.Run(ctx, o)
	}
	return o.Store, took, err
}

func replayCommand() *cobra.Command {
	var p programs
	var times int
	var shrinks bool
	var budget time.Duration
	c := &cobra.Command{
		Use: "replay FOLDER", Short: "Make a run again, with the same seed and schedule, or with as few faults as break it", Args: cobra.ExactArgs(1),
		Long: `Makes the run of a folder again, some times, and says how often it came to the
same: the seed sends the same and breaks at the same times, what the machine
interleaves differs.

With --shrink it leaves out faults, half of them, a quarter, one, as long as the
property that did not hold does not hold in one of so many runs, and names the
folder with the fewest. New folders are made beside the given one. The exit
code is that of the worst run; with --shrink it is 1.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, plan, broken, err := recorded(args[0])
			if err != nil {
				return err
			}
			if times < 1 {
				return errors.New("at least one run is needed")
			}
			out, store := cmd.OutOrStdout(), filepath.Dir(filepath.Clean(args[0]))
			at := args[0]
			again := func(plan []run.Planned) (*check.Report, string, error) {
				dir, rep, err := once(cmd.Context(), io.Discard, cmd.ErrOrStderr(), store, s, p, plan)
				if _, judged := errors.AsType[verdictError](err); judged || errors.Is(err, errBroke) {
					err = nil
				}
				return rep, dir, err
			}
			if shrinks {
				if broken == "" {
					return fmt.Errorf("%s has no property that does not hold", args[0])
				}
				fewest, err := shrink(plan, budget, func(less []run.Planned) (bool, error) {
					for range times {
						rep, dir, err := again(less)
						if err != nil {
							return false, err
						}
						fmt.Fprintf(out, "%d faults: %s, %s\n", len(less), describe(rep), dir)
						if breaks(rep, broken) {
							at = dir
							return true, nil
						}
					}
					return false, nil
				})
				fmt.Fprintf(out, "%s is broken with %d of %d faults: %s\n", broken, len(fewest), len(plan), at)
				if err == nil {
					err = verdictError{check.Invalid}
				}
				return err
			}
			return replayed(out, times, broken, func() (*check.Report, string, error) { return again(plan) })
		},
	}
	p.flags(c)
	f := c.Flags()
	f.IntVar(&times, "times", 3, "runs; with --shrink, of each attempt")
	f.BoolVar(&shrinks, "shrink", false, "look for fewer faults that break the same property")
	f.DurationVar(&budget, "budget", 30*time.Minute, "with --shrink: begin no attempt after it")
	return c
}

// recorded is what a run's folder says: how it was started, its faults, and the first
// property that did not hold; empty: all did. A simulated one that broke off has no results.
func recorded(dir string) (s setting, plan []run.Planned, broken string, err error) {
	var rep struct {
		Results []struct{ ID, Verdict string }
	}
	for _, x := range []struct {
		name string
		to   any
	}{{"run.json", &s}, {scheduleFile, &plan}, {resultsFile, &rep}} {
		b, err := os.ReadFile(filepath.Join(dir, x.name))
		if x.name == resultsFile && s.Backend == sim.Backend && errors.Is(err, os.ErrNotExist) {
			broken = broke
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, x.to)
		}
		if err != nil {
			return s, nil, "", fmt.Errorf("%s of %s: %w", x.name, dir, err)
		}
	}
	if plan == nil {
		plan = []run.Planned{}
	}
	for _, r := range rep.Results {
		if broken == "" && r.Verdict == check.Invalid.String() {
			broken = r.ID
		}
	}
	return s, plan, broken, nil
}

// breaks reports whether a property does not hold; "": any. Without a report, the run broke off.
func breaks(rep *check.Report, id string) bool {
	if rep == nil {
		return id == "" || id == broke
	}
	return slices.ContainsFunc(rep.Results, func(r check.Result) bool { return r.Verdict == check.Invalid && (id == "" || r.ID == id) })
}

// describe is a report's verdict and what is not valid.
func describe(rep *check.Report) string {
	if rep == nil {
		return broke
	}
	s := rep.Verdict.String()
	for _, r := range rep.Results {
		if r.Verdict > check.Absent {
			s += " " + r.ID
		}
	}
	return s
}

// replayed makes so many runs and says how often they broke what is broken. The error
// has the worst verdict; that of a run that broke off is invalid.
func replayed(out io.Writer, times int, broken string, again func() (*check.Report, string, error)) error {
	hits, worst := 0, check.Valid
	for range times {
		rep, dir, err := again()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, %s\n", describe(rep), dir)
		if breaks(rep, broken) {
			hits++
		}
		if rep == nil {
			worst = check.Invalid
		} else {
			worst = max(worst, rep.Verdict)
		}
	}
	switch broken {
	case "":
		fmt.Fprintf(out, "some property was broken in %d of %d runs\n", hits, times)
	case broke:
		fmt.Fprintf(out, "%d of %d runs broke off\n", hits, times)
	default:
		fmt.Fprintf(out, "%s was broken in %d of %d runs\n", broken, hits, times)
	}
	if worst > check.Absent {
		return verdictError{worst}
	}
	return nil
}

// shrink leaves faults out of a plan while try says that it still breaks what it broke:
// ever smaller parts of it, until no single fault can be left out or the time is over.
// An error of try ends it; what was found until then is returned.
func shrink(plan []run.Planned, budget time.Duration, try func([]run.Planned) (bool, error)) ([]run.Planned, error) {
	end := time.Now().Add(budget)
	for size := (len(plan) + 1) / 2; size > 0 && len(plan) > 0; {
		smaller := false
		for from := 0; from < len(plan); from += size {
			if time.Now().After(end) {
				return plan, nil
			}
			// Never nil, for which a seed draws a plan.
			less := append(slices.Clone(plan[:from]), plan[min(len(plan), from+size):]...)
			hit, err := try(less)
			if err != nil {
				return plan, err
			}
			if hit {
				plan, smaller = less, true
				break
			}
		}
		switch {
		case smaller:
			size = min(size, (len(plan)+1)/2)
		case size == 1:
			return plan, nil
		default:
			size = (size + 1) / 2
		}
	}
	return plan, nil
}
