package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Judge a history", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := judge(cmd.OutOrStdout(), args[0])
			return err
		},
	}
}

// judge prints what a history file comes to. The error is nil only if it is valid.
func judge(w io.Writer, file string) (*check.Report, error) {
	ops, err := history.Load(file)
	if err != nil {
		return nil, err
	}
	rep, err := check.History(ops)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := show(w, rep); err != nil {
		return rep, err
	}
	if rep.Verdict > check.Absent {
		return rep, verdictError{rep.Verdict}
	}
	return rep, nil
}

// show prints the table of properties, then each contradiction with its lines.
func show(w io.Writer, rep *check.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROPERTY\tVERDICT\tCHECKED\tVIOLATED\tPROMISE")
	for _, r := range rep.Results {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", r.ID, r.Verdict, r.Checked, r.Violated, r.Promise)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rep.Results {
		for _, n := range r.Notes {
			fmt.Fprintf(w, "%s: %s\n", r.ID, n)
		}
	}
	for _, r := range rep.Results {
		for i, v := range r.Violations {
			fmt.Fprintf(w, "\n%s, %d of %d: %s\n", r.ID, i+1, r.Violated, v.Text)
			for _, op := range v.Ops {
				b, err := json.Marshal(op)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "  %s\n", b)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\nverdict: %s\n", rep.Verdict)
	return err
}

// writeResults writes the report as JSON; a reader sees all of it or nothing.
func writeResults(name string, rep *check.Report) error {
	b, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
