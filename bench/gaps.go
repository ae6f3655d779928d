package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Figures of gaps: the client's time without an acknowledgement, for each fault.
const (
	gapMedian = "gap_p50_ms"
	gapSecond = "gap_second_ms" // the longest but one
	gapMost   = "gap_max_ms"
	gapFaults = "faults"
	gapAbove  = "gaps_above_500ms"
)

func gapFigures(gaps []float64) figures {
	s := slices.Sorted(slices.Values(gaps))
	if len(s) == 0 {
		return figures{}
	}
	above := 0
	for _, g := range s {
		if g > 500 {
			above++
		}
	}
	return figures{gapFaults: float64(len(s)), gapMedian: quantile(s, 0.5), gapSecond: s[max(0, len(s)-2)], gapMost: s[len(s)-1], gapAbove: float64(above)}
}

// gapsRaftmq has "raftmq bench failover" found a cluster, break its leaders, and judge what was acknowledged: a run in which
// anything was lost fails.
func gapsRaftmq(fault string, times int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (figures, error) {
		b, err := l.output(ctx, nil, l.program, "bench", "failover", "--fault", fault, "--kills", strconv.Itoa(l.count(times, 1)))
		if err != nil {
			return nil, err
		}
		var r struct {
			Gaps []float64 `json:"gaps_ms"`
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, err
		}
		return gapFigures(r.Gaps), nil
	}
}

func gapsNATS(hurt syscall.Signal, times int, atLeast time.Duration) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startNATS(ctx, l, natsOptions{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		gaps, err := hurtNATS(ctx, c, l.count(times, 1), hurt, atLeast)
		return gapFigures(gaps), err
	}
}
