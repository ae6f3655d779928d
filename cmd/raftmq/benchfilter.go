package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftmq/client"
)

// filterRounds is how often each filter reads the backlog; the median counts.
const filterRounds = 3

// filterRow is what reading the backlog by one filter gave.
type filterRow struct {
	Filter    string  `json:"filter"`
	Backlog   int     `json:"backlog"` // messages there
	Delivered int     `json:"delivered"`
	MsgsPerS  float64 `json:"msgs_per_s"` // of the backlog, delivered or not
	Ratio     float64 `json:"ratio"`      // to the first row
	rates     []float64
}

// benchFilter reads one backlog by several filters, in turns.
func benchFilter(ctx context.Context, g *globals, f benchFlags) error {
	if f.topic == "bench" {
		f.topic = "bench-filter"
	}
	cl, err := f.prepare(ctx, g)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	if err := f.fillTagged(ctx, cl); err != nil {
		return err
	}
	filters := []struct {
		name string
		is   client.Filter
	}{
		{"none", client.All()},
		{"tag, all match", client.Tags("t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9")},
		{"tag, a tenth matches", client.Tags("t7")},
		{"SQL92, all match", client.SQL("n >= 0 AND region IN ('eu', 'us') AND TAGS IS NOT NULL")},
		{"SQL92, a tenth matches", client.SQL("n >= 0 AND region IN ('eu', 'us') AND TAGS = 't7'")},
	}
	rows := make([]*filterRow, len(filters))
	for i, x := range filters {
		rows[i] = &filterRow{Filter: x.name, Backlog: f.count}
	}
	for range filterRounds {
		for i, x := range filters {
			if err := rows[i].read(ctx, cl, f.topic, x.is); err != nil {
				return err
			}
		}
	}
	out := table{header: []string{"FILTER", "BACKLOG", "DELIVERED", "MESSAGES/S", "RATIO"}}
	for _, r := range rows {
		slices.Sort(r.rates)
		r.MsgsPerS = r.rates[len(r.rates)/2]
		r.Ratio = r.MsgsPerS / rows[0].MsgsPerS
		out.add(r, r.Filter, r.Backlog, r.Delivered, fmt.Sprintf("%.0f", r.MsgsPerS), fmt.Sprintf("%.2f", r.Ratio))
	}
	return out.print(g.output)
}

// read reads the backlog once.
func (row *filterRow) read(ctx context.Context, cl *client.Client, topic string, only client.Filter) error {
	r, err := cl.NewReader(topic, client.FromFilter(only))
	if err != nil {
		return err
	}
	defer r.Close()
	row.Delivered = 0
	begun := time.Now()
	for _, err := range r.UntilEnd(ctx) {
		if err != nil {
			return err
		}
		row.Delivered++
	}
	row.rates = append(row.rates, float64(row.Backlog)/time.Since(begun).Seconds())
	return nil
}

// fillTagged makes the backlog: ten tags, a number and a region. The topic must hold
// nothing else.
func (f *benchFlags) fillTagged(ctx context.Context, cl *client.Client) error {
	stats, err := cl.Admin().TopicStats(ctx, f.topic)
	if err != nil {
		return err
	}
	there := 0
	for _, q := range stats {
		there += int(q.Max - q.Min)
	}
	if there > f.count {
		return exitError{exitUsage, fmt.Errorf("topic %s has %d messages: --count is to be as many, or --topic another", f.topic, there)}
	}
	if there == f.count {
		return nil
	}
	fmt.Fprintf(os.Stderr, "filling %d messages of %d bytes\n", f.count-there, f.size)
	p, err := cl.NewProducer("bench")
	if err != nil {
		return err
	}
	s := sender{p: p, ctx: ctx}
	body := []byte(strings.Repeat("x", f.size))
	for i := there; i < f.count; i++ {
		s.send(&client.Message{Topic: f.topic, Body: body, Tag: "t" + strconv.Itoa(i%10), Properties: map[string]string{"n": strconv.Itoa(i), "region": []string{"eu", "us"}[i%2]}})
	}
	s.wg.Wait()
	return errors.Join(s.err, p.Close(ctx))
}
