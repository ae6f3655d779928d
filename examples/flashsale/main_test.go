package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
)

// All buyers come at once, and a node stops meanwhile: as many articles are sold as there
// are, everybody has an answer, and the shop never handles more than it can.
func TestAPeakIsSmoothed(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 3, nil)
	require.NoError(t, c.Client().Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}))
	s := newShop(50)
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.serve(run, c.Client()) }()
	type result struct {
		outcome
		err error
	}
	bought := make(chan result, 1)
	go func() {
		got, err := buy(ctx, c.Client(), 400)
		bought <- result{got, err}
	}()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.orders) > 20
	}, 30*time.Second, time.Millisecond)
	c.Stop(2)
	r := <-bought
	require.NoError(t, r.err)
	stop()
	require.NoError(t, <-ended)
	require.Equal(t, outcome{sold: 50, late: 350}, r.outcome)
	require.LessOrEqual(t, s.most, atOnce)
	require.Zero(t, s.left)
}
