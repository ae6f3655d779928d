package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
)

// Hosts send as fast as they can while the collector hardly moves: all is stored, and
// waits. Then it moves again, and a second one helps: every line is written, each host's
// in their order.
func TestASlowCollectorSlowsNoHostDown(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 3, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}))
	const hosts, lines = 6, 300
	var mu sync.Mutex
	written := make(map[string][]string)
	total := 0
	open := make(chan struct{}) // closed: the disk is well again
	write := func(host string, line []byte) error {
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
		mu.Lock()
		defer mu.Unlock()
		total++
		written[host] = append(written[host], string(line))
		return nil
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- collect(run, cl, write) }()
	var wg sync.WaitGroup
	for h := range hosts {
		var text strings.Builder
		for i := range lines {
			fmt.Fprintf(&text, "line %04d\n", i)
		}
		wg.Go(func() {
			if err := send(ctx, cl, fmt.Sprintf("host-%d", h), strings.NewReader(text.String())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait() // all is stored, and nothing is written
	mu.Lock()
	require.Zero(t, total)
	mu.Unlock()
	close(open)
	go func() { ended <- collect(run, c.Client(), write) }()
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return total >= hosts*lines
	}, 50*time.Second, 10*time.Millisecond)
	stop()
	for range 2 {
		require.NoError(t, <-ended)
	}
	require.Len(t, written, hosts)
	for host, got := range written {
		next := 0
		for _, line := range got { // one may come again when queues change hands, and none is passed over
			var n int
			fmt.Sscanf(line, "line %d", &n)
			require.LessOrEqual(t, n, next, "%s: %s after line %d", host, line, next-1)
			next = max(next, n+1)
		}
		require.Equal(t, lines, next, host)
	}
}

// A host that is told to stop does, though no line comes, and what came is stored.
func TestAHostThatIsSilentStops(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 1, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}))
	in, out := io.Pipe()
	defer out.Close()
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- send(run, cl, "host", in) }()
	_, err := io.WriteString(out, "one line\n")
	require.NoError(t, err)
	stored := func() (n int64) {
		stats, err := cl.Admin().TopicStats(ctx, topic)
		require.NoError(t, err)
		for _, q := range stats {
			n += q.Max
		}
		return n
	}
	require.Eventually(t, func() bool { return stored() == 1 }, 50*time.Second, 10*time.Millisecond)
	stop()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	case <-ctx.Done():
		t.Fatal("it waits for a line")
	}
}
