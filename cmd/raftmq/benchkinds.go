package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
)

const (
	// kindRounds is how often each kind has its turn; the medians count.
	kindRounds = 3
	// kindDuration is --duration unless given.
	kindDuration = 3 * time.Second
	// kindDelay is what delayed messages wait.
	kindDelay = time.Second
	// kindDrain bounds how long the last messages of a turn may take.
	kindDrain = time.Minute
)

// messageKind is a way to send and to consume.
type messageKind struct {
	name     string
	change   func(m *client.Message, i int64) // of a plain message
	inTx     bool
	filter   client.Filter
	consumer []client.ConsumerOption
}

var messageKinds = []messageKind{
	{name: "plain"},
	{name: "ordered", change: func(m *client.Message, i int64) { m.OrderKey = strconv.FormatInt(i%1024, 10) }, consumer: []client.ConsumerOption{client.WithOrder()}},
	{name: "transactional", inTx: true},
	{name: "delayed", change: func(m *client.Message, _ int64) { m.Delay = kindDelay }},
	{name: "tag filter", change: func(m *client.Message, i int64) { m.Tag = "t" + strconv.FormatInt(i%4, 10) }, filter: client.Tags("t0", "t1", "t2", "t3")},
	{name: "SQL filter", change: func(m *client.Message, i int64) {
		m.Properties = map[string]string{"n": strconv.FormatInt(i, 10), "region": []string{"eu", "us"}[i%2]}
	}, filter: client.SQL("n >= 0 AND region IN ('eu', 'us')")},
}

// kindRow is what a kind's turns gave. A consumer runs beside the sends.
type kindRow struct {
	Kind         string  `json:"kind"`
	Sent         int64   `json:"sent"`          // acknowledged, in all turns
	SentPerS     float64 `json:"sent_per_s"`    // acknowledged; of a transaction, also committed
	SentRatio    float64 `json:"sent_ratio"`    // to the first row
	HandledPerS  float64 `json:"handled_per_s"` // from the first that was handled to the last
	HandledRatio float64 `json:"handled_ratio"` // to the first row
	sent         []float64
	handled      []float64
}

// benchKinds sends and consumes messages of each kind, in turns.
func benchKinds(ctx context.Context, g *globals, f benchFlags) error {
	cl, err := g.dial(ctx)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	m, err := beginMeter(".")
	if err != nil {
		return err
	}
	begun := time.Now()
	rows := make([]*kindRow, len(messageKinds))
	for round := range kindRounds {
		for i, k := range messageKinds {
			if round == 0 {
				rows[i] = &kindRow{Kind: k.name}
			}
			f.topic = fmt.Sprintf("bench-kinds-%d-%d-%s", begun.Unix(), round, strings.ReplaceAll(k.name, " ", "-"))
			if err := rows[i].turn(ctx, cl, k, f); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	out := table{header: []string{"KIND", "SENT/S", "RATIO", "HANDLED/S", "RATIO"}}
	for _, r := range rows {
		r.SentPerS, r.HandledPerS = median(r.sent), median(r.handled)
		r.SentRatio, r.HandledRatio = r.SentPerS/rows[0].SentPerS, r.HandledPerS/rows[0].HandledPerS
		out.add(r, r.Kind, fmt.Sprintf("%.0f", r.SentPerS), fmt.Sprintf("%.2f", r.SentRatio), fmt.Sprintf("%.0f", r.HandledPerS), fmt.Sprintf("%.2f", r.HandledRatio))
	}
	if err := out.print(g.output); err != nil || g.output != "table" {
		return err
	}
	r := m.end(nil, time.Since(begun), f.size)
	fmt.Printf("%d in flight, %d bytes, medians of %d turns of %v; fdatasync p50 %.3f ms; load %.1f, steal %.1f %%\n", f.inFlight, f.size, kindRounds, f.duration, r.Fdatasync, r.Load, r.Steal)
	return nil
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// turn sends messages of a kind for a while, to a topic of its own, and waits until all
// are handled.
func (row *kindRow) turn(ctx context.Context, cl *client.Client, k messageKind, f benchFlags) (err error) {
	admin := cl.Admin()
	if err := admin.CreateTopic(ctx, client.TopicConfig{Name: f.topic, Partitions: f.partitions, Queues: 2}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.DeleteTopic(context.WithoutCancel(ctx), f.topic)) }()
	var acked, handled, first, last atomic.Int64
	cons, err := cl.NewConsumer(f.topic, append(k.consumer, client.WithPrefetch(20_000, 64<<20))...)
	if err != nil {
		return err
	}
	if err := cons.Subscribe(f.topic, k.filter); err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cons.RunBatch(run, 256, func(_ context.Context, ds []*client.Delivery) []error {
			now := time.Now().UnixNano()
			first.CompareAndSwap(0, now)
			for at := last.Load(); at < now && !last.CompareAndSwap(at, now); at = last.Load() {
			}
			handled.Add(int64(len(ds)))
			return nil
		})
	}()
	for cons.Stats().Queues < 2*f.partitions {
		select {
		case err := <-ended: // it is refused
			return errors.Join(err, ctx.Err())
		default:
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	took, err := k.send(ctx, cl, f, &acked)
	if err != nil {
		return err
	}
	for until := time.Now().Add(kindDrain); handled.Load() < acked.Load(); {
		if time.Now().After(until) {
			return exitError{exitCheck, fmt.Errorf("%d of %d messages were handled", handled.Load(), acked.Load())}
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	row.Sent += acked.Load()
	row.sent = append(row.sent, float64(acked.Load())/took.Seconds())
	row.handled = append(row.handled, float64(handled.Load())/time.Duration(last.Load()-first.Load()).Seconds())
	return nil
}

// send sends messages of the kind, so many in flight, and says how long it took.
func (k *messageKind) send(ctx context.Context, cl *client.Client, f benchFlags, acked *atomic.Int64) (time.Duration, error) {
	p, err := cl.NewProducer("bench-kinds")
	if err != nil {
		return 0, err
	}
	defer p.Close(context.WithoutCancel(ctx))
	tx, err := cl.NewTransactionProducer("bench-kinds-tx", func(context.Context, client.Transaction) client.Verdict { return client.Commit })
	if err != nil {
		return 0, err
	}
	defer tx.Close(context.WithoutCancel(ctx))
	body := []byte(strings.Repeat("x", f.size))
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	begin := time.Now()
	for range f.inFlight {
		wg.Go(func() {
			for ctx.Err() == nil && time.Since(begin) < f.duration {
				m := &client.Message{Topic: f.topic, Body: body}
				if k.change != nil {
					k.change(m, next.Add(1))
				}
				var err error
				if k.inTx {
					_, err = tx.Send(ctx, m, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Commit, nil })
				} else {
					_, err = p.Send(ctx, m)
				}
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				acked.Add(1)
			}
		})
	}
	wg.Wait()
	return time.Since(begin), errors.Join(failed, ctx.Err())
}
