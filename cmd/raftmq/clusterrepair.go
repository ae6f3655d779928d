package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func clusterRepair(g *globals) *cobra.Command {
	var truth string
	var yes bool
	c := &cobra.Command{
		Use: "repair PARTITION", Short: "Show what a partition's replicas hold, and settle which of them counts", Args: cobra.ExactArgs(1),
		Long: `Shows, for each node that holds the partition, how far its replica is, the digest of its log, which compares where APPLIED is
the same, and what is wrong with it: of a disputed one with the digests of log and state that were compared.

Damaged replicas repair themselves. But where no majority of the replicas agrees ("disputed", see cluster status), nobody
can say which is right, and nobody serves the partition. --truth NODE --yes declares that the replica of that node
counts: it serves again, and the others copy themselves whole from it. What only they had is gone for good: keep a copy
of their partitions/ID folders first.`,
		Example: "  raftmq cluster repair 7\n  raftmq cluster repair 7 --truth n2 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			id, err := strconv.ParseUint(args[0], 10, 63)
			if err != nil {
				return exitError{exitUsage, fmt.Errorf("%q: want the number of a partition, as cluster status gives it", args[0])}
			}
			if yes && truth == "" {
				return exitError{exitUsage, fmt.Errorf("--yes confirms --truth NODE, which is missing")}
			}
			cl, err := g.dial(ctx)
			if err != nil {
				return err
			}
			defer cl.Close(ctx)
			var looks []client.ReplicaLook
			if truth != "" && yes {
				looks, err = cl.Admin().SettleDispute(ctx, id, truth)
			} else {
				looks, err = cl.Admin().Replicas(ctx, id)
			}
			if err != nil {
				return err
			}
			if err := printReplicas(g, looks); err != nil {
				return err
			}
			if truth != "" && !yes {
				return exitError{exitUsage, fmt.Errorf("nothing was changed: add --yes to have every other replica replaced by a copy of the one on %s", truth)}
			}
			for _, l := range looks {
				if l.Silent && yes {
					fmt.Fprintf(os.Stderr, "%s was not told: repeat this when it is there\n", l.Node)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&truth, "truth", "", "the node whose replica counts")
	c.Flags().BoolVar(&yes, "yes", false, "what only the other replicas have may go")
	return c
}

func printReplicas(g *globals, looks []client.ReplicaLook) error {
	t := table{header: []string{"NODE", "APPLIED", "FIRST", "END", "DIGEST", "SAYS"}}
	for _, l := range looks {
		if l.Silent {
			t.add(l, l.Node, "-", "-", "-", "-", "does not answer for it")
			continue
		}
		says := l.Reason
		if says == "" {
			says = "sound"
		}
		t.add(l, l.Node, l.Applied, l.First, l.Position, l.Digest, says)
	}
	return t.print(g.output)
}
