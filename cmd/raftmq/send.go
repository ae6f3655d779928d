package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

func sendCommand(g *globals) *cobra.Command {
	var key, tag, orderKey string
	var props, files []string
	var timeout, delay time.Duration
	var level int
	var at string
	c := &cobra.Command{
		Use: "send TOPIC [TEXT | -]", Short: "Send text, each line of stdin (-), or files", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: g.completeTopic(),
		Long:    "Send one message of TEXT, a message per line of stdin with -, or one per --file, keyed by its path. Exits 0 only if every message is stored; of several, those that are not, and those of which it is not known, are named on stderr.",
		Example: "  raftmq send orders hello --tag created\n  seq 1000 | raftmq send orders -\n  seq 1000 | raftmq send orders - --order-key customer-7\n  raftmq send docs --file README.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 && len(files) == 0 {
				return exitError{exitUsage, errors.New("nothing to send: give TEXT, - or --file")}
			}
			if len(args) == 2 && len(files) > 0 {
				return exitError{exitUsage, errors.New("give TEXT or -, or --file, not both")}
			}
			m := client.Message{Topic: args[0], Tag: tag, OrderKey: orderKey, Delay: delay, DelayLevel: level}
			if at != "" {
				var err error
				if m.DeliverAt, err = time.Parse(time.RFC3339, at); err != nil {
					return exitError{exitUsage, fmt.Errorf("time %q: one like 2026-01-31T15:04:05Z", at)}
				}
			}
			if key != "" {
				m.Keys = strings.Fields(key)
			}
			for _, p := range props {
				k, v, ok := strings.Cut(p, "=")
				if !ok {
					return exitError{exitUsage, fmt.Errorf("property %q is not name=value", p)}
				}
				if m.Properties == nil {
					m.Properties = make(map[string]string)
				}
				m.Properties[k] = v
			}
			cl, err := g.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(cmd.Context()))
			p, err := cl.NewProducer("raftmq-send", client.WithSendTimeout(timeout))
			if err != nil {
				return err
			}
			s := sender{p: p, ctx: cmd.Context()}
			var input error // what was read before it is sent, and told of
			switch {
			case len(files) > 0:
				s.files(files, m)
			case args[1] == "-":
				input = s.lines(os.Stdin, m)
			default:
				m.Body = []byte(args[1])
				s.send(&m)
			}
			s.wg.Wait()
			err = p.Close(context.WithoutCancel(cmd.Context()))
			return errors.Join(input, s.err, err, s.print(g.output))
		},
	}
	c.Flags().StringVar(&key, "key", "", "keys, separated by spaces")
	c.Flags().StringVar(&tag, "tag", "", "tag that consumers filter by")
	c.Flags().StringVar(&orderKey, "order-key", "", "messages of one key go to one queue, in the order in which they are sent; see consume --order")
	c.Flags().StringArrayVar(&props, "property", nil, "name=value; may be given several times")
	c.Flags().StringArrayVar(&files, "file", nil, "a file, sent as one message; may be given several times")
	c.Flags().DurationVar(&delay, "delay", 0, "have consumers get it so long after it is stored")
	c.Flags().IntVar(&level, "delay-level", 0, "the same by RocketMQ's levels, 1 (1 s) to 18 (2 h)")
	c.Flags().StringVar(&at, "at", "", "have consumers get it at a time (RFC 3339)")
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to try for each message")
	return c
}

// sender sends and keeps count.
type sender struct {
	p   *client.Producer
	ctx context.Context
	wg  sync.WaitGroup

	stored, failed, unknown atomic.Int64
	mu                      sync.Mutex
	first                   client.Receipt
	err                     error
}

// files sends each file as a message that is otherwise like m, until one cannot be read: that and those behind
// it are not stored.
func (s *sender) files(names []string, m client.Message) {
	for i, f := range names {
		b, err := os.ReadFile(f)
		if err != nil {
			for _, rest := range names[i:] {
				s.note(rest, client.Receipt{}, err)
			}
			return
		}
		x := m
		x.Body, x.Keys = b, append([]string{strings.ReplaceAll(f, " ", "_")}, m.Keys...)
		s.sendAs(f, &x)
	}
}

// lines sends each line as a message that is otherwise like m, until in ends or the command is
// interrupted. A read that is under way then is left to the end of the process: nothing ends it sooner.
func (s *sender) lines(in io.Reader, m client.Message) error {
	lines, end := make(chan []byte), make(chan error, 1)
	go func() {
		r := bufio.NewReaderSize(in, 1<<20)
		for {
			line, err := r.ReadBytes('\n')
			if len(line) > 0 {
				select {
				case lines <- bytes.TrimSuffix(line, []byte("\n")):
				case <-s.ctx.Done():
					return
				}
			}
			if err != nil {
				end <- err
				return
			}
		}
	}()
	for n := 1; ; n++ {
		select {
		case line := <-lines:
			x := m
			x.Body = line
			s.sendAs(fmt.Sprintf("line %d", n), &x)
		case err := <-end:
			if err == io.EOF {
				return nil
			}
			return err
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func (s *sender) send(m *client.Message) { s.sendAs("", m) }

// sendAs sends a message; if that fails, it is told of on stderr by its name.
func (s *sender) sendAs(what string, m *client.Message) {
	s.wg.Add(1)
	err := s.p.SendAsync(s.ctx, m, func(r client.Receipt, err error) {
		defer s.wg.Done()
		s.note(what, r, err)
	})
	if err != nil {
		s.note(what, client.Receipt{}, err)
		s.wg.Done()
	}
}

func (s *sender) note(what string, r client.Receipt, err error) {
	if err != nil && what != "" {
		known := "not stored"
		if errors.Is(err, client.ErrUncertain) {
			known = "unknown"
		}
		fmt.Fprintf(os.Stderr, "%s: %s: %v\n", what, known, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if s.stored.Add(1) == 1 {
			s.first = r
		}
		return
	case errors.Is(err, client.ErrUncertain):
		s.unknown.Add(1)
		s.err = err // weighs more than a certain failure
	default:
		s.failed.Add(1)
		if s.err == nil {
			s.err = err
		}
	}
}

// print says what became of the messages: to people on stderr, to programs one
// object on stdout, with the place of the message if it was one.
func (s *sender) print(output string) error {
	stored, failed, unknown := s.stored.Load(), s.failed.Load(), s.unknown.Load()
	one := stored == 1 && failed+unknown == 0
	if output != "table" {
		out := map[string]any{"stored": stored, "not_stored": failed, "unknown": unknown}
		if one {
			out["id"], out["broker"], out["queue"] = s.first.ID, s.first.Broker, s.first.QueueID
			if s.first.Recall != "" { // it has no offset until it comes
				out["timer"] = s.first.Recall
			} else {
				out["offset"] = s.first.Offset
			}
		}
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	switch {
	case one && s.first.Recall != "":
		fmt.Fprintf(os.Stderr, "stored, and waits for its time for %s queue %d, id %s; raftmq timer cancel %s takes it back\n",
			s.first.Broker, s.first.QueueID, s.first.ID, s.first.Recall)
	case one:
		fmt.Fprintf(os.Stderr, "stored in %s queue %d at offset %d, id %s\n", s.first.Broker, s.first.QueueID, s.first.Offset, s.first.ID)
	default:
		fmt.Fprintf(os.Stderr, "%d stored, %d not stored, %d unknown\n", stored, failed, unknown)
	}
	return nil
}
