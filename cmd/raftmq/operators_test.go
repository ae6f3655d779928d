package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// What operators do to dead letters and transactions, and what consumers choose by.
func TestOperatorsCommandsDoWhatTheySay(t *testing.T) {
	d := startTestDev(t)
	endpoints := d.nodes(t)[0].Nameserver + "," + d.nodes(t)[1].Nameserver
	t.Setenv("RAFTMQ_ENDPOINT", endpoints)
	run := func(args ...string) string {
		t.Helper()
		code, out, errs := raftmq(t, args...)
		require.Zero(t, code, "%v: %s", args, errs)
		return out
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cl, err := client.Dial(ctx, client.WithEndpoints(strings.Split(endpoints, ",")...))
	require.NoError(t, err)
	defer cl.Close(context.Background())

	run("topic", "create", "orders", "--partitions", "1", "--queues", "1")
	for _, x := range []struct{ text, amount, tag string }{{"one", "50", "new"}, {"two", "150", "new"}, {"three", "250", "old"}} {
		run("send", "orders", x.text, "--property", "amount="+x.amount, "--tag", x.tag)
	}
	consumed := func(group string, args ...string) []string {
		t.Helper()
		var bodies []string
		for line := range strings.Lines(run(append([]string{"consume", "orders", "--group", group, "--timeout", "2m", "-o", "jsonl"}, args...)...)) {
			var m struct{ Body string }
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			bodies = append(bodies, m.Body)
		}
		return bodies
	}
	require.ElementsMatch(t, []string{"two", "three"}, consumed("sql", "--filter", "amount > 100", "--count", "2"))
	require.ElementsMatch(t, []string{"one", "two"}, consumed("tags", "--tags", "new", "--count", "2"))
	require.Len(t, consumed("hashed", "--strategy", "consistent-hash", "--count", "3"), 3)

	// Dead letters: one is handled again, the others are dropped.
	cons, err := cl.NewConsumer("billing")
	require.NoError(t, err)
	require.NoError(t, cons.Subscribe("orders", client.All()))
	failing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- cons.Run(failing, func(context.Context, *client.Delivery) error {
			return client.DeadLetter(errors.New("no such customer"))
		})
	}()
	var letters []struct{ Letter, Body, Reason string }
	require.Eventually(t, func() bool {
		letters = nil
		code, out, _ := raftmq(t, "dlq", "list", "billing", "-o", "json") // before the group is known it is not found
		return code == exitOK && json.Unmarshal([]byte(out), &letters) == nil && len(letters) == 3
	}, patience, 20*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.Contains(t, run("dlq", "show", "billing", letters[0].Letter, "-o", "json"), "no such customer")
	run("dlq", "redrive", "billing", letters[0].Letter)
	require.Len(t, consumed("billing", "--count", "1"), 1)
	run("dlq", "purge", "billing", letters[1].Letter)
	run("dlq", "purge", "billing", "--all")
	require.JSONEq(t, "[]", run("dlq", "list", "billing", "-o", "json"))

	// A transaction that nobody decides.
	tp, err := cl.NewTransactionProducer("shop", func(context.Context, client.Transaction) client.Verdict { return client.Undecided })
	require.NoError(t, err)
	for _, body := range []string{"paid", "not paid"} {
		_, err = tp.Send(ctx, &client.Message{Topic: "orders", Body: []byte(body)}, func(context.Context, client.Transaction) (client.Verdict, error) { return client.Undecided, nil })
		require.NoError(t, err)
	}
	var halves []struct{ Transaction string }
	require.NoError(t, json.Unmarshal([]byte(run("tx", "list", "orders", "-o", "json")), &halves))
	require.Len(t, halves, 2)
	for _, h := range halves {
		how := "--rollback"
		if !strings.Contains(run("tx", "show", h.Transaction), "not paid") {
			how = "--commit"
		}
		run("tx", "decide", h.Transaction, how)
		run("tx", "decide", h.Transaction, how) // again
		code, _, errs := raftmq(t, "tx", "decide", h.Transaction, map[string]string{"--commit": "--rollback", "--rollback": "--commit"}[how])
		require.Equal(t, exitConflict, code, errs)
	}
	require.Equal(t, []string{"paid"}, consumed("sql", "--filter", "amount IS NULL", "--count", "1"))

	// What is sent for later.
	run("send", "orders", "soon", "--at", time.Now().Add(2*time.Second).Format(time.RFC3339))
	run("send", "orders", "in a second", "--delay-level", "1")
	require.ElementsMatch(t, []string{"soon", "in a second"}, consumed("sql", "--filter", "amount IS NULL", "--count", "2"))
}
