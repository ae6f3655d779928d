package main

import (
	"sort"
	"strings"

	"github.com/spf13/cobra"
)

func clusterCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "Look at the cluster"}
	c.AddCommand(&cobra.Command{Use: "status", Short: "Show each slot's addresses, the first its preferred leader", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		slots, err := cl.Admin().Cluster(cmd.Context())
		if err != nil {
			return err
		}
		sort.Slice(slots, func(i, j int) bool { return slots[i].Name < slots[j].Name })
		t := table{header: []string{"CLUSTER", "SLOT", "ADDRESSES"}}
		for _, s := range slots {
			t.add(map[string]any{"cluster": s.Cluster, "slot": s.Name, "addresses": s.Addrs}, s.Cluster, s.Name, strings.Join(s.Addrs, " "))
		}
		return t.print(g.output)
	}})
	return c
}
