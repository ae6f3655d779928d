package main

import (
	"fmt"
	"maps"
	"os"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// retention is what a topic keeps, as flags; "": as it is, "default": as the nodes say.
type retention struct{ age, bytes string }

func (k *retention) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.age, "retention", "", "keep messages for so long at least: a duration like 48h, forever, or default (the nodes' setting)")
	c.Flags().StringVar(&k.bytes, "retention-bytes", "", "keep so many bytes per partition at least, and not much more: a number, unlimited, or default")
}

func (k *retention) into(t *client.TopicConfig) {
	t.Attributes, t.Unset = maps.Clone(t.Attributes), nil
	for name, v := range map[string]string{"retention": k.age, "retention-bytes": k.bytes} {
		switch v {
		case "":
		case "default":
			t.Unset = append(t.Unset, name)
		default:
			if t.Attributes == nil {
				t.Attributes = make(map[string]string)
			}
			t.Attributes[name] = v
		}
	}
}

func topicAlter(g *globals) *cobra.Command {
	var keep retention
	var queues int
	c := &cobra.Command{
		Use: "alter NAME", Short: "Change a topic's settings", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Example: "  raftmq topic alter orders --retention 720h\n  raftmq topic alter orders --retention default --retention-bytes 10737418240",
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return exitError{exitUsage, fmt.Errorf("nothing to change: --retention, --retention-bytes or --queues")}
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
			if queues > 0 {
				t.Queues, t.ReadQueues, t.WriteQueues = queues, queues, queues
			}
			if err := cl.Admin().UpdateTopic(cmd.Context(), t); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "topic %s altered\n", args[0])
			return nil
		},
	}
	keep.flags(c)
	c.Flags().IntVar(&queues, "queues", 0, "queues per partition, for reading and writing (default: as it is)")
	return c
}
