package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
)

// endToEndRate is --rate unless given.
const endToEndRate = 1000

// benchEndToEnd sends at a fixed rate and times each message from when it was due
// to its handler in a consumer of this process; with --delay, from when it was to come, and one that is early is an error.
func benchEndToEnd(ctx context.Context, g *globals, f benchFlags) error {
	if f.rate == 0 {
		f.rate = endToEndRate
	}
	if f.size < 8 {
		return exitError{exitUsage, errors.New("--size: at least 8, a message carries its time")}
	}
	cl, err := f.prepare(ctx, g)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	p, err := cl.NewProducer("bench")
	if err != nil {
		return err
	}
	defer p.Close(context.WithoutCancel(ctx))
	cons, err := cl.NewConsumer(fmt.Sprintf("bench-%d", time.Now().UnixNano()), client.WithStartAt(client.Latest()))
	if err != nil {
		return err
	}
	if err := cons.Subscribe(f.topic, client.All()); err != nil {
		return err
	}
	var mu sync.Mutex
	var latencies []float64
	var begin atomic.Int64 // ns; 0 while warming up
	var early atomic.Int64
	warm := make(chan struct{}, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	consumed := make(chan error, 1)
	go func() {
		consumed <- cons.Run(run, func(_ context.Context, d *client.Delivery) error {
			now := time.Now().UnixNano()
			if len(d.Body) != f.size {
				return nil // of an earlier run
			}
			due := int64(binary.BigEndian.Uint64(d.Body))
			if b := begin.Load(); b == 0 || due < b {
				select {
				case warm <- struct{}{}:
				default:
				}
				return nil
			}
			late := time.Duration(now-due) - f.delay
			if late < 0 {
				early.Add(1)
			}
			mu.Lock()
			latencies = append(latencies, float64(late)/1e6)
			mu.Unlock()
			return nil
		})
	}()
	send := func(due time.Time, delay time.Duration, note func(client.Receipt, error)) error {
		body := make([]byte, f.size)
		binary.BigEndian.PutUint64(body, uint64(due.UnixNano()))
		m := client.Message{Topic: f.topic, Body: body}
		if delay > 0 {
			m.DeliverAt = due.Add(delay)
		}
		return p.SendAsync(ctx, &m, note)
	}
	for ready := false; !ready; { // the group gives out its queues
		if err := send(time.Now(), 0, func(client.Receipt, error) {}); err != nil {
			return err
		}
		select {
		case <-warm:
			ready = true
		case <-time.After(200 * time.Millisecond):
		case err := <-consumed:
			return err
		}
	}
	m, err := beginMeter(".")
	if err != nil {
		return err
	}
	start := time.Now()
	begin.Store(start.UnixNano())
	var sent, failed, unknown atomic.Int64
	var wg sync.WaitGroup
	n := int(f.duration.Seconds() * float64(f.rate))
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(f.rate))
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		wg.Add(1)
		note := func(_ client.Receipt, err error) {
			defer wg.Done()
			switch {
			case err == nil:
				sent.Add(1)
			case errors.Is(err, client.ErrUncertain):
				unknown.Add(1)
			default:
				failed.Add(1)
			}
		}
		if err := send(due, f.delay, note); err != nil {
			note(client.Receipt{}, err)
		}
	}
	wg.Wait()
	took := time.Since(start)
	for wait := time.Now(); time.Since(wait) < f.delay+10*time.Second; { // what is on its way
		mu.Lock()
		arrived := int64(len(latencies))
		mu.Unlock()
		if arrived >= sent.Load() {
			break
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	stop()
	if err := <-consumed; err != nil {
		return err
	}
	r := m.end(latencies, took, f.size)
	r.Errors, r.Unknown = failed.Load()+early.Load(), unknown.Load()
	what := "from sender to consumer"
	if f.delay > 0 {
		what = fmt.Sprintf("later than their time, which is %v after they are sent", f.delay)
	}
	return r.print(g.output, fmt.Sprintf("%s, %d a second, %d bytes", what, f.rate, f.size))
}
