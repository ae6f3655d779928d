package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func txCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "tx", Short: "List, show and decide transactions"}
	var parked bool
	var limit int
	list := &cobra.Command{Use: "list [TOPIC]", Short: "List transactions without a decision, of a topic or of all", Args: cobra.MaximumNArgs(1), ValidArgsFunction: g.completeTopic(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		if limit < 1 {
			return exitError{exitUsage, fmt.Errorf("--limit is at least 1, not %d", limit)}
		}
		topics := args
		if len(args) == 0 {
			for t, err := range cl.Admin().Topics(cmd.Context()) {
				if err != nil {
					return err
				}
				topics = append(topics, t.Name)
			}
		}
		var all []client.TransactionInfo
		for _, topic := range topics {
			xs, err := cl.Admin().Transactions(cmd.Context(), topic, parked, limit)
			if errors.Is(err, client.ErrTopicNotFound) && len(args) == 0 {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			if len(xs) == limit {
				fmt.Fprintf(os.Stderr, "raftmq: of %s the oldest %d are listed, and there may be more: --limit\n", topic, limit)
			}
			all = append(all, xs...)
		}
		slices.SortStableFunc(all, func(x, y client.TransactionInfo) int { return x.Prepared.Compare(y.Prepared) })
		t := table{header: []string{"TRANSACTION", "TOPIC", "GROUP", "STATE", "PREPARED", "CHECKS", "NEXT CHECK", "BYTES"}}
		for _, x := range all {
			t.add(transactionObject(x), x.Name, x.Topic, x.Group, x.State, moment(x.Prepared), x.Checks, moment(x.NextCheck), x.Bytes)
		}
		return t.print(g.output)
	}}
	list.Flags().BoolVar(&parked, "parked", false, "only those that are asked about no more: they wait for a decision")
	list.Flags().IntVar(&limit, "limit", 1000, "of each topic, the oldest, at most; 1 to 16384")
	show := &cobra.Command{Use: "show TRANSACTION", Short: "Show a transaction, with its message while it has no decision", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		x, err := cl.Admin().Transaction(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := table{header: []string{"FIELD", "VALUE"}}
		if g.output != "table" {
			t.add(transactionObject(x))
			return t.print(g.output)
		}
		row := func(name string, value any) {
			if s := fmt.Sprint(value); s != "" {
				t.add(nil, name, s)
			}
		}
		row("transaction", x.Name)
		row("topic", x.Topic)
		row("state", x.State)
		row("group", x.Group)
		row("prepared", moment(x.Prepared))
		row("next check", moment(x.NextCheck))
		if x.Group != "" {
			row("checks", x.Checks)
		}
		row("decided by", x.DecidedBy)
		row("decided at", moment(x.DecidedAt))
		if x.State == "committed" {
			row("stored", fmt.Sprintf("%s queue %d offset %d", x.Broker, x.QueueID, x.Offset))
		}
		if m := x.Message; m != nil {
			row("message", m.ID)
			row("keys", strings.Join(m.Keys, " "))
			row("tag", m.Tag)
			row("body", fmt.Sprintf("%.1024q", m.Body))
		}
		return t.print(g.output)
	}}
	var commit, rollback bool
	decide := &cobra.Command{Use: "decide TRANSACTION --commit | --rollback", Short: "Decide a transaction in its producers' place", Args: cobra.ExactArgs(1),
		Long: "Decide a transaction in its producers' place, parked or not. The first decision holds: one that was decided otherwise stays so (exit code 7).",
		RunE: func(cmd *cobra.Command, args []string) error {
			v := client.Rollback
			if commit {
				v = client.Commit
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			if _, err := cl.Admin().DecideTransaction(cmd.Context(), args[0], v); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "transaction %s is %s\n", args[0], v)
			return nil
		}}
	decide.Flags().BoolVar(&commit, "commit", false, "have the message delivered")
	decide.Flags().BoolVar(&rollback, "rollback", false, "have it dropped")
	decide.MarkFlagsOneRequired("commit", "rollback")
	decide.MarkFlagsMutuallyExclusive("commit", "rollback")
	c.AddCommand(list, show, decide)
	return c
}

// moment is a time for people; empty if there is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func transactionObject(x client.TransactionInfo) map[string]any {
	o := map[string]any{"transaction": x.Name, "topic": x.Topic, "state": x.State}
	if x.Group != "" {
		o["group"], o["prepared"], o["checks"], o["bytes"] = x.Group, moment(x.Prepared), x.Checks, x.Bytes
	}
	if !x.NextCheck.IsZero() {
		o["next_check"] = moment(x.NextCheck)
	}
	if x.DecidedBy != "" {
		o["decided_by"], o["decided_at"] = x.DecidedBy, moment(x.DecidedAt)
	}
	if x.State == "committed" {
		o["broker"], o["queue"], o["offset"] = x.Broker, x.QueueID, x.Offset
	}
	if m := x.Message; m != nil {
		x := map[string]any{"id": m.ID, "keys": m.Keys, "tag": m.Tag, "properties": m.Properties}
		addBody(x, m.Body)
		o["message"] = x
	}
	return o
}
