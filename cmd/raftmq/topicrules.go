package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func topicRules(g *globals) *cobra.Command {
	var set, props []string
	var file, key, tag string
	var none, try bool
	c := &cobra.Command{
		Use: "rules TOPIC", Short: "Show, set or try the rules that choose a topic's queue", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Long: `Show, set or try the rules that choose the queue of a topic's messages, whatever their senders chose, whichever client they are.
The first rule that matches counts. A rule is MATCH : TARGET.

  MATCH   key, tag, or property NAME   messages that have one; of several keys the first counts
          key=VALUE                    those with that value
          key=PREFIX*                  those whose value begins so
  TARGET  3                            the topic's queue of that number
          0-3                          one of these, by the hash of the value
          all                          one of all, by the hash of the value

Queue N is queue N/P of partition N%P, of P partitions: more queues are numbered behind those that were there. The same value has the same
queue as long as rules and number of queues stay; what was sent before a change stays where it is. A message that no rule matches goes where its sender
chooses. A batch of a stock client whose messages would go to several queues is refused.`,
		Example: "  raftmq topic rules orders --set 'tag=vip : 0' --set 'key=order-* : 1-5' --set 'key : all'\n  raftmq topic rules orders --try --key order-17\n  raftmq topic rules orders --none",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			ctx, a := cmd.Context(), cl.Admin()
			if try {
				m := client.Message{Topic: args[0], Keys: strings.Fields(key), Tag: tag, Properties: make(map[string]string)}
				for _, p := range props {
					k, v, ok := strings.Cut(p, "=")
					if !ok {
						return exitError{exitUsage, fmt.Errorf("property %q is not name=value", p)}
					}
					m.Properties[k] = v
				}
				queue, rule, err := a.TryRules(ctx, &m)
				if err != nil {
					return err
				}
				t := table{header: []string{"RULE", "QUEUE"}}
				if rule == 0 {
					t.add(map[string]any{"rule": nil, "queue": nil}, "none", "as the sender chooses")
				} else {
					t.add(map[string]any{"rule": rule, "queue": queue}, rule, queue)
				}
				return t.print(g.output)
			}
			t, err := a.Topic(ctx, args[0])
			if err != nil {
				return err
			}
			if file != "" {
				b, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				for line := range strings.Lines(string(b)) {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						set = append(set, line)
					}
				}
				if len(set) == 0 {
					return exitError{exitUsage, errors.New("no rule in " + file + "; --none removes all")}
				}
			}
			rules := strings.Join(set, "; ")
			switch {
			case none:
				t.Attributes, t.Unset = nil, []string{client.AttrPlacement}
			case rules != "":
				t.Attributes = map[string]string{client.AttrPlacement: rules}
			default:
				return printRules(g.output, t.Attributes[client.AttrPlacement])
			}
			if strings.ContainsRune(rules, ',') {
				return exitError{exitUsage, fmt.Errorf("rules %q: a comma cannot be in a rule", rules)}
			}
			t.OnlyAttributes = true
			if err := a.UpdateTopic(ctx, t); err != nil {
				return err
			}
			n := fmt.Sprintf("%d rules", len(set))
			if len(set) == 1 {
				n = "1 rule"
			}
			fmt.Fprintf(os.Stderr, "topic %s has %s\n", args[0], n)
			return nil
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "a rule, in place of those that are there; may be given several times, in order")
	c.Flags().StringVar(&file, "file", "", "the same from a file, a rule per line")
	c.Flags().BoolVar(&none, "none", false, "remove all rules")
	c.Flags().BoolVar(&try, "try", false, "say where a message with --key, --tag and --property would go")
	c.Flags().StringVar(&key, "key", "", "with --try")
	c.Flags().StringVar(&tag, "tag", "", "with --try")
	c.Flags().StringArrayVar(&props, "property", nil, "with --try, name=value")
	c.MarkFlagsMutuallyExclusive("set", "file", "none", "try")
	return c
}

func printRules(format, rules string) error {
	t := table{header: []string{"RULE", "MATCH", "TARGET"}}
	n := 0
	for rule := range strings.SplitSeq(rules, ";") {
		if rule = strings.TrimSpace(rule); rule == "" {
			continue
		}
		n++
		i := strings.LastIndexByte(rule, ':')
		match, target := strings.TrimSpace(rule[:max(i, 0)]), strings.TrimSpace(rule[i+1:])
		t.add(map[string]any{"rule": n, "match": match, "target": target}, n, match, target)
	}
	return t.print(format)
}
