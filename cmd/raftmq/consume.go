package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"raftmq/client"
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
	var group, tags, from string
	var count int
	var timeout time.Duration
	c := &cobra.Command{
		Use: "consume TOPIC --group G", Short: "Consume a topic as a member of a group", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Example: "  raftmq consume orders --group g --count 10 -o jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			pos, err := position(from)
			if err != nil {
				return err
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			cons, err := cl.NewConsumer(group, client.WithStartAt(pos))
			if err != nil {
				return err
			}
			filter := client.All()
			if tags != "" {
				filter = client.Tags(strings.Split(tags, "||")...)
			}
			if err := cons.Subscribe(args[0], filter); err != nil {
				return err
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			if timeout > 0 {
				ctx, stop = context.WithTimeout(ctx, timeout)
				defer stop()
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
				return exitError{exitCheck, fmt.Errorf("%d of %d messages came", n, count)}
			}
			return err
		},
	}
	c.Flags().StringVar(&group, "group", "", "consumer group (required)")
	c.Flags().StringVar(&tags, "tags", "", "only these tags, joined by ||")
	c.Flags().StringVar(&from, "from", "earliest", "where a new group starts: earliest, latest, an offset or a time")
	c.Flags().IntVar(&count, "count", 0, "stop after so many (default: go on)")
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop after so long")
	c.MarkFlagRequired("group")
	c.RegisterFlagCompletionFunc("group", g.completeGroup().anywhere())
	return c
}
