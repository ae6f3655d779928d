package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftmq/client"
	"raftmq/filter"
)

// consumed is a message as consume -o jsonl prints it.
type consumed struct {
	Topic          string            `json:"topic"`
	Broker         string            `json:"broker"`
	Queue          int               `json:"queue"`    // its number in the topic
	QueueID        int               `json:"queue_id"` // and in its slot
	Offset         int64             `json:"offset"`
	Key            string            `json:"key"`
	Tag            string            `json:"tag"`
	Body           *string           `json:"body,omitempty"`
	BodyBase64     []byte            `json:"body_base64,omitempty"`
	Properties     map[string]string `json:"properties"`
	ReconsumeTimes int               `json:"reconsume_times"`
}

func consumeCommand(g *globals) *cobra.Command {
	var group, tags, condition, from, strategy string
	var count int
	var order, broadcast bool
	var offsets string
	var queues []int
	var timeout time.Duration
	c := &cobra.Command{
		Use: "consume TOPIC --group G", Short: "Consume a topic as a member of a group", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Example: "  raftmq consume orders --group g --count 10 -o jsonl\n  raftmq consume orders --group g --filter \"amount > 100 AND region IN ('eu', 'us')\"",
		Long: `Consume a topic as a member of a group.

--filter takes a condition on the messages' properties, in RocketMQ's SQL92: = <> < <= > >=, [NOT] BETWEEN a AND b,
[NOT] IN ('a', 'b'), IS [NOT] NULL, [NOT] CONTAINS | STARTSWITH | ENDSWITH 'a', AND, OR, NOT, parentheses. Strings are in
single quotes; the property TAGS is the tag. What does not match is not sent by the nodes, and counts as consumed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimits(count, timeout); err != nil {
				return err
			}
			pos, err := position(from)
			if err != nil {
				return err
			}
			only, err := filterOf(tags, condition, cmd.Flags().Changed("filter"))
			if err != nil {
				return err
			}
			how, err := client.ParseStrategy(strategy)
			if err != nil {
				return err
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			if len(queues) > 0 {
				how = client.ByConfig(map[string][]int{args[0]: queues})
			}
			options := []client.ConsumerOption{client.WithStartAt(pos), client.WithStrategy(how)}
			if order {
				options = append(options, client.WithOrder())
			}
			if broadcast {
				var store client.OffsetStore
				if offsets != "" {
					if store, err = client.NewFileOffsets(offsets); err != nil {
						return err
					}
				}
				options = append(options, client.WithBroadcast(store))
			} else if offsets != "" {
				return exitError{exitUsage, errors.New("--offsets is for --broadcast: else the cluster keeps them")}
			}
			cons, err := cl.NewConsumer(group, options...)
			if err != nil {
				return err
			}
			if err := cons.Subscribe(args[0], only); err != nil {
				return err
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			if timeout > 0 {
				ctx, stop = context.WithTimeout(ctx, timeout)
				defer stop()
			}
			if x, err := cl.Admin().Group(ctx, group); err == nil && x.Disabled { // else it would wait without a word
				fmt.Fprintf(os.Stderr, "group %s is paused, and gets nothing before: raftmq group alter %s --consume\n", group, group)
			}
			var mu sync.Mutex
			n := 0
			enc := json.NewEncoder(os.Stdout)
			err = cons.Run(ctx, func(_ context.Context, d *client.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				if count > 0 && n == count {
					return context.Canceled // one too many: another member gets it
				}
				n++
				out := consumed{Topic: d.Topic, Broker: d.Broker, Queue: d.Queue, QueueID: d.QueueID, Offset: d.Offset, Key: strings.Join(d.Keys, " "), Tag: d.Tag, Properties: d.Properties, ReconsumeTimes: d.Attempt - 1}
				if utf8.Valid(d.Body) {
					s := string(d.Body)
					out.Body = &s
				} else {
					out.BodyBase64 = d.Body
				}
				var err error
				if g.output == "table" {
					_, err = fmt.Printf("%s\t%d\t%d\t%s\n", d.Broker, d.QueueID, d.Offset, d.Body)
				} else {
					err = enc.Encode(out)
				}
				if count > 0 && n == count {
					stop()
				}
				return err
			})
			if err == nil && count > 0 && n < count {
				return fewer(cmd.Context(), n, count, "messages")
			}
			return err
		},
	}
	c.Flags().StringVar(&group, "group", "", "consumer group (required)")
	addFilterFlags(c, &tags, &condition)
	c.Flags().StringVar(&from, "from", "earliest", "where a new group starts: earliest, latest, an offset or a time")
	c.Flags().StringVar(&strategy, "strategy", "average", "how the members share queues: average, circle or consistent-hash; the same for all of a group")
	c.RegisterFlagCompletionFunc("strategy", completeWith("average", "circle", "consistent-hash"))
	c.Flags().BoolVar(&order, "order", false, "each queue's messages one after the other, and each queue by one member at a time")
	c.Flags().BoolVar(&broadcast, "broadcast", false, "all messages from --from on, whatever other members get")
	c.Flags().StringVar(&offsets, "offsets", "", "a file that keeps the offsets of --broadcast: the next time it goes on from there")
	c.MarkFlagsMutuallyExclusive("order", "broadcast")
	c.Flags().IntSliceVar(&queues, "queues", nil, "exactly these queues of the topic, by number, whoever else is in the group; its other members name the others")
	c.MarkFlagsMutuallyExclusive("queues", "strategy")
	c.Flags().IntVar(&count, "count", 0, "stop after so many (default: go on)")
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop after so long")
	c.MarkFlagRequired("group")
	c.RegisterFlagCompletionFunc("group", g.completeGroup().anywhere())
	return c
}

// checkLimits refuses what would never stop a consumer that was to stop.
func checkLimits(count int, timeout time.Duration) error {
	if count < 0 || timeout < 0 {
		return exitError{exitUsage, errors.New("--count and --timeout are positive, or 0 to go on")}
	}
	return nil
}

// addFilterFlags adds --tags, which --tag is too, and --filter.
func addFilterFlags(c *cobra.Command, tags, condition *string) {
	c.Flags().StringVar(tags, "tags", "", "only these tags, joined by ||")
	c.Flags().StringVar(condition, "filter", "", "only messages for whose properties this SQL92 condition is true")
	c.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "tag" {
			name = "tags"
		}
		return pflag.NormalizedName(name)
	})
	c.MarkFlagsMutuallyExclusive("tags", "filter")
	c.RegisterFlagCompletionFunc("filter", completeWith("TAGS = ''", "TAGS IN ('')", "KEYS IS NOT NULL"))
}

// filterOf is what the flags say. A mistake is shown where it is.
func filterOf(tags, condition string, conditional bool) (client.Filter, error) {
	if conditional {
		_, err := filter.Compile(condition)
		if mistake, ok := errors.AsType[*filter.Error](err); ok {
			return client.Filter{}, exitError{exitUsage, fmt.Errorf("--filter: line %d, column %d: %s\n\n    %s\n", mistake.Line, mistake.Column, mistake.Reason, strings.ReplaceAll(mistake.Caret(), "\n", "\n    "))}
		}
		return client.SQL(condition), err
	}
	var list []string
	for tag := range strings.SplitSeq(tags, "||") {
		if tag = strings.TrimSpace(tag); tag != "" && tag != "*" {
			list = append(list, tag)
		}
	}
	return client.Tags(list...), nil
}

// fewer says that not all of what was waited for came: ctx's end if it was told to end before they could.
func fewer(ctx context.Context, n, count int, what string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%d of %d %s came: %w", n, count, what, err)
	}
	return exitError{exitCheck, fmt.Errorf("%d of %d %s came", n, count, what)}
}
