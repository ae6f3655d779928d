package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// failoverResult is what bench failover prints.
type failoverResult struct {
	Gaps       []float64 `json:"gaps_ms"` // of each fault: the longest time without an acknowledgement
	Median     float64   `json:"gap_p50_ms"`
	Sent       int64     `json:"sent"`
	Lost       int64     `json:"lost"`       // acknowledged and not in the log
	Duplicates int64     `json:"duplicates"` // more than once in the log
	Disorder   int64     `json:"disorder"`   // of one sender in one queue, out of order
	Unknown    int64     `json:"unknown"`
	Errors     int64     `json:"errors"`
	Digests    bool      `json:"digests_equal"` // of all replicas, at the end
}

// check is nil if what was acknowledged held, and there was something.
func (r *failoverResult) check() error {
	switch {
	case r.Lost+r.Duplicates+r.Disorder > 0 || !r.Digests:
		return exitError{exitCheck, errors.New("what was acknowledged did not hold")}
	case r.Sent == 0:
		return exitError{exitCheck, errors.New("nothing was acknowledged")}
	}
	return nil
}

func failoverCommand(g *globals) *cobra.Command {
	var dir, fault string
	var kills int
	c := &cobra.Command{
		Use: "failover", Short: "Kill or stop leaders under load and check what was acknowledged", Args: cobra.NoArgs,
		Long: `Sends from 16 senders to a topic of one partition, harms its leader again and again, and
reads the whole log at the end.

  --fault kill     kill -9, started again after 4 s
  --fault pause    SIGSTOP, continued after 6 s: longer than its lease, so that it wakes
                   deposed and does not know
  --fault suffix   the followers are stopped, so that the leader's log grows entries that
                   nobody else has; then it is stopped and they go on without it; at last
                   it is continued and must replace these entries by the others'
  --fault wipe     kill -9, its data folder deleted, started again after 4 s: it is
                   replaced by another incarnation, which catches up and then votes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			hurt, ok := faults[fault]
			if !ok {
				return exitError{exitUsage, fmt.Errorf("--fault %q: want kill, pause, suffix or wipe", fault)}
			}
			if dir == "" {
				own, stop, err := startDev()
				if err != nil {
					return err
				}
				defer stop()
				dir = own
			}
			r, err := failover(ctx, dir, kills, hurt)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
			return r.check()
		},
	}
	c.Flags().StringVar(&dir, "data", "", "directory of a running dev cluster (default: one of its own)")
	c.Flags().IntVar(&kills, "kills", 10, "how often")
	c.Flags().StringVar(&fault, "fault", "kill", "what happens to the leader: kill, pause, suffix or wipe")
	c.RegisterFlagCompletionFunc("fault", completeWith("kill", "pause", "suffix", "wipe"))
	return c
}

const failoverSenders = 16

func failover(ctx context.Context, dir string, kills int, hurt fault) (*failoverResult, error) {
	d, cl, err := openCluster(ctx, dir)
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
		leader, others, err := leaderOf(d, topic)
		if err != nil {
			return nil, err
		}
		from := time.Now()
		mend, err := hurt(ctx, dir, leader, others)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		gap := longest(acks, from)
		mu.Unlock()
		r.Gaps = append(r.Gaps, gap)
		fmt.Fprintf(os.Stderr, "%d: %s, gap %.0f ms\n", k+1, leader, gap)
		if err := mend(); err != nil {
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
	if err := r.judge(ctx, cl, topic, acked); err != nil {
		return nil, err
	}
	r.Digests, err = digestsAgree(ctx, d, topic)
	return &r, err
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
