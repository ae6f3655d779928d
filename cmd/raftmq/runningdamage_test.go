//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

// A byte decays in the write-ahead log of a running process, in an entry that is nowhere else: it is not applied, since the
// process runs alone after all were killed, nor in memory. The scrubber finds it, the node tries for a minute to have
// it, and ends with exit code 71; it does not start again, and its log is left as it is. On an empty folder it is
// replaced, and nothing is missing.
func TestDamageThatCannotBeHealedEndsARunningProcess(t *testing.T) {
	if os.Getenv("RAFTMQ_DAMAGE") == "" {
		t.Skip("RAFTMQ_DAMAGE is not set: see make rows")
	}
	d := startTestDev(t, "--scrub-rate", "268435456", "--scrub-every", "1s")
	nodes := d.nodes(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cl, err := client.Dial(ctx, client.WithEndpoints(nodes[0].Nameserver, nodes[1].Nameserver, nodes[2].Nameserver))
	require.NoError(t, err)
	defer cl.Close(context.Background())
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(30*time.Second))
	require.NoError(t, err)
	const messages = 200
	for i := range messages {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 1000))})
		require.NoError(t, err)
	}
	group := uint64(0)
	infos, err := partitionsOf(&devNode{HTTP: nodes[0].HTTP})
	require.NoError(t, err)
	for _, x := range infos {
		if x.Topic == "t" {
			group = x.ID
		}
	}
	do := func(verb, node string) {
		t.Helper()
		code, _, errs := raftmq(t, "dev", verb, node, "--data", d.dir)
		require.Equal(t, exitOK, code, "dev %s %s: %s", verb, node, errs)
	}
	n := nodes[0]
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.PID))
	require.NoError(t, err)
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	for _, x := range nodes {
		do("kill", x.Name)
	}
	name, at := walRecord(t, n.Data, group, 1)
	start := func() *exec.Cmd {
		t.Helper()
		log, err := os.OpenFile(n.Log, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		defer log.Close()
		c := exec.Command(args[0], args[1:]...)
		c.Env = append(os.Environ(), asProgram+"=1")
		c.Stdout, c.Stderr = log, log
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, c.Start())
		return c
	}
	alone := start()
	for askNode(ctx, n.HTTP, "/livez") != "" {
		require.NoError(t, sleep(ctx, 20*time.Millisecond))
	}
	flip(t, name, at+60)
	begun := time.Now()
	require.Error(t, alone.Wait())
	require.Equal(t, exitDamaged, alone.ProcessState.ExitCode(), lastLines(n.Log, 8))
	require.Contains(t, lastLines(n.Log, 8), "what is damaged is nowhere else")
	require.Contains(t, lastLines(n.Log, 8), "runbook")
	t.Logf("it ended after %v", time.Since(begun).Round(time.Second))

	before, err := os.ReadFile(name)
	require.NoError(t, err)
	again := start()
	require.Error(t, again.Wait())
	require.Equal(t, exitDamaged, again.ProcessState.ExitCode(), lastLines(n.Log, 8))
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, before, after)

	do("restart", nodes[1].Name)
	do("restart", nodes[2].Name)
	require.NoError(t, os.RemoveAll(n.Data))
	do("restart", n.Name)
	for readyReason(ctx, n.HTTP) != "" {
		require.NoError(t, sleep(ctx, 50*time.Millisecond))
	}
	rd, err := cl.NewReader("t", client.FromPosition(client.Earliest()))
	require.NoError(t, err)
	defer rd.Close()
	read := 0
	for m, err := range rd.UntilEnd(ctx) {
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(m.Body), fmt.Sprint(read, " ")))
		read++
	}
	require.Equal(t, messages, read)
}
