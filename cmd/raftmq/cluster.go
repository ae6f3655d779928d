package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func clusterCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "Look at the cluster, and settle what it cannot"}
	c.AddCommand(&cobra.Command{Use: "status", Short: "Show each slot's addresses, the first its preferred leader, and damaged replicas", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
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
		if err := t.print(g.output); err != nil {
			return err
		}
		return printDamaged(cmd.Context(), cl)
	}}, clusterLeaders(g), clusterMoveLeader(g), clusterRepair(g))
	return c
}

// printDamaged tells of damaged replicas, and of nodes that do not say whether they
// have any, beside the table.
func printDamaged(ctx context.Context, cl *client.Client) error {
	list, silent, err := cl.Admin().DamagedReplicas(ctx)
	if err != nil {
		return err
	}
	for _, r := range list {
		fmt.Fprintf(os.Stderr, "damaged: the replica of partition %d of %s on %s: %s\n", r.Partition, r.Topic, r.Node, r.Reason)
	}
	for _, n := range silent {
		fmt.Fprintf(os.Stderr, "node %s does not answer\n", n)
	}
	return nil
}
