//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"raftmq/client"
)

// limitFiles lets a process have no more files open than it has, and returns what undoes it.
func limitFiles(t *testing.T, pid int) (undo func()) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	var old unix.Rlimit
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(open)), Max: old.Max}, nil))
	return func() { require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)) }
}

// Under load one process after the other may open no more files than it has. None ends:
// what needs a file waits, another leads, and when more may be open it catches up.
func TestProcessesThatMayOpenNoMoreFilesGoOn(t *testing.T) {
	d := startTestDev(t, "--segment-bytes", "65536")
	nodes := d.nodes(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cl, err := client.Dial(ctx, client.WithEndpoints(nodes[0].Nameserver, nodes[1].Nameserver, nodes[2].Nameserver))
	require.NoError(t, err)
	defer cl.Close(context.Background())
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1}))
	await := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			if sleep(ctx, 50*time.Millisecond) != nil {
				for _, n := range nodes {
					t.Logf("%s: %s\n%s", n.Name, readyReason(context.Background(), n.HTTP), lastLines(n.Log, 8))
				}
				t.Fatalf("never: %s", what)
			}
		}
	}
	l := startLoad(t, cl, "t")
	more := func() {
		t.Helper()
		before, _, _ := l.counts()
		await("sends are acknowledged", func() bool { now, _, _ := l.counts(); return now > before+300 })
	}
	more()
	for _, n := range nodes {
		undo := limitFiles(t, n.PID)
		await(n.Name+" waits for files", func() bool {
			require.True(t, running(n.PID), lastLines(n.Log, 8))
			return strings.Contains(lastLines(n.Log, 1000), "no more files may be open")
		})
		more()
		require.True(t, running(n.PID), lastLines(n.Log, 8))
		undo()
		await(n.Name+" is ready", func() bool { return readyReason(ctx, n.HTTP) == "" })
		more()
	}
	l.check(ctx, t, cl, d)
}
