package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func topicAlter(g *globals) *cobra.Command {
	var keep retention
	var queues, read int
	var force bool
	c := &cobra.Command{
		Use: "alter NAME", Short: "Change a topic's settings", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Long: "Change a topic's settings. Fewer --queues are not written any more, and are read as before, so that what is in them is consumed; " +
			"when all groups have, --read-queues ends that. A key that is placed by its hash may go to another queue when the number of queues changes.",
		Example: "  raftmq topic alter orders --retention 720h\n  raftmq topic alter orders --retention default --retention-bytes 10737418240\n" +
			"  raftmq topic alter orders --queues 1; raftmq topic alter orders --read-queues 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			changes := slices.ContainsFunc([]string{"retention", "retention-bytes", "queues", "read-queues"}, cmd.Flags().Changed)
			if !changes {
				return exitError{exitUsage, fmt.Errorf("nothing to change: --retention, --retention-bytes, --queues or --read-queues")}
			}
			for name, n := range map[string]int{"queues": queues, "read-queues": read} {
				if cmd.Flags().Changed(name) && n < 1 {
					return exitError{exitUsage, fmt.Errorf("--%s %d: at least one", name, n)}
				}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			t, err := cl.Admin().Topic(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			t.Attributes = nil // those that are not named stay
			keep.into(&t)
			t.OnlyAttributes = queues == 0 && read == 0
			if queues > 0 {
				t.WriteQueues, t.ReadQueues = queues, max(t.ReadQueues, queues)
			}
			if read > 0 {
				if read < t.WriteQueues {
					return exitError{exitUsage, fmt.Errorf("%d queues to read, and %d to write: nobody would read the others", read, t.WriteQueues)}
				}
				if !force {
					if err := drained(cmd.Context(), cl, args[0], read); err != nil {
						return err
					}
				}
				t.ReadQueues = read
			}
			if err := cl.Admin().UpdateTopic(cmd.Context(), t); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "topic %s altered\n", args[0])
			if t.ReadQueues > t.WriteQueues {
				fmt.Fprintf(os.Stderr, "queues %d to %d of each partition are read and not written; when all groups have consumed them: raftmq topic alter %s --read-queues %d\n",
					t.WriteQueues, t.ReadQueues-1, args[0], t.WriteQueues)
			}
			return nil
		},
	}
	keep.flags(c)
	c.Flags().IntVar(&queues, "queues", 0, "queues per partition that are written; those that were more are still read (default: as it is)")
	c.Flags().IntVar(&read, "read-queues", 0, "queues per partition that are read; refused while a group has not consumed the others (default: as it is)")
	c.Flags().BoolVar(&force, "force", false, "take queues away that were not consumed")
	return c
}

// drained refuses if a group has messages before it in the queues of each partition
// from one on, or if nobody has consumed what is in them.
func drained(ctx context.Context, cl *client.Client, topic string, from int) error {
	stats, err := cl.Admin().TopicStats(ctx, topic)
	if err != nil {
		return err
	}
	type place struct {
		broker string
		queue  int
	}
	full := make(map[place]int64)
	for _, q := range stats {
		if q.QueueID >= from && q.Max > q.Min {
			full[place{q.Broker, q.QueueID}] = q.Max - q.Min
		}
	}
	if len(full) == 0 {
		return nil
	}
	groups := 0
	for x, err := range cl.Admin().Groups(ctx) {
		if err != nil {
			return err
		}
		consumes := false
		for row, err := range cl.Admin().Lag(ctx, x.Name) {
			if errors.Is(err, client.ErrGroupNotFound) {
				break
			}
			if err != nil {
				return err
			}
			if row.Topic != topic {
				continue
			}
			consumes = true
			if row.QueueID >= from && row.Lag > 0 && full[place{row.Broker, row.QueueID}] > 0 {
				return fmt.Errorf("%w: group %s has %d messages before it in queue %d of %s; consume them first, or --force", errNotConsumed, x.Name, row.Lag, row.QueueID, row.Broker)
			}
		}
		if consumes {
			groups++
		}
	}
	if groups == 0 {
		return fmt.Errorf("%w: no group has consumed what is in %d queues; --force takes them away", errNotConsumed, len(full))
	}
	return nil
}

// errNotConsumed: queues would be taken away with messages that somebody lacks.
var errNotConsumed = errors.New("not consumed yet")
