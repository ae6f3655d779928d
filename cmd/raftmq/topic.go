package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func topicCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "topic", Short: "Create, list, show, alter and delete topics"}
	var cfg client.TopicConfig
	var keep retention
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a topic; one that is there with these settings is left as it is", Args: cobra.ExactArgs(1),
		Example: "  raftmq topic create orders --partitions 3 --queues 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			cfg.Name = args[0]
			keep.into(&cfg)
			err = cl.Admin().CreateTopic(cmd.Context(), cfg)
			if errors.Is(err, client.ErrExists) {
				return sameTopic(cmd.Context(), cl, cfg)
			}
			if err == nil {
				fmt.Fprintf(os.Stderr, "topic %s created\n", args[0])
			}
			return err
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
	c.AddCommand(create, list, show, topicAlter(g), topicRules(g), del)
	return c
}

// sameTopic is nil if the topic that is there is as want says, where it says anything,
// so that a creation may be repeated; else an ErrExists that says what differs.
func sameTopic(ctx context.Context, cl *client.Client, want client.TopicConfig) error {
	have, err := cl.Admin().Topic(ctx, want.Name)
	if err != nil {
		return err
	}
	if diff := topicDifference(have, want); diff != "" {
		return fmt.Errorf("%w: topic %s has %s", client.ErrExists, want.Name, diff)
	}
	fmt.Fprintf(os.Stderr, "topic %s is there already, with these settings\n", want.Name)
	return nil
}

func topicDifference(have, want client.TopicConfig) string {
	var diffs []string
	if want.Partitions != 0 && have.Partitions != want.Partitions {
		diffs = append(diffs, fmt.Sprintf("%d partitions, not %d", have.Partitions, want.Partitions))
	}
	if have.ReadQueues != want.Queues || have.WriteQueues != want.Queues {
		diffs = append(diffs, fmt.Sprintf("%d queues to read and %d to write, not %d", have.ReadQueues, have.WriteQueues, want.Queues))
	}
	if have.Order != want.Order {
		diffs = append(diffs, fmt.Sprintf("order %t, not %t", have.Order, want.Order))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Attributes)) {
		if h, w := have.Attributes[name], want.Attributes[name]; h != w && !sameTime(h, w) {
			diffs = append(diffs, fmt.Sprintf("%s %s, not %s", name, cmp.Or(h, "default"), w))
		}
	}
	for _, name := range slices.Sorted(slices.Values(want.Unset)) {
		if h := have.Attributes[name]; h != "" {
			diffs = append(diffs, fmt.Sprintf("%s %s, not default", name, h))
		}
	}
	return strings.Join(diffs, "; ")
}

// sameTime compares durations, which can be written in several ways.
func sameTime(a, b string) bool {
	x, errX := time.ParseDuration(a)
	y, errY := time.ParseDuration(b)
	return errX == nil && errY == nil && x == y
}
