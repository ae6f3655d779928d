package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/internal/mqtest"
)

// Every user has a mail, though the mail server is out of order now and then and a node
// stops; those with an address that is none are among the dead letters, with the reason,
// and have theirs when it is corrected.
func TestEveryUserHasAMail(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := mqtest.Start(t, 3, nil)
	cl := c.Client()
	require.NoError(t, prepare(ctx, cl))
	const users = 20
	for i := range users {
		address := fmt.Sprintf("u%d@example.org", i)
		if i%7 == 0 {
			address = "nowhere"
		}
		require.NoError(t, register(ctx, cl, topic, fmt.Sprintf("u%d", i), address))
	}
	var mu sync.Mutex
	mails, tries := make(map[string]int), make(map[string]int)
	send := func(name, address string) error {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(address, "@") {
			return fmt.Errorf("%w: %s", errAddress, address)
		}
		if tries[name]++; tries[name] < 3 && address[1]%2 == 0 {
			return errors.New("the mail server is out of order")
		}
		mails[address]++
		return nil
	}
	mailed := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(mails)
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- mailer(run, cl, send, client.WithBackoff(10*time.Millisecond, 10*time.Millisecond))
	}()
	require.Eventually(t, func() bool { return mailed() > 5 }, 30*time.Second, 5*time.Millisecond)
	c.Stop(1)
	require.Eventually(t, func() bool { return mailed() == users-3 }, 40*time.Second, 5*time.Millisecond)
	var letters []client.DeadLetterInfo
	require.Eventually(t, func() bool {
		var err error
		letters, err = cl.Admin().DeadLetters(ctx, group, 0)
		return err == nil && len(letters) == 3
	}, 30*time.Second, 5*time.Millisecond)
	for _, l := range letters {
		require.Contains(t, l.Reason(), "no such address: nowhere")
		name, _, _ := strings.Cut(string(l.Message.Body), " ")
		require.NoError(t, register(ctx, cl, corrections, name, name+"@example.org"))
	}
	n, err := cl.Admin().Redrive(ctx, group, "", 0)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Eventually(t, func() bool { return mailed() == users }, 30*time.Second, 5*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	for i := range users {
		require.Positive(t, mails[fmt.Sprintf("u%d@example.org", i)])
	}
}
