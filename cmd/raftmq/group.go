package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func groupCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "group", Short: "Create, list, show, alter, move and delete consumer groups"}
	list := &cobra.Command{Use: "list", Short: "List groups", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		t := table{header: []string{"GROUP", "RETRIES", "CONSUME", "BROADCAST"}}
		for x, err := range cl.Admin().Groups(cmd.Context()) {
			if err != nil {
				return err
			}
			t.add(groupFields(x), x.Name, max(x.RetryMaxTimes, 0), !x.Disabled, !x.NoBroadcast)
		}
		return t.print(g.output)
	}}
	lag := func(use, short string, settings bool) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeGroup(), RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			t := table{header: []string{"TOPIC", "SLOT", "QUEUE", "COMMITTED", "END", "LAG"}}
			var total int64
			for x, err := range cl.Admin().Lag(cmd.Context(), args[0]) {
				if err != nil {
					return err
				}
				t.add(map[string]any{"group": x.Group, "topic": x.Topic, "broker": x.Broker, "queue": x.QueueID, "committed": x.Committed, "end": x.End, "lag": x.Lag}, x.Topic, x.Broker, x.QueueID, x.Committed, x.End, x.Lag)
				total += x.Lag
			}
			if err := t.print(g.output); err != nil {
				return err
			}
			if settings {
				x, err := cl.Admin().Group(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "retry-max-times %d, consume %t, broadcast %t\n", max(x.RetryMaxTimes, 0), !x.Disabled, !x.NoBroadcast)
			}
			ms, err := cl.Admin().Members(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, m := range ms {
				fmt.Fprintf(os.Stderr, "member %s at %s (%s)\n", m.ID, m.Addr, m.Language)
			}
			fmt.Fprintf(os.Stderr, "lag %d, %d members\n", total, len(ms))
			return nil
		}}
	}
	var topic, to string
	var dry, fresh bool
	reset := &cobra.Command{Use: "reset GROUP --topic TOPIC --to earliest|latest|OFFSET|TIME", Short: "Move a group", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeGroup(), RunE: func(cmd *cobra.Command, args []string) error {
		pos, err := position(to)
		if err != nil {
			return err
		}
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		if !fresh {
			if err := groupIsThere(cmd.Context(), cl, args[0]); err != nil {
				return err
			}
		}
		moved, err := cl.Admin().ResetOffsets(cmd.Context(), args[0], topic, pos, dry)
		if err != nil {
			return err
		}
		t := table{header: []string{"TOPIC", "SLOT", "QUEUE", "COMMITTED", "END"}}
		for _, x := range moved {
			t.add(map[string]any{"topic": x.Topic, "broker": x.Broker, "queue": x.QueueID, "committed": x.Committed, "end": x.End}, x.Topic, x.Broker, x.QueueID, x.Committed, x.End)
		}
		return t.print(g.output)
	}}
	reset.Flags().StringVar(&topic, "topic", "", "of which topic (required)")
	reset.Flags().StringVar(&to, "to", "", "earliest, latest, an offset, or a time (RFC 3339)")
	reset.Flags().BoolVar(&dry, "dry-run", false, "only show")
	reset.Flags().BoolVar(&fresh, "new", false, "also a group that nobody has consumed with yet")
	reset.MarkFlagRequired("topic")
	reset.MarkFlagRequired("to")
	c.AddCommand(list, lag("show GROUP", "Show a group's offsets, settings and members", true), lag("lag GROUP", "Show how far a group lags", false),
		groupCreate(g), groupAlter(g), reset, groupDelete(g))
	return c
}

// groupIsThere refuses a group that is not: its name may be misspelt.
func groupIsThere(ctx context.Context, cl *client.Client, name string) error {
	_, err := cl.Admin().Group(ctx, name)
	if errors.Is(err, client.ErrGroupNotFound) {
		err = fmt.Errorf("%w; --new places one that nobody has consumed with yet", err)
	}
	return err
}

// position reads earliest, latest, an offset or a time.
func position(s string) (client.Position, error) {
	switch strings.ToLower(s) {
	case "earliest":
		return client.Earliest(), nil
	case "latest":
		return client.Latest(), nil
	}
	var off int64
	if n, err := fmt.Sscanf(s, "%d", &off); n == 1 && err == nil && fmt.Sprint(off) == s && off >= 0 {
		return client.AtOffset(off), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return client.AtTime(t), nil
	}
	return client.Position{}, exitError{exitUsage, fmt.Errorf("%q is not earliest, latest, an offset or a time like 2026-01-31T15:04:05Z", s)}
}
