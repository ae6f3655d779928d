package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

type benchFlags struct {
	size, inFlight, producers, rate, partitions, count int
	topic                                              string
	duration                                           time.Duration
	bounded                                            bool          // a send ends after count messages too
	delay                                              time.Duration // of what is sent
}

func benchCommand(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure and check: send, consume, filter, kinds, e2e, engine, failover, restart, files, disk"}
	var f benchFlags
	var profile string
	p := c.PersistentFlags()
	p.StringVar(&profile, "cpu-profile", "", "file for a profile of this process, the load")
	var profiled *os.File
	c.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if err := f.check(); err != nil {
			return exitError{exitUsage, err}
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(benchGC)
		}
		if profile == "" {
			return nil
		}
		if profiled, err = os.Create(profile); err != nil {
			return err
		}
		return pprof.StartCPUProfile(profiled)
	}
	c.PersistentPostRunE = func(*cobra.Command, []string) error {
		if profiled == nil {
			return nil
		}
		pprof.StopCPUProfile()
		return profiled.Close()
	}
	p.IntVar(&f.size, "size", 1024, "bytes of a message")
	p.IntVar(&f.inFlight, "in-flight", 64, "sends waiting for their answer, all producers together")
	p.IntVar(&f.producers, "producers", 1, "producers")
	p.IntVar(&f.rate, "rate", 0, "messages per second; 0: as fast as answers come")
	p.StringVar(&f.topic, "topic", "bench", "topic, created if need be")
	p.IntVar(&f.partitions, "partitions", 1, "partitions of the topic, if it is created")
	p.DurationVar(&f.duration, "duration", 10*time.Second, "how long")
	p.IntVar(&f.count, "count", 500_000, "messages to consume; if given, also most to send")
	send := &cobra.Command{Use: "send", Short: "Send as fast as answers come, or at --rate", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		f.bounded = cmd.Flags().Changed("count")
		return benchSend(cmd.Context(), g, f)
	}}
	send.Flags().DurationVar(&f.delay, "delay", 0, "how much later each message is to come")
	e2e := &cobra.Command{Use: "e2e", Short: "Send at --rate and time each message to its consumer", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return benchEndToEnd(cmd.Context(), g, f) }}
	e2e.Flags().DurationVar(&f.delay, "delay", 0, "how much later each message is to come; times count from then, and one that is early is an error")
	c.AddCommand(
		send,
		&cobra.Command{Use: "consume", Short: "Read a backlog of --count messages", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return benchConsume(cmd.Context(), g, f) }},
		&cobra.Command{Use: "filter", Short: "Read a backlog of --count messages without a filter, by tag and by SQL92", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return benchFilter(cmd.Context(), g, f) }},
		&cobra.Command{Use: "kinds", Short: "Send and consume messages of each kind in turns: plain, ordered, transactional, delayed, filtered", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("duration") {
				f.duration = kindDuration
			}
			return benchKinds(cmd.Context(), g, f)
		}},
		e2e,
		&cobra.Command{Use: "engine", Short: "Measure Raft and the write-ahead log alone, three replicas in this process", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return benchEngine(cmd.Context(), g, f) }},
		&cobra.Command{Use: "disk", Short: "Time the disk of the current directory: fdatasync of 4 KiB, synced writes of 1 MB", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return benchDisk(".") }},
		failoverCommand(g),
		restartCommand(),
		filesCommand(),
	)
	return c
}

// check refuses what nothing can be measured with.
func (f *benchFlags) check() error {
	for name, n := range map[string]int{"in-flight": f.inFlight, "producers": f.producers, "count": f.count} {
		if n < 1 {
			return fmt.Errorf("--%s %d: at least one", name, n)
		}
	}
	if f.size < 0 || f.rate < 0 || f.duration < 0 || f.delay < 0 {
		return errors.New("--size, --rate, --duration and --delay are not negative")
	}
	return nil
}

// benchGC has the load, which keeps little and makes much garbage, collect seldom.
const benchGC = 800

// quantile of a sorted list, in ms.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// prepare dials, makes the topic and warms it up.
func (f *benchFlags) prepare(ctx context.Context, g *globals) (*client.Client, error) {
	cl, err := g.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: f.topic, Partitions: f.partitions, Queues: 2})
	if err != nil && !errors.Is(err, client.ErrExists) {
		cl.Close(ctx)
		return nil, err
	}
	return cl, nil
}

func benchSend(ctx context.Context, g *globals, f benchFlags) error {
	cl, err := f.prepare(ctx, g)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	var producers []*client.Producer
	for range f.producers {
		p, err := cl.NewProducer("bench")
		if err != nil {
			return err
		}
		defer p.Close(context.WithoutCancel(ctx))
		producers = append(producers, p)
	}
	m, err := beginMeter(".")
	if err != nil {
		return err
	}
	body := make([]byte, f.size)
	for i := range body {
		body[i] = byte('a' + i%26)
	}
	l := &sendSlots{f: f, producers: producers, body: body, lat: make([][]float64, f.inFlight), begin: time.Now()}
	l.end = l.begin.Add(f.duration)
	for w := range f.inFlight {
		l.open.Add(1)
		if f.rate > 0 {
			go l.paced(ctx, w)
		} else {
			l.next(ctx, w)
		}
	}
	l.open.Wait()
	r := m.end(slices.Concat(l.lat...), time.Since(l.begin), f.size)
	r.Errors, r.Unknown = l.failed.Load(), l.unknown.Load()
	return r.print(g.output, fmt.Sprintf("%d in flight, %d bytes, acknowledged by a majority after fdatasync", f.inFlight, f.size))
}

func benchConsume(ctx context.Context, g *globals, f benchFlags) error {
	cl, err := f.prepare(ctx, g)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	stats, err := cl.Admin().TopicStats(ctx, f.topic)
	if err != nil {
		return err
	}
	var there int64
	for _, q := range stats {
		there += q.Max - q.Min
	}
	if there < int64(f.count) {
		p, err := cl.NewProducer("bench")
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "filling %d messages of %d bytes\n", int64(f.count)-there, f.size)
		s := sender{p: p, ctx: ctx}
		body := make([]byte, f.size)
		for range int64(f.count) - there {
			s.send(&client.Message{Topic: f.topic, Body: body})
		}
		s.wg.Wait()
		if s.err != nil {
			return s.err
		}
		if err := p.Close(ctx); err != nil {
			return err
		}
	}
	m, err := beginMeter(".")
	if err != nil {
		return err
	}
	cons, err := cl.NewConsumer(fmt.Sprintf("bench-%d", time.Now().UnixNano()), client.WithPrefetch(20_000, 64<<20))
	if err != nil {
		return err
	}
	if err := cons.Subscribe(f.topic, client.All()); err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	var n atomic.Int64
	var last atomic.Int64
	begun := time.Now() // joining the group counts
	err = cons.RunBatch(run, 256, func(_ context.Context, ds []*client.Delivery) []error {
		if n.Add(int64(len(ds))) >= int64(f.count) {
			last.CompareAndSwap(0, time.Now().UnixNano())
			stop()
		}
		return make([]error, len(ds))
	})
	if err == nil && n.Load() < int64(f.count) { // it was told to end before they could come
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	took := time.Unix(0, last.Load()).Sub(begun)
	r := m.end(nil, took, f.size)
	r.MsgsPerS, r.Sent = float64(n.Load())/took.Seconds(), n.Load()
	r.MBPerS = r.MsgsPerS * float64(f.size) / 1e6
	return r.print(g.output, fmt.Sprintf("backlog of %d messages of %d bytes read", f.count, f.size))
}
