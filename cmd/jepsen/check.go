package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftmq/jepsen/check"
	"raftmq/jepsen/history"
	"raftmq/jepsen/report"
)

func checkCommand() *cobra.Command {
	var page string
	c := &cobra.Command{
		Use: "check FILE", Short: "Judge a history", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ops, rep, err := judge(cmd.OutOrStdout(), args[0])
			if rep != nil && page != "" {
				err = errors.Join(err, writePage(page, ops, rep, ""))
			}
			return err
		},
	}
	c.Flags().StringVar(&page, "page", "", "also write the report to this file, as HTML")
	return c
}

// judge prints what a history file comes to. The error is nil only if it is valid.
func judge(w io.Writer, file string) ([]history.Op, *check.Report, error) {
	ops, err := history.Load(file)
	if err != nil {
		return nil, nil, err
	}
	rep, err := check.History(ops)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := show(w, rep); err != nil {
		return ops, rep, err
	}
	if rep.Verdict > check.Absent {
		return ops, rep, verdictError{rep.Verdict}
	}
	return ops, rep, nil
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

// results is what a machine reads of a run.
type results struct {
	*check.Report
	Run        *history.Plan      `json:"run"`
	Operations []report.Operation `json:"operations"`
	Faults     []report.Fault     `json:"faults"`
}

// conclude writes results.json and index.html into a run's folder.
func conclude(dir string, ops []history.Op, rep *check.Report, again string) error {
	operations, faults := report.Figures(ops)
	b, err := json.MarshalIndent(results{rep, ops[0].Run, operations, faults}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(writeWhole(filepath.Join(dir, "results.json"), append(b, '\n')), writePage(filepath.Join(dir, "index.html"), ops, rep, again))
}

func writePage(name string, ops []history.Op, rep *check.Report, again string) error {
	var b bytes.Buffer
	if err := report.Write(&b, ops, rep, again); err != nil {
		return err
	}
	return writeWhole(name, b.Bytes())
}

// writeWhole writes a file; a reader sees all of it or nothing.
func writeWhole(name string, b []byte) error {
	if err := os.WriteFile(name+".tmp", b, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
