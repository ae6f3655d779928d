package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func clusterLeaders(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "leaders [TOPIC]", Short: "Show who leads each partition, and who has a vote in it", Args: cobra.MaximumNArgs(1), ValidArgsFunction: g.completeTopic(),
		Long: "Shows who leads each partition of a topic, or of all, and the catalogue, which is partition 0.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			all, err := cl.Admin().Leaders(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			t := table{header: []string{"PARTITION", "TOPIC", "SLOT", "LEADER", "VOTERS"}}
			for _, p := range all {
				topic, slot := p.Topic, strconv.Itoa(p.Slot)
				if p.Partition == 0 {
					topic, slot = "(catalogue)", "-"
				}
				t.add(p, p.Partition, topic, slot, cmp.Or(p.Leader, "none"), strings.Join(p.Voters, " "))
			}
			return t.print(g.output)
		},
	}
}

func clusterMoveLeader(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "move-leader PARTITION NODE", Short: "Have a node lead a partition", Args: cobra.ExactArgs(2),
		Long: `Has a node lead a partition, by its number as cluster leaders gives it; 0 is the catalogue. Nothing that was acknowledged is lost;
sends and reads go on after a moment. The node leads for ten minutes, or until it ends; then the partition goes to its preferred leader
again, the first that cluster status names; the catalogue stays. To free a node of all that it leads, end it: it hands everything on first.`,
		Example: "  raftmq cluster leaders orders\n  raftmq cluster move-leader 7 n2",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 63)
			if err != nil {
				return exitError{exitUsage, fmt.Errorf("%q: want the number of a partition, as cluster leaders gives it", args[0])}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			if err := cl.Admin().MoveLeader(cmd.Context(), id, args[1]); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s leads it\n", args[1])
			return nil
		},
	}
}
