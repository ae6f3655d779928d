package main

import (
	"context"
	"errors"
	"strconv"
)

// longLog fills 300 partitions, then kills and restarts each node once; "raftmq bench restart" counts what is there at the end.
func longLog(bytes int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l, "--", "--log-level", "warn")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		peak := watchAnon(c.pidsNow)
		b, err := c.l.output(ctx, nil, l.program, "bench", "restart", "--data", c.dir, "--size", strconv.Itoa(l.count(bytes, 1<<20)),
			"--partitions", strconv.Itoa(l.count(300, 6)), "--restarts", "3")
		most := peak()
		if err != nil {
			return nil, err
		}
		if f, err = parseFigures(b); err != nil {
			return nil, err
		}
		f[anonPeak], f[rssAnon] = most, mostAnon(c.pidsNow())
		return f, nil
	}
}

func log5GB() row {
	return row{
		name: "log5gb", work: "5 GB of log a node, 300 partitions", rounds: 1,
		sides: []side{{ours, longLog(5e9)}},
		measures: []measure{
			{what: "RssAnon of a node, at most", of: figure(ours, anonPeak), unit: " MB"},
			{what: "RssAnon of a node, at the end", of: figure(ours, rssAnon), unit: " MB"},
			{what: "a killed node is ready after, at most", of: figure(ours, "ready_max_ms"), unit: " ms"},
		},
	}
}
