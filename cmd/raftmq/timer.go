package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func timerCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "timer", Short: "List, show and cancel messages that wait for their time"}
	var limit int
	object := func(x client.TimerInfo) map[string]any {
		return map[string]any{"timer": x.Name, "id": x.ID, "topic": x.Topic, "broker": x.Broker, "queue": x.QueueID, "due": exact(x.Due), "bytes": x.Bytes}
	}
	list := &cobra.Command{Use: "list TOPIC", Short: "List messages that wait in a topic's partitions, retries among them", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		xs, err := cl.Admin().Timers(cmd.Context(), args[0], limit)
		if err != nil {
			return err
		}
		if len(xs) > 0 && len(xs) == limit {
			fmt.Fprintf(os.Stderr, "raftmq: %d are listed, and there may be more\n", limit)
		}
		t := table{header: []string{"DUE", "TOPIC", "SLOT", "QUEUE", "ID", "BYTES", "TIMER"}}
		for _, x := range xs {
			t.add(object(x), exact(x.Due), x.Topic, x.Broker, x.QueueID, x.ID, x.Bytes, x.Name)
		}
		return t.print(g.output)
	}}
	list.Flags().IntVar(&limit, "limit", 1000, "at most, of all partitions together; 1 to 1000")
	show := &cobra.Command{Use: "show TIMER", Short: "Show a message that waits", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		x, err := cl.Admin().Timer(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		o := object(x)
		t := table{header: []string{"FIELD", "VALUE"}}
		if g.output != "table" {
			if m := x.Message; m != nil {
				o["keys"], o["tag"], o["properties"] = m.Keys, m.Tag, m.Properties
				addBody(o, m.Body)
			}
			t.add(o)
			return t.print(g.output)
		}
		t.add(nil, "due", exact(x.Due))
		t.add(nil, "topic", x.Topic)
		t.add(nil, "queue", fmt.Sprintf("%s %d", x.Broker, x.QueueID))
		t.add(nil, "message", x.ID)
		if m := x.Message; m != nil {
			t.add(nil, "keys", strings.Join(m.Keys, " "))
			t.add(nil, "tag", m.Tag)
			t.add(nil, "body", fmt.Sprintf("%.1024q", m.Body))
		}
		return t.print(g.output)
	}}
	cancel := &cobra.Command{Use: "cancel TIMER", Short: "Take a message back that waits", Args: cobra.ExactArgs(1),
		Long: "Take a message back that waits: it will not come. Exit code 7 if it is due: then it has come, or comes.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			if err := cl.Recall(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, "taken back")
			return nil
		}}
	c.AddCommand(list, show, cancel)
	return c
}

// exact is a time to the millisecond, for people.
func exact(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func dlqCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "List, show, redrive and purge a group's dead letters"}
	var limit int
	object := func(x client.DeadLetterInfo) map[string]any {
		m := x.Message
		return map[string]any{"letter": x.Name, "topic": x.Topic(), "id": m.ID, "keys": m.Keys, "tag": m.Tag, "attempts": m.Attempt - 1, "stored": exact(m.StoredAt), "reason": x.Reason(), "bytes": len(m.Body)}
	}
	list := &cobra.Command{Use: "list GROUP", Short: "List dead letters", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeGroup(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		if limit < 1 {
			return exitError{exitUsage, fmt.Errorf("--limit is at least 1, not %d", limit)}
		}
		xs, err := cl.Admin().DeadLetters(cmd.Context(), args[0], limit+1)
		if err != nil {
			return err
		}
		if len(xs) > limit {
			xs = xs[:limit]
			fmt.Fprintf(os.Stderr, "raftmq: the first %d are listed, there are more: --limit\n", limit)
		}
		t := table{header: []string{"LETTER", "TOPIC", "STORED", "ATTEMPTS", "ID", "REASON"}}
		for _, x := range xs {
			t.add(object(x), x.Name, x.Topic(), exact(x.Message.StoredAt), x.Message.Attempt-1, x.Message.ID, fmt.Sprintf("%.60q", x.Reason()))
		}
		return t.print(g.output)
	}}
	list.Flags().IntVar(&limit, "limit", 1000, "at most")
	show := &cobra.Command{Use: "show GROUP LETTER", Short: "Show a dead letter", Args: cobra.ExactArgs(2), ValidArgsFunction: g.completeGroup(), RunE: func(cmd *cobra.Command, args []string) error {
		cl, err := g.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close(cmd.Context())
		x, err := cl.Admin().DeadLetter(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		t := table{header: []string{"FIELD", "VALUE"}}
		m := x.Message
		if g.output != "table" {
			o := object(x)
			o["properties"] = m.Properties
			addBody(o, m.Body)
			t.add(o)
			return t.print(g.output)
		}
		t.add(nil, "topic", x.Topic())
		t.add(nil, "stored", exact(m.StoredAt))
		t.add(nil, "attempts", m.Attempt-1)
		t.add(nil, "reason", x.Reason())
		t.add(nil, "message", m.ID)
		t.add(nil, "keys", strings.Join(m.Keys, " "))
		t.add(nil, "tag", m.Tag)
		t.add(nil, "body", fmt.Sprintf("%.1024q", m.Body))
		return t.print(g.output)
	}}
	all := false
	take := func(use, short, long, done string, f func(*client.Admin, *cobra.Command, string, string) (int, error)) *cobra.Command {
		x := &cobra.Command{Use: use + " GROUP [LETTER...]", Short: short, Long: long, Args: cobra.MinimumNArgs(1), ValidArgsFunction: g.completeGroup(), RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return exitError{exitUsage, fmt.Errorf("name dead letters, or give --all")}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(cmd.Context())
			n, names := 0, args[1:]
			for all || len(names) > 0 {
				name := ""
				if !all {
					name, names = names[0], names[1:]
				}
				k, err := f(cl.Admin(), cmd, args[0], name)
				if n += k; err != nil {
					return fmt.Errorf("after %d: %w", n, err)
				}
				if all && k < 1000 { // not what dies again meanwhile
					break
				}
			}
			fmt.Fprintln(os.Stderr, n, done)
			return nil
		}}
		x.Flags().BoolVar(&all, "all", false, "all of the group's")
		return x
	}
	c.AddCommand(list, show,
		take("redrive", "Have a group handle dead letters again", "Have a group handle dead letters again, with all their attempts. Each comes again once, however often that is asked.", "come again",
			func(a *client.Admin, cmd *cobra.Command, group, name string) (int, error) {
				return a.Redrive(cmd.Context(), group, name, 0)
			}),
		take("purge", "Drop dead letters", "Drop dead letters: they can neither be listed nor redriven any more.", "dropped",
			func(a *client.Admin, cmd *cobra.Command, group, name string) (int, error) {
				return a.Purge(cmd.Context(), group, name, 0)
			}))
	return c
}
