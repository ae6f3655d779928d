package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// anonPeak is the largest RssAnon of a node while something was done.
const anonPeak = "rss_anon_peak_mb"

// timersLimit is how long filling may take.
const timersLimit = time.Hour

func manyTimers(count int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		messages := l.count(count, 1000)
		peak := watchAnon(c.pids)
		f, err = c.bench(ctx, "send", "--partitions", "3", "--in-flight", "1024", "--size", "100", "--delay", "240h",
			"--count", strconv.Itoa(messages), "--duration", timersLimit.String())
		most := peak()
		if err != nil {
			return nil, err
		}
		if f[sentCount] < float64(messages) {
			return nil, fmt.Errorf("%.0f of %d messages were sent within %v", f[sentCount], messages, timersLimit)
		}
		f[anonPeak], f[rssAnon] = most, mostAnon(c.pids())
		return f.sure()
	}
}

func timers() row {
	return row{
		name: "timers", work: "10 million timers", rounds: 1,
		sides: []side{{ours, manyTimers(10_000_000)}},
		measures: []measure{
			{what: "RssAnon of a node, at most", of: figure(ours, anonPeak), unit: " MB"},
			{what: "RssAnon of a node, at the end", of: figure(ours, rssAnon), unit: " MB"},
			{what: "messages with a delay, a second", of: figure(ours, rate), unit: "/s"},
		},
	}
}
