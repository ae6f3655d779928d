package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
	"raftmq/jepsen/mutant"
	"raftmq/jepsen/run"
	"raftmq/jepsen/sim"
)

// score is what became of a mutant. It is kept as score.json in its folder, so that
// a run that was broken off goes on behind it.
type score struct {
	Mutant   string  `json:"mutant"`
	Killed   bool    `json:"killed"`
	Property string  `json:"property"`
	Verdict  string  `json:"verdict"` // of the property, in the last run
	Seed     int     `json:"seed"`    // of the last run
	Seconds  float64 `json:"seconds"` // from the first run's start
	Said     string  `json:"said"`    // the first contradiction, or why it is not known
}

func mutantsCommand() *cobra.Command {
	var source, store, backend string
	var only []string
	var seeds, rate int
	var limit time.Duration
	c := &cobra.Command{
		Use: "mutants", Short: "Build known bugs into copies, one at a time, and see each found", Args: cobra.NoArgs,
		Long: `Builds raftmq and jepsen with one seeded bug at a time, without changing a file of
the source tree, and runs the copy's jepsen test with seeds 1, 2 ... until the
property that owns the bug is not valid. What was decided in the store before is
not run again. Exits with 1 if a mutant survives.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range only {
				if !slices.ContainsFunc(mutant.All, func(m mutant.Mutant) bool { return m.Name == n }) {
					return fmt.Errorf("no mutant %q", n)
				}
			}
			if seeds < 1 {
				return errors.New("at least one seed is needed")
			}
			var board []score
			for _, m := range mutant.All {
				if len(only) > 0 && !slices.Contains(only, m.Name) {
					continue
				}
				backend := cmp.Or(m.Backend, backend)
				if backend == sim.Backend && !slices.ContainsFunc(strings.Split(m.Nemesis, ","), simulable) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s is not simulated\n", m.Name, m.Nemesis)
					continue
				}
				s, err := hunt(cmd.Context(), cmd.ErrOrStderr(), m, source, filepath.Join(store, m.Name), backend, seeds, rate, limit)
				if err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
				board = append(board, s)
			}
			if len(board) == 0 {
				return errors.New("none of the mutants can be run so")
			}
			return showBoard(cmd.OutOrStdout(), board)
		},
	}
	f := c.Flags()
	f.StringVar(&source, "source", ".", "the source tree")
	f.StringVar(&store, "store", filepath.Join("jepsen-store", "mutants"), "directory of the mutants' folders")
	f.StringSliceVar(&only, "only", nil, "names of the mutants to run (default: all)")
	f.StringVar(&backend, "backend", "", "how nodes are run, as in jepsen test; simulated passes over what cannot be")
	f.IntVar(&seeds, "seeds", 3, "runs until a mutant counts as survivor")
	f.IntVar(&rate, "rate", 100, "operations per second of a run, of some mutants a multiple")
	f.DurationVar(&limit, "time-limit", 15*time.Second, "load of a run, of some mutants a multiple")
	return c
}

// simulable reports whether a fault, or some of an area, are possible in a simulation.
func simulable(nemesis string) bool {
	some, err := run.ExpandSimulated([]string{nemesis})
	return err == nil && len(some) > 0 && run.Simulable(some[0]) || nemesis == "none"
}

// maxSetups is how often a run may fail to begin.
const maxSetups = 2

// hunt runs one mutant until it is found, or all seeds are used up.
func hunt(ctx context.Context, say io.Writer, m mutant.Mutant, source, dir, backend string, seeds, rate int, limit time.Duration) (s score, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return s, err
	}
	file := filepath.Join(dir, "score.json")
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &s) == nil && s.Mutant == m.Name {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	if err := m.Build(ctx, source, dir); err != nil {
		return s, err
	}
	s = score{Mutant: m.Name, Property: m.Property}
	begun, setups := time.Now(), 0
	for s.Seed = 1; ; s.Seed++ {
		fmt.Fprintf(say, "%s, seed %d\n", m.Name, s.Seed)
		runs := filepath.Join(dir, "seed-"+strconv.Itoa(s.Seed))
		if err := os.RemoveAll(runs); err != nil { // of one that was broken off
			return s, err
		}
		nemesis := m.Nemesis
		if backend == sim.Backend {
			nemesis = strings.Join(slices.DeleteFunc(strings.Split(nemesis, ","), func(n string) bool { return !simulable(n) }), ",")
		}
		c := exec.CommandContext(ctx, filepath.Join(dir, "jepsen"), "test", "--backend", backend, "--workload", cmp.Or(m.Workload, "log"), "--nemesis", nemesis, "--time-limit", (limit * time.Duration(max(1, m.Longer))).String(), "--rate", strconv.Itoa(rate*max(1, m.Faster)),
			"--seed", strconv.Itoa(s.Seed), "--store", runs)
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it ends its nodes first
		c.WaitDelay = time.Minute
		out, _ := c.CombinedOutput() // its verdict is in the results
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		found, _ := filepath.Glob(filepath.Join(runs, "*", "results.json"))
		if len(found) != 1 {
			if setups++; setups > maxSetups {
				return s, fmt.Errorf("no results; the run said: %s", out)
			}
			s.Seed--
			continue
		}
		b, err := os.ReadFile(found[0])
		if err != nil {
			return s, err
		}
		if err := s.judge(m, b); err != nil {
			return s, err
		}
		if s.Killed || s.Seed == seeds {
			break
		}
	}
	s.Seconds = time.Since(begun).Seconds()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	return s, os.WriteFile(file, append(b, '\n'), 0o644)
}

// judge reads a run's results: the mutant is dead if its own property says so.
func (s *score) judge(m mutant.Mutant, results []byte) error {
	var rep struct {
		Results []struct {
			ID, Verdict string
			Violations  []struct{ Text string }
			Notes       []string
		}
	}
	if err := json.Unmarshal(results, &rep); err != nil {
		return err
	}
	want := check.Invalid
	if m.Unknown {
		want = check.Unknown
	}
	for _, r := range rep.Results {
		if r.ID != m.Property {
			continue
		}
		s.Said = strings.Join(r.Notes, "; ")
		s.Verdict, s.Killed = r.Verdict, r.Verdict == want.String() && (!m.Unknown || strings.Contains(s.Said, m.Says))
		if len(r.Violations) > 0 {
			s.Said = r.Violations[0].Text
		}
		return nil
	}
	return fmt.Errorf("the results have no property %s", m.Property)
}

func showBoard(w io.Writer, board []score) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MUTANT\tFATE\tBY\tVERDICT\tSEED\tSECONDS\tSAID")
	alive := 0
	for _, s := range board {
		fate := "killed"
		if !s.Killed {
			fate = "ALIVE"
			alive++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%.0f\t%s\n", s.Mutant, fate, s.Property, s.Verdict, s.Seed, s.Seconds, s.Said)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d mutants, %d alive\n", len(board), alive)
	if alive > 0 {
		return verdictError{check.Invalid}
	}
	return nil
}
