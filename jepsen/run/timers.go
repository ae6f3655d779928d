package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

var timersTopic = Topic{Name: "jepsen-timers", Partitions: partitions, Queues: 2}

// Delays of a run, and how long after the last fault it may take until none waits.
const (
	shortDelay, longDelay = time.Second, 10 * time.Second
	comesWithin           = 30 * time.Second
	settleEvery           = 500 * time.Millisecond // how often what is left is asked for
)

// timersLoad sends messages that are to come later, and takes some of them back.
var timersLoad = Workload{
	Name: "timers", Does: "messages that come after 1 to 10 s, by a delay, a level or a time; some are taken back",
	Proves: []string{"P12"}, Topics: []Topic{timersTopic},
	start: func(r *run, p *part) error {
		const clients = 6
		for i := range clients {
			name := fmt.Sprintf("timers-%d", i)
			cl, opts := r.clients[i%len(r.clients)], []client.ProducerOption{client.WithSendTimeout(patient)}
			if i%2 == 1 {
				opts = []client.ProducerOption{client.WithSendTimeout(impatient)}
			}
			if i%3 == 1 {
				cl = r.lossy[i%len(r.lossy)]
			}
			producer, err := cl.NewProducer("jepsen-timers", opts...)
			if err != nil {
				return err
			}
			d := &delayer{r: r, rng: r.o.Seed.Stream(name), client: cl, producer: producer, name: name}
			p.load(func(ctx context.Context) { d.run(ctx, newPace(p.rate/2, i, clients)) })
		}
		p.watch(func(ctx context.Context) error { r.readEach(ctx, "timers-reader", timersTopic); return nil })
		return nil
	},
	settle: func(ctx context.Context, r *run) error { return r.noneWaits(ctx, timersTopic) },
}

// delayer is one program that sends messages that are to come later.
type delayer struct {
	r        *run
	rng      *rand.Rand
	client   *client.Client
	producer *client.Producer
	name     string
	recalls  sync.WaitGroup
	recalled atomic.Int64 // names of processes
}

func (d *delayer) run(ctx context.Context, pace *pace) {
	on := context.WithoutCancel(ctx)
	for pace.next(ctx) {
		d.send(on)
	}
	d.recalls.Wait()
	end, cancel := context.WithTimeout(on, patient)
	defer cancel()
	d.producer.Close(end)
}

// send sends one, and has every third taken back after a while, at times too late.
func (d *delayer) send(ctx context.Context) {
	value := d.r.nextProcess() + "-0"
	m := dressed(timersTopic.Name, value, smallest+d.rng.IntN(1<<10))
	at := false
	wait := shortDelay + time.Duration(d.rng.Int64N(int64(longDelay-shortDelay)))
	switch d.rng.IntN(3) {
	case 0:
		m.Delay = wait.Truncate(time.Millisecond)
	case 1:
		m.DelayLevel = 1 + d.rng.IntN(3)
		wait = []time.Duration{time.Second, 5 * time.Second, 10 * time.Second}[m.DelayLevel-1]
	default:
		at = true
	}
	again, after := d.rng.IntN(3) == 0, time.Duration(d.rng.Int64N(int64(wait+wait/8)))
	op := history.Op{Process: d.name, Type: history.Invoke, F: history.Delay, Values: []string{value}, Wait: wait.Truncate(time.Millisecond).Nanoseconds()}
	d.r.history.Add(op)
	if at {
		m.DeliverAt = time.Now().Add(wait) // no sooner than the history has it
	}
	op.Values, op.Wait = nil, 0
	rec, err := d.producer.Send(ctx, m)
	op.Type, op.Error = outcome(err)
	d.r.history.Add(op)
	if err != nil || !again || rec.Recall == "" {
		return
	}
	d.recalls.Go(func() { // ends with the recall
		if sleep(ctx, after) {
			d.recall(ctx, value, rec.Recall)
		}
	})
}

// recall takes one back, and asks twice at times: the answers must agree.
func (d *delayer) recall(ctx context.Context, value, name string) {
	for range 1 + d.recalled.Load()%2 {
		op := history.Op{Process: fmt.Sprintf("%s/recall-%d", d.name, d.recalled.Add(1)), Type: history.Invoke, F: history.Recall, Values: []string{value}}
		d.r.history.Add(op)
		op.Values = nil
		try, cancel := context.WithTimeout(ctx, patient)
		err := d.client.Recall(try, name)
		cancel()
		switch {
		case err == nil:
			op.Type = history.OK
		case errors.Is(err, client.ErrTooLate):
			op.Type, op.Error = history.Fail, err.Error()
		default: // refused before it was looked at, or unknown
			op.Type, op.Error = history.Info, err.Error()
		}
		d.r.history.Add(op)
	}
}

// readEach is read with a line for each message as it comes, so that the line tells
// when.
func (r *run) readEach(ctx context.Context, process string, t Topic) {
	rd, err := r.clients[1].NewReader(t.Name, client.FromPosition(client.Earliest()))
	if err != nil {
		return // what is lost is found by the checker
	}
	defer rd.Close()
	for ctx.Err() == nil {
		for d, err := range rd.All(ctx) {
			if err != nil {
				break
			}
			op := history.Op{Process: process, F: history.Read, Type: history.Invoke}
			r.history.Add(op)
			op.Type, op.Messages = history.OK, []history.Message{{Queue: t.Queue(d.Queue), Offset: d.Offset, Value: valueOf(&d.Message)}}
			r.history.Add(op)
		}
		sleep(ctx, 20*time.Millisecond) // an error: go on after the last one read
	}
}

// noneWaits waits until none of a topic's messages waits for its time.
func (r *run) noneWaits(ctx context.Context, t Topic) error {
	for end := time.Now().Add(comesWithin); time.Now().Before(end); {
		if left, err := r.clients[0].Admin().Timers(ctx, t.Name, 1); err == nil && len(left) == 0 {
			return nil
		}
		if !sleep(ctx, settleEvery) {
			return ctx.Err()
		}
	}
	return nil // what has not come is for the checker to say
}
