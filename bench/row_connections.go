package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raftmq/client"
)

// manyConnections dials, sends a message over each connection of its own, and leaves all open.
func manyConnections(count int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		first, err := c.client(ctx)
		if err != nil {
			return nil, err
		}
		defer first.Close(context.WithoutCancel(ctx))
		const topic = "connections"
		if err := createTopic(ctx, first, client.TopicConfig{Name: topic, Partitions: 3, Queues: 2}); err != nil {
			return nil, err
		}
		n := l.count(count, 10)
		clients := make([]*client.Client, n)
		errs := make([]error, n)
		defer func() {
			for _, cl := range clients {
				if cl != nil {
					cl.Close(context.WithoutCancel(ctx))
				}
			}
		}()
		peak := watchAnon(c.pids)
		begin := time.Now()
		some := make(chan struct{}, 32)
		var wg sync.WaitGroup
		for i := range n {
			some <- struct{}{}
			wg.Go(func() {
				defer func() { <-some }()
				if clients[i], errs[i] = c.client(ctx); errs[i] != nil {
					return
				}
				p, err := clients[i].NewProducer("bench")
				if err != nil {
					errs[i] = err
					return
				}
				if _, err := p.Send(ctx, &client.Message{Topic: topic, Body: make([]byte, 1024)}); err != nil {
					errs[i] = err
				}
			})
		}
		wg.Wait()
		took := time.Since(begin)
		if err := errors.Join(errs...); err != nil {
			return nil, fmt.Errorf("%d connections: %w", n, err)
		}
		if f, err = idle(ctx, l.duration(10*time.Second), l.duration(10*time.Second), c.pids()); err != nil {
			return nil, err
		}
		f[anonPeak], f["opened_s"] = peak(), took.Seconds()
		return f, nil
	}
}

func connections() row {
	return row{
		name: "connections", work: "1,000 clients, each with connections of its own",
		sides: []side{{ours, manyConnections(1000)}},
		measures: []measure{
			{what: "RssAnon of a node, at most", of: figure(ours, anonPeak), unit: " MB"},
			{what: "RssAnon of a node when they are idle", of: figure(ours, rssAnon), unit: " MB"},
			{what: "idle, of one core, all nodes together", of: figure(ours, idleCPU), unit: " %"},
		},
	}
}
