package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/jepsen/run"
)

func testCommand() *cobra.Command {
	var s setting
	var p programs
	var store string
	names, does := run.Workloads()
	c := &cobra.Command{
		Use: "test", Short: "Run a load on three nodes, break them, and judge what they answered", Args: cobra.NoArgs,
		Long: `Starts three raftmq servers on this machine's loopback, sends to them, reads and
consumes, breaks them by a schedule that follows from the seed, heals them, reads
each replica to the end, and judges the history.

The store gets a folder per run: history.jsonl, run.json, schedule.json,
results.json, index.html, the report, and the nodes' data and logs.`,
		Example: "  jepsen test --nemesis kill,pause --time-limit 30s --rate 200\n  jepsen test --nemesis kill --seed 7",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				s.Seed = rand.Uint64()
			}
			_, _, err := once(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), store, s, p, nil)
			return err
		},
	}
	c.Long += "\n\nWorkloads:\n"
	for _, n := range names {
		c.Long += fmt.Sprintf("  %-11s %s\n", n, does[n])
	}
	f := c.Flags()
	f.StringVarP(&s.Workload, "workload", "w", "log", "what the clients do, one or several, or mixed for all: "+strings.Join(names, ", "))
	f.StringVarP(&s.Nemesis, "nemesis", "n", "kill,pause", "what is broken: names and areas (process, network, disk, clock, recipe) of faults, see jepsen doctor; all, or none")
	f.StringVar(&s.Backend, "backend", "", "how nodes are joined: netns, proxy, loopback or simulated (default: the first of them that can do what is to be broken)")
	f.DurationVar(&s.Limit, "time-limit", time.Minute, "how long the load runs")
	f.IntVar(&s.Rate, "rate", 200, "operations per second, all workloads together")
	f.Uint64Var(&s.Seed, "seed", 0, "what sends, sizes and faults follow from (default: drawn, and printed)")
	f.StringVar(&store, "store", "jepsen-store", "directory of the runs' folders")
	p.flags(c)
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
