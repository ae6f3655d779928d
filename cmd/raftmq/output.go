package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
)

// table is rows for people, or objects for programs.
type table struct {
	header []string
	rows   [][]string
	values []any
}

func (t *table) add(value any, cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
	t.values = append(t.values, value)
}

func (t *table) print(format string) error {
	enc := json.NewEncoder(os.Stdout)
	switch format {
	case "json":
		if t.values == nil {
			t.values = []any{}
		}
		enc.SetIndent("", "  ")
		return enc.Encode(t.values)
	case "jsonl":
		for _, v := range t.values {
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.header, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}
