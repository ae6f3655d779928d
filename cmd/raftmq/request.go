package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func requestCommand(g *globals) *cobra.Command {
	var key, tag string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "request TOPIC TEXT|-", Short: "Send a request and print the reply of who consumes it", Args: cobra.ExactArgs(2), ValidArgsFunction: g.completeTopic(),
		Long:    "Send TEXT, or all of stdin with -, and wait for the reply of who consumes the topic. Exits 6 if none came in time: the request is, or may be, stored, and may be handled yet.",
		Example: "  raftmq reply quotes --echo &\n  raftmq request quotes \"how much?\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			m := client.Message{Topic: args[0], Body: []byte(args[1]), Tag: tag, Keys: strings.Fields(key)}
			if args[1] == "-" {
				var err error
				if m.Body, err = readAll(cmd.Context(), io.LimitReader(cmd.InOrStdin(), client.MaxBody+1)); err != nil {
					return err
				}
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			p, err := cl.NewProducer("raftmq-request", client.WithSendTimeout(timeout))
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			d, err := p.Request(ctx, &m)
			if err != nil {
				return err
			}
			return printReply(g.output, d)
		},
	}
	c.Flags().StringVar(&key, "key", "", "keys, separated by spaces")
	c.Flags().StringVar(&tag, "tag", "", "tag that consumers filter by")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for the reply")
	return c
}

// readAll reads until in or ctx ends. A read that is under way then is left to the end of the process:
// nothing ends it sooner.
func readAll(ctx context.Context, in io.Reader) ([]byte, error) {
	var all []byte
	end := make(chan error, 1)
	go func() {
		var err error
		all, err = io.ReadAll(in)
		end <- err
	}()
	select {
	case err := <-end:
		return all, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// printReply prints a reply's body, or all of it.
func printReply(format string, d *client.Delivery) error {
	if format == "table" {
		_, err := fmt.Printf("%s\n", d.Body)
		return err
	}
	o := map[string]any{"from": d.BornHost, "tag": d.Tag, "key": strings.Join(d.Keys, " "), "properties": d.Properties}
	addBody(o, d.Body)
	return json.NewEncoder(os.Stdout).Encode(o)
}

func replyCommand(g *globals) *cobra.Command {
	var group, text, run string
	var echo bool
	var count int
	var timeout time.Duration
	c := &cobra.Command{
		Use: "reply TOPIC --echo | --text TEXT | --exec COMMAND", Short: "Consume requests and reply to them", Args: cobra.ExactArgs(1), ValidArgsFunction: g.completeTopic(),
		Long: "Consume a topic as a member of a group and reply to each request: with its own body, with TEXT, or with what COMMAND (run by sh, the body on its stdin) prints. " +
			"A request whose command fails is handled again later, as any message that fails. Messages that are no requests are passed over.",
		Example: "  raftmq reply quotes --exec 'wc -c'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimits(count, timeout); err != nil {
				return err
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			cons, err := cl.NewConsumer(cmp.Or(group, "raftmq-reply"))
			if err != nil {
				return err
			}
			if err := cons.Subscribe(args[0], client.All()); err != nil {
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
			err = cons.Run(ctx, func(_ context.Context, d *client.Delivery) error {
				if !d.WantsReply() {
					return nil
				}
				body := d.Body
				switch {
				case run != "":
					printed, err := output(cmd.Context(), run, d.Body)
					if err != nil {
						fmt.Fprintf(os.Stderr, "request %s: %v\n", d.ID, err)
						return err
					}
					body = printed
				case !echo:
					body = []byte(text)
				}
				err := cl.Reply(cmd.Context(), d, &client.Message{Body: body})
				if errors.Is(err, client.ErrNoRequester) { // nobody would have a later one either
					fmt.Fprintf(os.Stderr, "request %s: %v\n", d.ID, err)
					err = nil
				}
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					if n++; count > 0 && n == count {
						stop()
					}
				}
				return err
			})
			if err == nil && count > 0 && n < count {
				return fewer(cmd.Context(), n, count, "requests")
			}
			return err
		},
	}
	c.Flags().StringVar(&group, "group", "raftmq-reply", "consumer group")
	c.Flags().BoolVar(&echo, "echo", false, "reply with the request's body")
	c.Flags().StringVar(&text, "text", "", "reply with this")
	c.Flags().StringVar(&run, "exec", "", "reply with what a command prints")
	c.Flags().IntVar(&count, "count", 0, "stop after so many (default: go on)")
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop after so long")
	c.MarkFlagsOneRequired("echo", "text", "exec")
	c.MarkFlagsMutuallyExclusive("echo", "text", "exec")
	c.RegisterFlagCompletionFunc("group", g.completeGroup().anywhere())
	return c
}

// output is what a command prints, at most a message's body.
func output(ctx context.Context, command string, stdin []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	var out limited
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %q: %w", command, err)
	}
	return out.Bytes(), nil
}

// limited takes as much as a body may have.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > client.MaxBody {
		return 0, fmt.Errorf("%w: more than %d bytes", client.ErrTooLarge, client.MaxBody)
	}
	return l.Buffer.Write(b)
}
