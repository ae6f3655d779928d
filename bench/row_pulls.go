package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/client"
	"raftmq/remoting"
)

const (
	pullTopic       = "pulls"
	pullConnections = 100
	// pullHold is how long a node may hold one, the most that it does.
	pullHold = time.Minute
	// wakeTime is from the send of one message until each held pull is answered with it.
	wakeTime = "wake_ms"
)

// heldPulls has the leader of a queue hold many pulls, over 100 connections, and then sends one message.
func heldPulls(count int) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		cl, err := c.client(ctx)
		if err != nil {
			return nil, err
		}
		defer cl.Close(context.WithoutCancel(ctx))
		if err := createTopic(ctx, cl, client.TopicConfig{Name: pullTopic, Partitions: 1, Queues: 1}); err != nil {
			return nil, err
		}
		p, err := cl.NewProducer("bench")
		if err != nil {
			return nil, err
		}
		defer p.Close(context.WithoutCancel(ctx))
		first, err := p.Send(ctx, &client.Message{Topic: pullTopic, Body: []byte("first")})
		if err != nil {
			return nil, err
		}
		addr, err := c.listener(ctx)
		if err != nil {
			return nil, err
		}
		pulls := l.count(count, 100)
		peak := watchAnon(c.pids)
		h := holding{addr: addr, offset: first.Offset + 1}
		ended := make(chan error, 1)
		go func() { ended <- h.pull(ctx, pulls) }()
		if err := sleep(ctx, l.duration(10*time.Second)); err != nil {
			return nil, err
		}
		f = figures{rssAnon: mostAnon(c.pids()), "held": float64(h.asked.Load() - h.answered.Load())}
		begin := time.Now()
		if _, err := p.Send(ctx, &client.Message{Topic: pullTopic, Body: []byte("second")}); err != nil {
			return nil, err
		}
		if err := <-ended; err != nil {
			return nil, err
		}
		f[wakeTime] = float64(time.Since(begin).Microseconds()) / 1000
		f[anonPeak] = peak()
		if f["held"] < float64(pulls) {
			return nil, fmt.Errorf("%.0f of %d pulls were held", f["held"], pulls)
		}
		return f, nil
	}
}

// listener is the address of slot 0 at the node that leads the topic's partition there.
func (c *raftmqCluster) listener(ctx context.Context) (string, error) {
	for i := range c.nodes {
		states, err := c.nodes[i].partitions(ctx)
		if err != nil {
			return "", err
		}
		for _, p := range states {
			if p.Topic == pullTopic && p.State == "Leader" {
				return c.nodes[i].Listeners[p.Slot], nil
			}
		}
	}
	return "", errors.New("nobody leads the topic")
}

// holding is many pulls at the end of one queue.
type holding struct {
	addr            string
	offset          int64
	asked, answered atomic.Int64
}

// pull asks and returns when all are answered with a message.
func (h *holding) pull(ctx context.Context, n int) error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	fail := func(err error) {
		mu.Lock()
		errs = append(errs, err)
		mu.Unlock()
	}
	conns := min(pullConnections, n)
	for i := range conns {
		conn, err := remoting.Dial(ctx, h.addr, remoting.DialOptions{})
		if err != nil {
			return err
		}
		defer conn.Close()
		for range n/conns + (n%conns+conns-1-i)/conns {
			wg.Go(func() {
				h.asked.Add(1)
				r, err := conn.Call(ctx, remoting.NewRequest(remoting.PullMessage, &remoting.PullHeader{
					ConsumerGroup: "bench-pulls", Topic: pullTopic, QueueOffset: h.offset, MaxMsgNums: 32, SysFlag: remoting.PullSuspend | remoting.PullSubscription,
					SuspendTimeout: pullHold, Subscription: "*",
				}))
				h.answered.Add(1)
				if err != nil {
					fail(err)
				} else if r.Code != remoting.OK {
					fail(fmt.Errorf("pull: code %d: %s", r.Code, r.Remark))
				}
			})
		}
	}
	wg.Wait()
	return errors.Join(errs[:min(len(errs), 3)]...)
}

func pulls() row {
	return row{
		name: "pulls", work: "10,000 held pulls, one queue",
		sides: []side{{ours, heldPulls(10_000)}},
		measures: []measure{
			{what: "RssAnon of a node while it holds them", of: figure(ours, rssAnon), unit: " MB"},
			{what: "RssAnon of a node, at most", of: figure(ours, anonPeak), unit: " MB"},
			{what: "one message has answered them all after", of: figure(ours, wakeTime), unit: " ms"},
		},
	}
}
