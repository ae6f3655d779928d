package features

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

var beyond = []row{
	{name: "timers", about: "what is delayed comes once, and not early", test: delayedMessages, killed: true},
	{name: "groups", about: "settings of a group, and its end", test: groupSettings, killed: true},
}

func delayedMessages(w *world) {
	topic := w.topic(client.TopicConfig{Queues: 2})
	n, most := w.n(60, 1000), time.Duration(w.n(500, 30_000))*time.Millisecond
	var mu sync.Mutex
	due := make(map[string]time.Time)
	got := newSeen()
	w.consume(w.row, topic, func(_ context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		at, known := due[string(d.Body)]
		if now := time.Now(); known && now.Before(at) {
			w.Errorf("%s came %v early", d.Body, at.Sub(now))
		}
		got.note(string(d.Body))
		return nil
	})
	p := w.producer()
	var wg sync.WaitGroup
	for i := range n {
		body, delay := strconv.Itoa(i), most*time.Duration(i%10+1)/10
		mu.Lock()
		due[body] = time.Now().Add(delay) // counted from before it is sent
		mu.Unlock()
		wg.Add(1)
		require.NoError(w, p.SendAsync(w.ctx, &client.Message{Topic: topic, Body: []byte(body), Delay: delay}, func(_ client.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				w.Errorf("%s: %v", body, err)
			}
		}))
	}
	wg.Wait()
	w.until("all came", func() bool { return got.kinds() == n })
	bodies := w.bodies(topic)
	require.Len(w, bodies, n)
	for body, times := range bodies {
		require.Equal(w, 1, times, body)
	}
}

func groupSettings(w *world) {
	topic := w.topic(client.TopicConfig{Partitions: 1, Queues: 1})
	a := w.cl.Admin()
	done := func(what string, change func() error) {
		w.until(what, func() bool {
			err := change()
			if !w.full() {
				require.NoError(w, err)
			}
			return err == nil // else a node died
		})
	}
	done("a group", func() error { return a.CreateGroup(w.ctx, client.GroupConfig{Name: w.row, RetryMaxTimes: 1}) })
	done("it is paused", func() error { return a.AlterGroup(w.ctx, w.row, client.GroupChange{Disabled: new(true)}) })
	got := newSeen()
	_, stop := w.consume(w.row, topic, got.handle)
	w.send(topic, 10)
	require.Zero(w, got.kinds())
	done("it goes on", func() error { return a.AlterGroup(w.ctx, w.row, client.GroupChange{Disabled: new(false)}) })
	w.until("all came", func() bool { return got.kinds() == 10 })
	x, err := a.Group(w.ctx, w.row)
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
		x, err = a.Group(w.ctx, w.row)
	}
	require.NoError(w, err)
	require.Equal(w, client.GroupConfig{Name: w.row, RetryMaxTimes: 1}, x)
	stop()
	done("it is deleted", func() error { return a.DeleteGroup(w.ctx, w.row) })
	w.until("it begins anew", func() bool {
		again := newSeen()
		_, stop := w.consume(w.row, topic, again.handle)
		defer stop()
		w.until("all came again", func() bool { return again.kinds() == 10 })
		return true
	})
}
