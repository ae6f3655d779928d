package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// restartResult is what bench restart prints.
type restartResult struct {
	Ready      []float64 `json:"ready_ms"` // of each restart: from the start of the process until /readyz answers 200
	Median     float64   `json:"ready_p50_ms"`
	Max        float64   `json:"ready_max_ms"`
	Partitions int       `json:"partitions"`
	Log        int64     `json:"log_bytes"` // of commit logs, on the first node that was killed
	WAL        int64     `json:"wal_bytes"` // of its write-ahead log's files
	Sent       int64     `json:"sent"`
	Lost       int64     `json:"lost"` // acknowledged and not counted by its queue
	Unknown    int64     `json:"unknown"`
	Errors     int64     `json:"errors"`
}

// byteSize is a flag of bytes, like 64KiB, 5GB or 1048576.
type byteSize int64

var byteUnits = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

func (s *byteSize) String() string {
	for _, u := range []int{5, 4, 3} {
		if b := byteUnits[u]; *s != 0 && int64(*s)%b.bytes == 0 {
			return strconv.FormatInt(int64(*s)/b.bytes, 10) + b.name
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (s *byteSize) Set(v string) error {
	digits, unit := v, int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(v, u.name); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<50/unit {
		return fmt.Errorf("%q: want a number of bytes, with KB, MB, GB, KiB, MiB or GiB behind it if you like", v)
	}
	*s = byteSize(n * unit)
	return nil
}

func (s *byteSize) Type() string { return "bytes" }

// restartLoad is what bench restart fills its cluster with.
type restartLoad struct {
	bytes      byteSize // of bodies, all partitions together
	body       byteSize
	partitions int
	restarts   int
	within     time.Duration // 0: whatever it takes
}

// Bounds of one run: this is as much as fits on a usual disk three times.
const (
	maxRestartBytes      = 20e9
	maxRestartPartitions = 3000
)

func (l restartLoad) check() error {
	switch {
	case l.bytes < 0 || l.bytes > maxRestartBytes:
		return fmt.Errorf("--size %s: at most %.0f bytes", &l.bytes, maxRestartBytes)
	case l.body < 1 || l.body > 1<<20:
		return fmt.Errorf("--message-size %s: 1 byte to 1 MiB", &l.body)
	case l.partitions < 1 || l.partitions > maxRestartPartitions:
		return fmt.Errorf("--partitions %d: 1 to %d", l.partitions, maxRestartPartitions)
	case l.restarts < 1:
		return fmt.Errorf("--restarts %d: at least one", l.restarts)
	}
	return nil
}

func restartCommand() *cobra.Command {
	var dir string
	l := restartLoad{bytes: 5e9, body: 64 << 10}
	c := &cobra.Command{
		Use: "restart", Short: "Kill nodes that hold much with -9 and time how long they take to be ready", Args: cobra.NoArgs,
		Long: `Runs a cluster of its own, fills --partitions with --size of messages, and then, again and again, kills
a node with -9, sends something that it must catch up with, starts it and waits until /readyz answers 200. At the end
every queue is asked how many messages it holds. The data of a
cluster of its own is deleted. The page cache is warm.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.check(); err != nil {
				return exitError{exitUsage, err}
			}
			if dir == "" {
				own, stop, err := startDev("--log-level", "warn")
				if err != nil {
					return err
				}
				defer stop()
				dir = own
			}
			r, err := benchRestart(cmd.Context(), dir, l)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
			if r.Lost > 0 {
				return exitError{exitCheck, errors.New("what was acknowledged did not hold")}
			}
			if limit := float64(l.within.Microseconds()) / 1000; limit > 0 && r.Max > limit {
				return exitError{exitCheck, fmt.Errorf("a node took %.0f ms to be ready, more than %v", r.Max, l.within)}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "data", "", "directory of a running dev cluster, which keeps the data (default: one of its own)")
	c.Flags().Var(&l.bytes, "size", "bytes of messages on each node")
	c.Flags().Var(&l.body, "message-size", "bytes of a message")
	c.Flags().IntVar(&l.partitions, "partitions", 300, "how many, on each node")
	c.Flags().IntVar(&l.restarts, "restarts", 5, "how often")
	c.Flags().DurationVar(&l.within, "within", 0, "fail if a restart takes longer; 0: never")
	return c
}

func benchRestart(ctx context.Context, dir string, l restartLoad) (*restartResult, error) {
	d, cl, err := openCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		cl.Close(brief)
	}()
	topics, err := l.topics(ctx, d, cl)
	if err != nil {
		return nil, err
	}
	p, err := cl.NewProducer("restart", client.WithSendTimeout(time.Minute))
	if err != nil {
		return nil, err
	}
	s := sender{p: p, ctx: ctx}
	body := make([]byte, l.body)
	send := func(n int64) error {
		for i := range n {
			s.send(&client.Message{Topic: topics[i%int64(len(topics))], Body: body})
		}
		ended := make(chan struct{})
		go func() { // ends with the sends, a minute after ctx at the latest
			s.wg.Wait()
			close(ended)
		}()
		select {
		case <-ended:
			return s.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	begun := time.Now()
	if err := send(int64(l.bytes) / int64(l.body)); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%d messages in %d topics after %v\n", s.stored.Load(), len(topics), time.Since(begun).Round(time.Second))
	r := &restartResult{Partitions: l.partitions}
	for k := range l.restarts {
		x := d.Nodes[k%len(d.Nodes)]
		if err := tellDev(ctx, dir, "kill", x.Name); err != nil {
			return nil, err
		}
		if k == 0 {
			if r.Log, r.WAL, err = nodeBytes(x.Data); err != nil {
				return nil, err
			}
		}
		if err := send(int64(l.partitions)); err != nil { // missed by x
			return nil, err
		}
		from := time.Now()
		if err := tellDev(ctx, dir, "restart", x.Name); err != nil {
			return nil, err
		}
		took := float64(time.Since(from).Microseconds()) / 1000
		r.Ready = append(r.Ready, took)
		fmt.Fprintf(os.Stderr, "%d: %s, ready after %.0f ms\n", k+1, x.Name, took)
		if _, err := readCluster(ctx, dir); err != nil { // the others, whose leaders moved
			return nil, err
		}
	}
	if err := p.Close(ctx); err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(r.Ready))
	r.Median, r.Max = quantile(sorted, 0.5), sorted[len(sorted)-1]
	r.Sent, r.Unknown, r.Errors = s.stored.Load(), s.unknown.Load(), s.failed.Load()
	held, err := countMessages(ctx, cl, topics)
	r.Lost = max(0, r.Sent-held)
	return r, err
}

// topics makes as many as it takes to have the partitions, several at once.
func (l restartLoad) topics(ctx context.Context, d *devCluster, cl *client.Client) ([]string, error) {
	each := len(d.Nodes[0].Listeners)
	var names []string
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	some := make(chan struct{}, 8)
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for left := l.partitions; left > 0; left -= each {
		name := fmt.Sprintf("restart-%s-%04d", run, len(names))
		names = append(names, name)
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			err := cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Partitions: min(left, each), Queues: 1})
			for again := 0; err != nil && !errors.Is(err, client.ErrExists) && again < 20 && ctx.Err() == nil; again++ { // leaders may be late
				sleep(ctx, time.Second)
				err = cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: name, Partitions: min(left, each), Queues: 1})
			}
			if err != nil && !errors.Is(err, client.ErrExists) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	_, err := readCluster(ctx, d.dirOf()) // all have leaders
	return names, err
}

// dirOf is the directory that a dev cluster runs on, by its first node's.
func (d *devCluster) dirOf() string { return filepath.Dir(d.Nodes[0].Data) }

func countMessages(ctx context.Context, cl *client.Client, topics []string) (n int64, err error) {
	for _, t := range topics {
		stats, err := cl.Admin().TopicStats(ctx, t)
		if err != nil {
			return 0, err
		}
		for _, q := range stats {
			n += q.Max - q.Min
		}
	}
	return n, nil
}

// nodeBytes is what the files of a stopped node take: commit logs, write-ahead log.
func nodeBytes(data string) (log, wal int64, err error) {
	err = filepath.WalkDir(data, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch filepath.Ext(name) {
		case ".log":
			log += info.Size()
		case ".wal":
			wal += info.Size()
		}
		return nil
	})
	return log, wal, err
}

// failure is why something was not stored, or may not be; nil: all is.
func (s *sender) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
