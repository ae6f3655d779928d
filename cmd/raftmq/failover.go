package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/broker"
	"raftmq/client"
)

// failoverResult is what bench failover prints.
type failoverResult struct {
	Gaps       []float64 `json:"gaps_ms"` // of each kill: the longest time without an acknowledgement
	Median     float64   `json:"gap_p50_ms"`
	Sent       int64     `json:"sent"`
	Lost       int64     `json:"lost"`       // acknowledged and not in the log
	Duplicates int64     `json:"duplicates"` // more than once in the log
	Disorder   int64     `json:"disorder"`   // of one sender in one queue, out of order
	Unknown    int64     `json:"unknown"`
	Errors     int64     `json:"errors"`
}

func failoverCommand(g *globals) *cobra.Command {
	var dir string
	var kills int
	c := &cobra.Command{
		Use: "failover", Short: "Kill leaders with -9 under load and check what was acknowledged", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if dir == "" {
				own, stop, err := startDev(ctx)
				if err != nil {
					return err
				}
				defer stop()
				dir = own
			}
			r, err := failover(ctx, dir, kills)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
			if r.Lost+r.Duplicates+r.Disorder > 0 {
				return exitError{exitCheck, errors.New("what was acknowledged did not hold")}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "data", "", "directory of a running dev cluster (default: one of its own)")
	c.Flags().IntVar(&kills, "kills", 10, "how many leaders to kill")
	return c
}

// readCluster waits for a dev cluster that is ready.
func readCluster(ctx context.Context, dir string) (*devCluster, error) {
	for {
		var d devCluster
		b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
		if err == nil && json.Unmarshal(b, &d) == nil && len(d.Nodes) > 0 {
			ready := 0
			for _, n := range d.Nodes {
				if readyReason(ctx, n.HTTP) == "" {
					ready++
				}
			}
			if ready == len(d.Nodes) {
				return &d, nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("no cluster on %s became ready: %w", dir, ctx.Err())
		}
	}
}

// leads counts the partitions of topic that a node leads.
func leads(n *devNode, topic string) (int, error) {
	infos, err := partitionsOf(n)
	led := 0
	for _, p := range infos {
		if p.Topic == topic && p.State == "Leader" {
			led++
		}
	}
	return led, err
}

func partitionsOf(n *devNode) ([]broker.PartitionInfo, error) {
	c := http.Client{Timeout: 2 * time.Second}
	resp, err := c.Get("http://" + n.HTTP + "/debug/partitions")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var infos []broker.PartitionInfo
	return infos, json.NewDecoder(resp.Body).Decode(&infos)
}

const failoverSenders = 16

func failover(ctx context.Context, dir string, kills int) (*failoverResult, error) {
	wait, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	d, err := readCluster(wait, dir)
	if err != nil {
		return nil, err
	}
	var endpoints []string
	for _, n := range d.Nodes {
		endpoints = append(endpoints, n.NameServer)
	}
	cl, err := client.Dial(ctx, client.WithEndpoints(endpoints...))
	if err != nil {
		return nil, err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	topic := "failover-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic, Partitions: 1, Queues: 2}); err != nil {
		return nil, err
	}
	p, err := cl.NewProducer("failover", client.WithSendTimeout(20*time.Second))
	if err != nil {
		return nil, err
	}
	var r failoverResult
	var mu sync.Mutex
	acked := make(map[string]bool)
	var acks []time.Time
	load, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for w := range failoverSenders {
		wg.Go(func() {
			for i := 0; load.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				_, err := p.Send(ctx, &client.Message{Topic: topic, Body: []byte(id), OrderKey: strconv.Itoa(w)})
				mu.Lock()
				switch {
				case err == nil:
					acked[id] = true
					acks = append(acks, time.Now())
				case errors.Is(err, client.ErrUncertain):
					r.Unknown++
				default:
					r.Errors++
				}
				mu.Unlock()
				pause := time.NewTimer(time.Millisecond)
				select {
				case <-pause.C:
				case <-load.Done():
				}
			}
		})
	}
	for k := range kills {
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
		victim := -1
		for i, n := range d.Nodes {
			if led, err := leads(n, topic); err == nil && led > 0 {
				victim = i
			}
		}
		if victim < 0 {
			return nil, errors.New("nobody leads the topic")
		}
		name := d.Nodes[victim].Name
		from := time.Now()
		if err := tellDev(ctx, dir, "kill", name); err != nil {
			return nil, err
		}
		if err := sleep(ctx, 4*time.Second); err != nil {
			return nil, err
		}
		mu.Lock()
		gap := longest(acks, from)
		mu.Unlock()
		r.Gaps = append(r.Gaps, gap)
		fmt.Fprintf(os.Stderr, "kill %d: %s, gap %.0f ms\n", k+1, name, gap)
		if err := tellDev(ctx, dir, "restart", name); err != nil {
			return nil, err
		}
		if err := caughtUp(ctx, d, topic); err != nil {
			return nil, err
		}
	}
	stop()
	wg.Wait()
	if err := p.Close(ctx); err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(r.Gaps))
	r.Median = quantile(sorted, 0.5)
	r.Sent = int64(len(acked))
	return &r, r.judge(ctx, cl, topic, acked)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// longest is the longest time without an acknowledgement since from, in ms.
func longest(acks []time.Time, from time.Time) float64 {
	last, worst := from, time.Duration(0)
	for _, t := range acks {
		if t.After(from) {
			worst = max(worst, t.Sub(last))
			last = t
		}
	}
	return float64(max(worst, time.Since(last)).Microseconds()) / 1000
}

// caughtUp waits until all replicas of the topic have applied nearly the same.
func caughtUp(ctx context.Context, d *devCluster, topic string) error {
	for {
		var lo, hi uint64
		seen := 0
		for _, n := range d.Nodes {
			infos, err := partitionsOf(n)
			if err != nil {
				continue
			}
			for _, p := range infos {
				if p.Topic == topic {
					if seen == 0 || p.Applied < lo {
						lo = p.Applied
					}
					hi = max(hi, p.Applied)
					seen++
				}
			}
		}
		if seen == len(d.Nodes) && hi-lo < 1000 {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// judge reads the whole log and compares it with what was acknowledged.
func (r *failoverResult) judge(ctx context.Context, cl *client.Client, topic string, acked map[string]bool) error {
	rd, err := cl.NewReader(topic, client.FromPosition(client.Earliest()))
	if err != nil {
		return err
	}
	defer rd.Close()
	seen := make(map[string]int)
	last := make(map[string]int)
	for m, err := range rd.UntilEnd(ctx) {
		if err != nil {
			return err
		}
		id := string(m.Body)
		seen[id]++
		if seen[id] > 1 {
			r.Duplicates++
			continue
		}
		var w, i int
		if _, err := fmt.Sscanf(id, "%d-%d", &w, &i); err != nil {
			return fmt.Errorf("unexpected body %q", id)
		}
		key := fmt.Sprintf("%d/%s/%d", w, m.Broker, m.QueueID)
		if prev, ok := last[key]; ok && i < prev {
			r.Disorder++
		}
		last[key] = i
	}
	for id := range acked {
		if seen[id] == 0 {
			r.Lost++
		}
	}
	return nil
}
