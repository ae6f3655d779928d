package main

import (
	"context"
	"errors"
	"strconv"
	"time"
)

const (
	endToEndRate = 1000
	endToEndTime = 30 * time.Second
)

func endToEndFlags(l *lab, d time.Duration) []string {
	return []string{"e2e", "--rate", strconv.Itoa(endToEndRate), "--duration", l.duration(d).String()}
}

func endToEndRaftmq(ctx context.Context, l *lab) (f figures, err error) {
	c, err := startRaftmq(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if _, err := c.bench(ctx, endToEndFlags(l, warming)...); err != nil {
		return nil, err
	}
	if f, err = c.bench(ctx, endToEndFlags(l, endToEndTime)...); err != nil {
		return nil, err
	}
	return f.sure()
}

func endToEndNATS(ctx context.Context, l *lab) (f figures, err error) {
	c, err := startNATS(ctx, l, natsOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if _, err := c.load(ctx, endToEndFlags(l, warming)...); err != nil {
		return nil, err
	}
	return c.load(ctx, endToEndFlags(l, endToEndTime)...)
}

func endToEnd() row {
	return row{
		name: "e2e", work: "fixed 1,000/s, end to end to a consumer",
		sides: []side{{ours, endToEndRaftmq}, {theirs, endToEndNATS}},
		measures: []measure{
			{what: "p50", of: figure(ours, p50), must: 1.8, goal: 0.7, less: true, unit: " ms"},
			{what: "p99", of: figure(ours, p99), must: 10, goal: 4, less: true, unit: " ms"},
		},
	}
}
