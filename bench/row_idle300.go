package main

import (
	"context"
	"errors"
	"time"
)

const (
	idleSettle = 30 * time.Second
	idleWatch  = 30 * time.Second
)

func idleRaftmq(partitions int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		cl, err := c.client(ctx)
		if err != nil {
			return nil, err
		}
		defer cl.Close(context.WithoutCancel(ctx))
		if err := c.createPartitions(ctx, cl, l.count(partitions, 6)); err != nil {
			return nil, err
		}
		return idle(ctx, l.duration(idleSettle), l.duration(idleWatch), c.pids())
	}
}

func idleNATS(streams int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startNATS(ctx, l, natsOptions{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		nc, js, err := dialNATS(c.urls())
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		o := natsLoad{streams: l.count(streams, 6)}
		if err := o.streamsUp(ctx, js); err != nil {
			return nil, err
		}
		return idle(ctx, l.duration(idleSettle), l.duration(idleWatch), c.pids())
	}
}

func idle300() row {
	return row{
		name: "idle300", work: "300 idle partitions, replication 3",
		sides: []side{{ours, idleRaftmq(300)}, {theirs, idleNATS(300)}},
		measures: []measure{
			{what: "of one core, all nodes together", of: figure(ours, idleCPU), must: 15, goal: 8, less: true, unit: " %"},
			{what: "RssAnon of a node", of: figure(ours, rssAnon), must: 150, goal: 100, less: true, unit: " MB"},
		},
	}
}
