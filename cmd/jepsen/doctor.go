package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftmq/jepsen/run"
)

func doctorCommand() *cobra.Command {
	var program string
	c := &cobra.Command{
		Use: "doctor", Short: "Say what can be broken on this machine, what not, and why", Args: cobra.NoArgs,
		Long: `Says which backends are possible here, which one a run takes by itself, and which
faults it can have. Exits with 0 if there is a backend on which every fault works.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := findProgram(&program); err != nil {
				return err
			}
			all, err := run.Backends(program)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "program %s\n\n", program)
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "BACKEND\tPOSSIBLE\tLINKS\tDISKS, CLOCKS\tWHY")
			var best *run.Backend
			for i, b := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", b.Name, yes(b.Can), yes(b.Links), yes(b.Nodes), b.Why)
				if b.Can && best == nil {
					best = &all[i]
				}
			}
			if err := t.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(out, "\na run takes %s\n\n", best.Name)
			fmt.Fprintln(t, "AREA\tFAULT\tHERE\tWHAT")
			missing, noTimers := 0, run.Timers()
			for _, f := range run.Describe() {
				links, nodes, timers := run.Needs([]string{f[1]})
				here := "works"
				switch {
				case links && !best.Links:
					here = "no: links cannot be broken"
				case nodes && !best.Nodes:
					here = "no: not a test build"
				case timers && noTimers != nil:
					here = "no: " + noTimers.Error()
				case run.Missing([]string{f[1]}, true) != nil:
					here = "no: " + run.Missing([]string{f[1]}, true).Error()
				case run.Missing([]string{f[1]}, false) != nil:
					here = "works with --other"
				}
				if strings.HasPrefix(here, "no") {
					missing++
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f[0], f[1], here, f[2])
			}
			if err := t.Flush(); err != nil {
				return err
			}
			if missing > 0 {
				return fmt.Errorf("%d faults cannot be had here", missing)
			}
			return nil
		},
	}
	c.Flags().StringVar(&program, "binary", "", "the raftmq to test (default: raftmq-faults, else raftmq, beside this program)")
	return c
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
