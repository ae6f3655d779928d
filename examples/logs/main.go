// Command logs collects lines of many hosts in files, one per host, in their order.
//
// A host's lines have the host as their order key, so they are in one queue and one
// collector handles them one after the other. Hosts are never slowed down by a collector
// that is slow, or down: what it has not written yet waits in the cluster, and group lag
// says how much that is. More collectors share the queues. A line may be written twice when
// a collector dies; package client/once is for effects where that matters.
//
//	journalctl -f | logs send web-1
//	logs collect -dir logs
//	raftmq group lag log-collectors
//
// RAFTMQ_ENDPOINT names the cluster's name servers, joined by commas.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"raftmq/client"
)

const (
	topic = "logs"
	group = "log-collectors"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "logs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	endpoint := os.Getenv("RAFTMQ_ENDPOINT")
	if endpoint == "" {
		endpoint = client.DefaultEndpoint
	}
	c, err := client.Dial(ctx, client.WithEndpoints(strings.Split(endpoint, ",")...))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := c.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}); err != nil && !errors.Is(err, client.ErrExists) {
		return err
	}
	switch {
	case len(args) == 2 && args[0] == "send":
		return send(ctx, c, args[1], os.Stdin)
	case len(args) == 3 && args[0] == "collect" && args[1] == "-dir":
		return collect(ctx, c, into(args[2]))
	}
	return errors.New("send HOST, or collect -dir FOLDER")
}

// send sends each line of r until that or ctx ends, and returns when all are stored. Lines travel in batches as
// they come.
func send(ctx context.Context, c *client.Client, host string, r io.Reader) error {
	p, err := c.NewProducer("logs", client.WithCompression(client.LZ4, 512))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var failed error
	lines, end := make(chan []byte), make(chan error, 1)
	go func() { // a line that does not come is waited for until the program ends
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			select {
			case lines <- bytes.Clone(s.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		end <- s.Err()
	}()
	for more := true; more; {
		select {
		case line := <-lines:
			err = p.SendAsync(ctx, &client.Message{Topic: topic, OrderKey: host, Body: line}, func(_ client.Receipt, err error) {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			})
			more = err == nil
		case err = <-end:
			more = false
		case <-ctx.Done():
			err, more = ctx.Err(), false
		}
	}
	err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed)
}

// collect writes lines until ctx ends.
func collect(ctx context.Context, c *client.Client, write func(host string, line []byte) error) error {
	s, err := c.NewConsumer(group, client.WithOrder())
	if err != nil {
		return err
	}
	if err := s.Subscribe(topic, client.All()); err != nil {
		return err
	}
	return s.Run(ctx, func(_ context.Context, d *client.Delivery) error { return write(d.OrderKey, d.Body) })
}

// into writes into a file for each host.
func into(dir string) func(host string, line []byte) error {
	return func(host string, line []byte) error {
		f, err := os.OpenFile(filepath.Join(dir, filepath.Base(host)+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(append(line, '\n'))
		return errors.Join(err, f.Close())
	}
}
