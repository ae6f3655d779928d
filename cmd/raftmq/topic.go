package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func topicCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "topic", Short: "Create, list, show, alter and delete topics"}
	var cfg client.TopicConfig
	var keep retention
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a topic", Args: cobra.ExactArgs(1),
		Example: "  raftmq topic create orders --partitions 3 --queues 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			cfg.Name = args[0]
			keep.into(&cfg)
			if err := cl.Admin().CreateTopic(cmd.Context(), cfg); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "topic %s created\n", args[0])
			return nil
		},
	}
	create.Flags().IntVar(&cfg.Partitions, "partitions", 0, "how many slots it uses (default: all)")
	create.Flags().IntVar(&cfg.Queues, "queues", 2, "queues per partition")
	keep.flags(create)
	create.Flags().BoolVar(&cfg.Order, "order", false, "tell clients that its queues are ordered")
	list := &cobra.Command{Use: "list", Short: "List topics", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		t := table{header: []string{"TOPIC", "READ QUEUES", "WRITE QUEUES", "PERM"}}
		for x, err := range cl.Admin().Topics(cmd.Context()) {
			if err != nil {
				return err
			}
			t.add(map[string]any{"topic": x.Name, "read_queues": x.ReadQueues, "write_queues": x.WriteQueues, "perm": x.Perm}, x.Name, x.ReadQueues, x.WriteQueues, x.Perm)
		}
		return t.print(g.output)
	}}
	show := &cobra.Command{Use: "show NAME", Short: "Show a topic's queues and how many messages they hold", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		stats, err := cl.Admin().TopicStats(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := table{header: []string{"SLOT", "QUEUE", "MIN", "MAX", "MESSAGES"}}
		var total int64
		for _, q := range stats {
			t.add(map[string]any{"topic": args[0], "broker": q.Broker, "queue": q.QueueID, "min": q.Min, "max": q.Max, "messages": q.Max - q.Min}, q.Broker, q.QueueID, q.Min, q.Max, q.Max-q.Min)
			total += q.Max - q.Min
		}
		if err := t.print(g.output); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d messages in %d queues\n", total, len(stats))
		return nil
	}}
	del := &cobra.Command{Use: "delete NAME", Short: "Delete a topic and its messages", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		if _, err := cl.Admin().Topic(cmd.Context(), args[0]); err != nil {
			return err
		}
		return cl.Admin().DeleteTopic(cmd.Context(), args[0])
	}}
	c.AddCommand(create, list, show, topicAlter(g), del)
	return c
}
