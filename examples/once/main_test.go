package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/client/once"
	"raftmq/internal/mqtest"
)

// Each message's handler fails after its transaction was committed, as a program that dies
// then does, so that each comes again, to one of two consumers: the balances are
// those of each payment once.
func TestBalancesAreRightHoweverOftenMessagesCome(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 3, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic}))
	db, err := open(filepath.Join(t.TempDir(), "accounts.db"))
	require.NoError(t, err)
	defer db.Close()
	p, err := cl.NewProducer("shop")
	require.NoError(t, err)
	const payments = 60
	want := make(map[string]int64)
	for i := range payments {
		name := fmt.Sprintf("account-%d", i%4)
		want[name] += int64(i)
		_, err := p.Send(ctx, &client.Message{Topic: topic, Body: fmt.Appendf(nil, "%s %d", name, i)})
		require.NoError(t, err)
	}
	ledger := once.New(db, group)
	var handed, firsts atomic.Int64
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	for range 2 {
		s, err := c.Client().NewConsumer(group, client.WithBackoff(time.Millisecond, time.Millisecond))
		require.NoError(t, err)
		require.NoError(t, s.Subscribe(topic, client.All()))
		go func() {
			ended <- s.Run(run, func(ctx context.Context, d *client.Delivery) error {
				first, err := ledger.Do(ctx, d, pay)
				if err != nil {
					return err
				}
				if first {
					firsts.Add(1)
				}
				if handed.Add(1); d.Attempt < 3 {
					return errors.New("the program died before it could say so")
				}
				return nil
			})
		}()
	}
	require.Eventually(t, func() bool { return handed.Load() >= 3*payments }, 50*time.Second, 10*time.Millisecond)
	stop()
	for range 2 {
		require.NoError(t, <-ended)
	}
	require.EqualValues(t, payments, firsts.Load())
	rows, err := db.Query("SELECT name, balance FROM accounts")
	require.NoError(t, err)
	defer rows.Close()
	got := make(map[string]int64)
	for rows.Next() {
		var name string
		var balance int64
		require.NoError(t, rows.Scan(&name, &balance))
		got[name] = balance
	}
	require.Equal(t, want, got)
}
