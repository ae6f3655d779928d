package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func messageCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "message", Short: "Find, show, trace and explain messages"}
	var topic string
	explain := &cobra.Command{
		Use: "explain ID", Short: "Tell what became of a message, from the replicated state", Args: cobra.ExactArgs(1),
		Long: "Tell what became of a message: where it is stored, what it waits or waited for, that it was taken back, how it was decided, put back and given up, and which groups are past it. " +
			"ID is what send prints, an offset id of a stock client, or, with --topic, a key. Without --topic every topic is looked into.",
		Example: "  raftmq message explain 0123456789ABCDEF0000000000000001 --topic orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withMessage(cmd.Context(), topic, args[0], func(_ *client.Client, life client.Life) error { return printLife(g.output, life) })
		},
	}
	show := &cobra.Command{
		Use: "show ID", Short: "Show a message with its body", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withMessage(cmd.Context(), topic, args[0], func(cl *client.Client, life client.Life) error {
				for _, s := range life.Steps {
					if s.OffsetID == "" {
						continue
					}
					d, err := cl.Admin().At(cmd.Context(), s)
					if err != nil {
						return err
					}
					return showMessage(g.output, s, d)
				}
				return inNoQueue(life.Steps[len(life.Steps)-1])
			})
		},
	}
	for _, x := range []*cobra.Command{explain, show} {
		x.Flags().StringVar(&topic, "topic", "", "its topic (default: look into all)")
		x.RegisterFlagCompletionFunc("topic", g.completeTopic().anywhere())
	}
	c.AddCommand(findCommand(g), show, explain, traceCommand(g))
	return c
}

// inNoQueue says why a message is in none, by the last that became of it.
func inNoQueue(s client.LifeStep) error {
	switch s.What {
	case "waiting":
		return fmt.Errorf("%w: it waits until %s and is in no queue yet; see timer list %s", client.ErrMessageNotFound, moment(s.Due), s.Topic)
	case "taken back":
		return fmt.Errorf("%w: it was taken back while it waited for %s", client.ErrMessageNotFound, moment(s.Due))
	case "decided":
		return fmt.Errorf("%w: it is a transaction that was %s at %s", client.ErrMessageNotFound, s.State, moment(s.At))
	}
	return fmt.Errorf("%w: it is a transaction without a decision; see tx list %s", client.ErrMessageNotFound, s.Topic)
}

func (g *globals) withMessage(ctx context.Context, topic, id string, f func(*client.Client, client.Life) error) error {
	cl, err := g.dial(ctx)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	life, err := cl.Admin().Explain(ctx, topic, id)
	if err != nil {
		return err
	}
	return f(cl, life)
}

// mostFound is how many messages a node looks up by a key.
const mostFound = 32

func findCommand(g *globals) *cobra.Command {
	var from, until string
	var last time.Duration
	var limit int
	c := &cobra.Command{
		Use: "find TOPIC KEY", Short: "Find messages of a topic by a key, or by their id", Args: cobra.ExactArgs(2), ValidArgsFunction: g.completeTopic(),
		Example: "  raftmq message find orders order-17 --last 1h",
		RunE: func(cmd *cobra.Command, args []string) error {
			var bounds [2]time.Time
			for i, s := range []string{from, until} {
				if s == "" {
					continue
				}
				var err error
				if bounds[i], err = time.Parse(time.RFC3339, s); err != nil {
					return exitError{exitUsage, fmt.Errorf("time %q: one like 2026-01-31T15:04:05Z", s)}
				}
			}
			if last > 0 {
				bounds[0] = time.Now().Add(-last)
			}
			if limit < 1 || limit > mostFound {
				return exitError{exitUsage, fmt.Errorf("--limit is 1 to %d, not %d", mostFound, limit)}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			ds, err := cl.Admin().FindMessages(cmd.Context(), args[0], args[1], bounds[0], bounds[1], limit)
			if err != nil {
				return err
			}
			t := table{header: []string{"MESSAGE", "SLOT", "QUEUE", "OFFSET", "STORED", "KEYS", "TAG", "BYTES"}}
			for _, d := range ds {
				t.add(messageObject(d), d.ID, d.Broker, d.QueueID, d.Offset, moment(d.StoredAt), strings.Join(d.Keys, " "), d.Tag, len(d.Body))
			}
			found := make(map[string]int)
			for _, d := range ds {
				if found[d.Broker]++; found[d.Broker] == limit {
					fmt.Fprintf(os.Stderr, "raftmq: of %s the newest %d are listed, and there may be older ones\n", d.Broker, limit)
				}
			}
			if err := t.print(g.output); err != nil {
				return err
			}
			if len(ds) == 0 {
				return fmt.Errorf("%w: none of %s has the key %s in that time", client.ErrMessageNotFound, args[0], args[1])
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "stored at or after this time (RFC 3339)")
	c.Flags().StringVar(&until, "until", "", "stored at or before this time (RFC 3339)")
	c.Flags().DurationVar(&last, "last", 0, "stored within so long before now")
	c.Flags().IntVar(&limit, "limit", mostFound, "of each slot the newest, at most 32")
	return c
}

func messageObject(d *client.Delivery) map[string]any {
	o := map[string]any{"id": d.ID, "topic": d.Topic, "broker": d.Broker, "queue": d.QueueID, "offset": d.Offset, "stored": d.StoredAt.UTC().Format(time.RFC3339Nano),
		"born": d.BornAt.UTC().Format(time.RFC3339Nano), "from": d.BornHost, "keys": d.Keys, "tag": d.Tag, "properties": d.Properties, "reconsume_times": d.Attempt - 1}
	addBody(o, d.Body)
	return o
}

// addBody adds a body as text, or in base64 if it is none.
func addBody(o map[string]any, body []byte) {
	if utf8.Valid(body) {
		o["body"] = string(body)
	} else {
		o["body_base64"] = body
	}
}

func showMessage(format string, s client.LifeStep, d *client.Delivery) error {
	t := table{header: []string{"FIELD", "VALUE"}}
	if format != "table" {
		t.add(messageObject(d))
		return t.print(format)
	}
	row := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" {
			t.add(nil, name, s)
		}
	}
	row("message", d.ID)
	row("offset id", s.OffsetID)
	row("topic", d.Topic)
	row("place", fmt.Sprintf("%s queue %d offset %d", d.Broker, d.QueueID, d.Offset))
	row("stored", moment(d.StoredAt))
	row("sent", moment(d.BornAt)+" from "+d.BornHost)
	row("keys", strings.Join(d.Keys, " "))
	row("tag", d.Tag)
	for k, v := range d.Properties {
		row("property "+k, v)
	}
	row("body", fmt.Sprintf("%.1024q", d.Body))
	return t.print(format)
}

// printLife prints a message's life as sentences, or as objects.
func printLife(format string, life client.Life) error {
	t := table{header: []string{"WHEN", "WHAT", "WHERE", "DETAIL"}}
	for _, s := range life.Steps {
		when := cmp.Or(moment(s.At), "due "+moment(s.Due))
		where := fmt.Sprintf("%s of %s, position %d", s.Broker, s.Topic, s.Position)
		if s.Offset >= 0 {
			where = fmt.Sprintf("%s of %s, queue %d offset %d, position %d", s.Broker, s.Topic, s.QueueID, s.Offset, s.Position)
		}
		if s.Index > 0 {
			where += fmt.Sprintf(", entry %d of term %d", s.Index, s.Term)
		}
		t.add(stepObject(s), when, s.What, where, stepDetail(s))
		for _, p := range s.Groups {
			detail := fmt.Sprintf("handled: the group's offset is %d", p.Committed)
			switch {
			case !p.Handled && p.Committed < 0:
				detail = fmt.Sprintf("not handled: the group has no offset there; %d before it", p.Behind)
			case !p.Handled:
				detail = fmt.Sprintf("not handled, or not committed: the group's offset is %d; %d before it", p.Committed, p.Behind)
			}
			if format == "table" {
				t.add(nil, "", "group "+p.Group, "", detail)
			}
		}
	}
	if err := t.print(format); err != nil {
		return err
	}
	for _, p := range life.Looked {
		if p.Unseen > 0 {
			fmt.Fprintf(os.Stderr, "partition %d in %s has %d more that wait, which were not looked at\n", p.Partition, p.Broker, p.Unseen)
		}
		if p.UnseenGone > 0 {
			fmt.Fprintf(os.Stderr, "partition %d in %s has %d more that were rolled back or taken back, which were not looked at\n", p.Partition, p.Broker, p.UnseenGone)
		}
		if p.UnseenGroups > 0 {
			fmt.Fprintf(os.Stderr, "partition %d in %s is consumed by %d more groups, whose retries and dead letters were not looked through\n", p.Partition, p.Broker, p.UnseenGroups)
		}
		if p.UnseenRecords {
			fmt.Fprintf(os.Stderr, "partition %d in %s has older messages with it, which were not looked at\n", p.Partition, p.Broker)
		}
		fmt.Fprintf(os.Stderr, "%s answers for %s, partition %d, up to entry %d\n", p.Node, p.Broker, p.Partition, p.Applied)
	}
	return nil
}

func stepDetail(s client.LifeStep) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch s.What {
	case "stored":
		add("%d bytes from %s", s.Bytes, s.By)
		if len(s.Keys) > 0 {
			add("keys %s", strings.Join(s.Keys, " "))
		}
		if s.Tag != "" {
			add("tag %s", s.Tag)
		}
	case "decided":
		add("%s by %s", s.State, cmp.Or(s.By, "whom is forgotten"))
	case "prepared":
		if s.State == "rolled back" { // how often it was asked about is forgotten
			add("of group %s", s.Group)
		} else {
			add("%s, of group %s, %d checks made", s.State, s.Group, s.Times)
		}
	case "retry":
		add("of group %s, which it failed %d times", s.Group, s.Times)
	case "taken back":
		add("while it waited for %s", moment(s.Due))
	case "waiting", "waited":
		add("until %s", moment(s.Due))
		if s.Group != "" {
			add("retry %d of group %s", s.Times, s.Group)
		}
	case "dead letter":
		add("of group %s after %d times", s.Group, s.Times)
		if s.Reason != "" {
			add("because %s", s.Reason)
		}
		if s.State != "" {
			add("%s since", s.State)
		}
	}
	return strings.Join(parts, "; ")
}

func stepObject(s client.LifeStep) map[string]any {
	o := map[string]any{"what": s.What, "id": s.ID, "topic": s.Topic, "broker": s.Broker, "queue": s.QueueID, "offset": s.Offset, "position": s.Position}
	set := func(name string, v any, is bool) {
		if is {
			o[name] = v
		}
	}
	set("offset_id", s.OffsetID, s.OffsetID != "")
	set("index", s.Index, s.Index > 0)
	set("term", s.Term, s.Index > 0)
	set("at", moment(s.At), !s.At.IsZero())
	set("due", moment(s.Due), !s.Due.IsZero())
	set("group", s.Group, s.Group != "")
	set("times", s.Times, s.Times > 0)
	set("state", s.State, s.State != "")
	set("by", s.By, s.By != "")
	set("reason", s.Reason, s.Reason != "")
	set("keys", s.Keys, len(s.Keys) > 0)
	set("tag", s.Tag, s.Tag != "")
	var groups []map[string]any
	for _, g := range s.Groups {
		groups = append(groups, map[string]any{"group": g.Group, "committed": g.Committed, "behind": g.Behind, "handled": g.Handled})
	}
	set("groups", groups, len(groups) > 0)
	return o
}

func traceCommand(g *globals) *cobra.Command {
	var topic string
	c := &cobra.Command{
		Use: "trace ID", Short: "Print what stock clients traced of a message", Args: cobra.ExactArgs(1),
		Long: "Print what RocketMQ's clients, where tracing is on, wrote of a message: by its id or one of its keys. It is as reliable as those clients; message explain tells what the cluster knows.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			traces, err := cl.Admin().Trace(cmd.Context(), topic, args[0])
			if errors.Is(err, client.ErrTopicNotFound) {
				return fmt.Errorf("%w: no client has traced anything yet", err)
			}
			if err != nil {
				return err
			}
			t := table{header: []string{"WHEN", "WHAT", "GROUP", "CLIENT", "TOOK", "RESULT", "DETAIL"}}
			for _, x := range traces {
				result, detail := "ok", ""
				if !x.Done {
					result = "failed"
				}
				switch x.Kind {
				case "Pub":
					detail = fmt.Sprintf("%s to %s at %s, %d bytes", x.Type, x.Topic, x.StoreHost, x.Bytes)
				case "SubBefore":
					result, detail = "", fmt.Sprintf("retry %d", x.Retries)
				case "EndTransaction":
					result, detail = "", x.State
				}
				t.add(traceObject(x), stamp(x.At), x.Kind, x.Group, x.ClientHost, x.Took, result, detail)
			}
			return t.print(g.output)
		},
	}
	c.Flags().StringVar(&topic, "trace-topic", client.TraceTopic, "the topic that clients trace to")
	return c
}

// stamp is a time to the millisecond.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func traceObject(x client.Trace) map[string]any {
	o := map[string]any{"kind": x.Kind, "at": stamp(x.At), "id": x.ID, "done": x.Done}
	for name, v := range map[string]string{"group": x.Group, "topic": x.Topic, "tag": x.Tag, "keys": x.Keys, "store_host": x.StoreHost, "client_host": x.ClientHost,
		"offset_id": x.OffsetID, "request": x.RequestID, "type": x.Type, "state": x.State, "region": x.Region} {
		if v != "" {
			o[name] = v
		}
	}
	o["took_ms"], o["bytes"], o["retries"], o["code"] = x.Took.Milliseconds(), x.Bytes, x.Retries, x.Code
	return o
}
