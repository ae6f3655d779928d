package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/history"
	"raftmq/jepsen/run"
)

func testCommand() *cobra.Command {
	var o run.Options
	var workload, nemesis, store string
	var seed uint64
	names, does := run.Workloads()
	c := &cobra.Command{
		Use: "test", Short: "Run a load on three nodes, break them, and judge what they answered", Args: cobra.NoArgs,
		Long: `Starts three raftmq servers on this machine's loopback, sends to them, reads and
consumes, breaks them by a schedule that follows from the seed, heals them, reads
each replica to the end, and judges the history.

The store gets a folder per run: history.jsonl, schedule.json, results.json,
index.html, the report, and the nodes' data and logs.`,
		Example: "  jepsen test --nemesis kill,pause --time-limit 30s --rate 200\n  jepsen test --nemesis kill --seed 7",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Workloads = strings.Split(workload, ",")
			if o.Rate < 1 || o.Limit <= 0 {
				return errors.New("the rate and the time limit must be positive")
			}
			if nemesis != "none" {
				var err error
				if o.Faults, err = run.Expand(strings.Split(nemesis, ",")); err != nil {
					return fmt.Errorf("%w; see jepsen doctor", err)
				}
			}
			if err := findProgram(&o.Program); err != nil {
				return err
			}
			if at := filepath.Join(filepath.Dir(o.Program), "stockclient"); o.Stock == "" {
				if _, err := os.Stat(at); err == nil {
					o.Stock = at
				}
			}
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64()
			}
			o.Seed = history.Seed(seed)
			o.Store = filepath.Join(store, fmt.Sprintf("%s-%s-%d", time.Now().UTC().Format("20060102T150405.000"), strings.ReplaceAll(nemesis, ",", "+"), seed))
			if err := os.MkdirAll(o.Store, 0o755); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			o.Say = func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
			fmt.Fprintf(out, "workload %s, nemesis %s, seed %d, store %s\n", workload, nemesis, seed, o.Store)
			if err := run.Run(cmd.Context(), o); err != nil {
				return err
			}
			again := fmt.Sprintf("%s test --workload %s --nemesis %s --time-limit %v --rate %d --seed %d", os.Args[0], workload, nemesis, o.Limit, o.Rate, seed)
			ops, rep, err := judge(out, filepath.Join(o.Store, "history.jsonl"))
			if rep != nil {
				err = errors.Join(err, conclude(o.Store, ops, rep, again))
				fmt.Fprintf(out, "report: %s\n", filepath.Join(o.Store, "index.html"))
			}
			if err != nil {
				fmt.Fprintf(out, "again: %s\n", again)
			}
			return err
		},
	}
	c.Long += "\n\nWorkloads:\n"
	for _, n := range names {
		c.Long += fmt.Sprintf("  %-11s %s\n", n, does[n])
	}
	f := c.Flags()
	f.StringVarP(&workload, "workload", "w", "log", "what the clients do, one or several, or mixed for all: "+strings.Join(names, ", "))
	f.StringVarP(&nemesis, "nemesis", "n", "kill,pause", "what is broken: names and areas (process, network, disk, clock, recipe) of faults, see jepsen doctor; all, or none")
	f.StringVar(&o.Backend, "backend", "", "how nodes are joined: netns, proxy or loopback (default: the first of them that can do what is to be broken)")
	f.DurationVar(&o.Limit, "time-limit", time.Minute, "how long the load runs")
	f.IntVar(&o.Rate, "rate", 200, "operations per second, all workloads together")
	f.Uint64Var(&seed, "seed", 0, "what sends, sizes and faults follow from (default: drawn, and printed)")
	f.StringVar(&store, "store", "jepsen-store", "directory of the runs' folders")
	f.StringVar(&o.Program, "binary", "", "the raftmq to test (default: raftmq-faults, else raftmq, beside this program)")
	f.StringVar(&o.Stock, "stock", "", "RocketMQ's Go client, for the workload stock (default: stockclient beside the raftmq, built by make stockclient)")
	return c
}

// findProgram fills in the server's program: a test build if there is one.
func findProgram(program *string) error {
	if *program == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		for _, name := range []string{"raftmq", "raftmq-faults"} {
			at := filepath.Join(filepath.Dir(self), name)
			if _, err := os.Stat(at); err == nil || *program == "" {
				*program = at
			}
		}
	}
	if _, err := os.Stat(*program); err != nil {
		return fmt.Errorf("the server's program: %w", err)
	}
	return nil
}
