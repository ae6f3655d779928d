package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/ports"
)

// Leaders are killed with -9 under load and their folders deleted: each comes back,
// votes, and holds what the others hold. A folder that was replaced ends its process
// with the reason.
func TestWipedProcessesComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	code, out, errs := raftmq(t, "bench", "failover", "--data", d.dir, "--kills", "2", "--fault", "wipe")
	require.Equal(t, exitOK, code, errs)
	var r failoverResult
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Positive(t, r.Sent)
	require.Zero(t, r.Lost+r.Duplicates+r.Disorder)
	require.True(t, r.Digests)

	do := func(want int, verb string) string {
		t.Helper()
		code, _, errs := raftmq(t, "dev", verb, "n3", "--data", d.dir)
		require.Equal(t, want, code, "dev %s: %s", verb, errs)
		return errs
	}
	data := d.nodes(t)[2].Data
	do(exitOK, "stop")
	require.NoError(t, os.Rename(data, data+".old"))
	do(exitOK, "restart")
	do(exitOK, "stop")
	require.NoError(t, os.Rename(data, data+".present"))
	require.NoError(t, os.Rename(data+".old", data))
	require.Contains(t, do(exitConflict, "restart"), "its data folder was replaced")
	require.NoError(t, os.Rename(data, data+".old"))
	require.NoError(t, os.Rename(data+".present", data))
	do(exitOK, "restart")
}

// A node hangs, and is replaced by one elsewhere under its name. When it goes on, it
// does not know: it ends as soon as it hears, and the one that replaced it stays.
func TestAProcessThatWasReplacedEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	nodes := d.nodes(t)
	old := nodes[2]
	code, _, errs := raftmq(t, "dev", "pause", "n3", "--data", d.dir)
	require.Equal(t, exitOK, code, errs)
	var id struct{ Cluster string }
	b, err := os.ReadFile(filepath.Join(nodes[0].Data, "node.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &id))
	dir := t.TempDir()
	for deadline := time.After(patience); nodesAlive(t, nodes[0].HTTP) != 2; { // its links are given up by then
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("n1 never misses n3")
		}
	}
	first, err := ports.InARow(2)
	require.NoError(t, err)
	gossip, httpPort := strconv.Itoa(first), strconv.Itoa(first+1)
	at := loopback(first + 1)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	next := exec.Command(os.Args[0], "server", "--cluster", id.Cluster, "--node", "n3", "--data", filepath.Join(dir, "n3"), "--initial-nodes", "n1,n2,n3",
		"--join", nodes[0].Gossip+","+nodes[1].Gossip, "--nameserver-port", "-1", "--listen-port", "-1", "--raft-port", "-1",
		"--gossip-port", gossip, "--http-port", httpPort, "--wal-segment-bytes", "16777216", "--wal-segments", "5", "--max-body", "1048576")
	next.Env = append(os.Environ(), asProgram+"=1")
	next.Stdout, next.Stderr = log, log
	require.NoError(t, next.Start())
	ended := make(chan error, 1)
	go func() { ended <- next.Wait() }()
	t.Cleanup(func() {
		next.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.After(patience); !ok(); {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-deadline:
				t.Fatalf("never: %s; the new node says %s; its log ends with\n%s\nand the old one's with\n%s", what,
					readyReason(t.Context(), at), lastLines(log.Name(), 5), lastLines(old.Log, 5))
			}
		}
	}
	await("it is replaced", func() bool { return readyReason(t.Context(), at) == "" })
	code, _, errs = raftmq(t, "dev", "resume", "n3", "--data", d.dir)
	require.Equal(t, exitOK, code, errs)
	await("the old one ends", func() bool { return !running(old.PID) })
	require.Contains(t, lastLines(old.Log, 50), "which has no vote any more")
	for _, addr := range []string{at, nodes[0].HTTP, nodes[1].HTTP} {
		await(addr+" is ready", func() bool { return readyReason(t.Context(), addr) == "" })
	}
}

// nodesAlive is the metric of that name.
func nodesAlive(t *testing.T, addr string) (n int) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(b), "\nraftmq_nodes_alive ")
	fmt.Sscan(rest, &n)
	return n
}
