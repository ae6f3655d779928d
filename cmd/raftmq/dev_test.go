package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary be raftmq; dev starts its nodes as itself.
const asProgram = "RAFTMQ_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience is how long what must come may take on a loaded machine.
const patience = 3 * time.Minute

// raftmq runs the program and returns its exit code and both outputs.
func raftmq(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return raftmqReading(t, "", args...)
}

func raftmqReading(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs strings.Builder
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	err := c.Run()
	require.NoError(t, ctx.Err(), "raftmq %v does not end", args)
	if c.ProcessState == nil {
		require.NoError(t, err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// startedDev is a dev in a process of its own, ready.
type startedDev struct {
	*exec.Cmd
	dir string
	end chan error
}

func startTestDev(t *testing.T, server ...string) *startedDev {
	t.Helper()
	return startTestDevIn(t, t.TempDir(), server...)
}

func startTestDevIn(t *testing.T, dir string, server ...string) *startedDev {
	t.Helper()
	c := exec.Command(os.Args[0], append([]string{"dev", "--data", dir, "--", "--wal-segment-bytes", "16777216", "--wal-segments", "5", "--max-body", "1048576"}, server...)...)
	c.Env = append(os.Environ(), asProgram+"=1")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.Stderr = os.Stderr
	require.NoError(t, c.Start())
	d := &startedDev{c, dir, make(chan error, 1)}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "ready") {
				ready <- true
			}
		}
		close(ready)
		d.end <- c.Wait()
	}()
	t.Cleanup(func() {
		if c.ProcessState == nil {
			c.Process.Signal(syscall.SIGTERM)
			<-d.end
		}
	})
	select {
	case ok := <-ready:
		require.True(t, ok, "dev ended before it was ready")
	case <-time.After(patience):
		t.Fatal("dev does not become ready")
	}
	return d
}

type clusterNode struct {
	Name, Nameserver, Raft, Gossip, HTTP, Data, Log string
	PID                                             int
	Listeners                                       []string
}

func (d *startedDev) nodes(t *testing.T) []clusterNode {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "cluster.json"))
	require.NoError(t, err)
	var c struct{ Nodes []clusterNode }
	require.NoError(t, json.Unmarshal(b, &c))
	return c.Nodes
}

func running(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestDevDoesWhatItIsToldAndNothingByItself(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	d := startTestDev(t)
	before := d.nodes(t)
	require.Len(t, before, 3)
	for _, n := range before {
		require.Empty(t, readyReason(t.Context(), n.HTTP), "ready is printed when every node is")
		require.True(t, running(n.PID))
		require.Len(t, n.Listeners, 3)
		require.NotEmpty(t, n.Raft)
		require.NotEmpty(t, n.Gossip)
		require.DirExists(t, n.Data)
		require.FileExists(t, n.Log)
		require.Eventually(t, func() bool { return strings.Contains(lastLines(n.Log, 1000), "how the write-ahead log is written") }, patience, 10*time.Millisecond)
		require.Positive(t, metricNow(n.HTTP, "raftmq_wal_write_way"))
	}

	do := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := raftmq(t, append(append([]string{"dev"}, args...), "--data", d.dir)...)
		require.Equal(t, want, code, "dev %v: %s", args, errs)
		require.Empty(t, out)
		return errs
	}
	do(0, "kill", "n1")
	require.False(t, running(before[0].PID))
	require.Equal(t, before, d.nodes(t), "nothing restarts by itself")
	require.Contains(t, do(exitConflict, "kill", "n1"), "not running")
	require.Contains(t, do(exitNotFound, "kill", "n9"), "no node")
	do(0, "restart", "n1")
	after := d.nodes(t)
	require.NotEqual(t, before[0].PID, after[0].PID)
	require.Empty(t, readyReason(t.Context(), after[0].HTTP))
	require.Equal(t, before[1:], after[1:])

	code, _, errs := raftmq(t, "dev", "--data", d.dir, "--wipe")
	require.Equal(t, exitConflict, code)
	require.Contains(t, errs, "already")
	require.DirExists(t, after[0].Data, "a running cluster is not wiped")

	// Without a majority a node cannot become ready: that must not keep anybody
	// from bringing the majority back, nor dev from ending.
	do(0, "pause", "n2")
	do(0, "pause", "n3")
	do(0, "restart", "n1")
	do(0, "resume", "n2")
	do(0, "restart", "n1")
	require.Empty(t, readyReason(t.Context(), d.nodes(t)[0].HTTP))
	do(0, "stop", "n1")

	last := d.nodes(t)
	require.NoError(t, d.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-d.end:
		require.NoError(t, err, "a stop is clean")
	case <-time.After(patience):
		t.Fatal("dev does not stop")
	}
	for _, n := range last {
		require.False(t, running(n.PID), n.Name)
	}
	require.Contains(t, do(exitNotFound, "kill", "n1"), "no dev cluster runs")
}

// place knows the ports that it has given out, though no one listens there yet.
func TestSecondDevTakesOtherPorts(t *testing.T) {
	taken := make(map[int]bool)
	for range 5 {
		var d devCluster
		require.NoError(t, d.place(devOptions{nodes: 3, slots: 3}, func(p int) bool { return !taken[p] }))
		for _, x := range d.Nodes {
			p := x.ports
			for _, port := range []int{p.nameServer, p.listen, p.listen + 10, p.listen + 20, p.raft, p.gossip, p.http} {
				require.False(t, taken[port], "%s: %d is taken", x.Name, port)
				taken[port] = true
			}
		}
	}
	var d devCluster
	require.NoError(t, d.place(devOptions{nodes: 3, slots: 3, base: 20000}, nil))
	require.Equal(t, "127.0.0.1:20060", d.Nodes[1].NameServer)
	require.Equal(t, []string{"127.0.0.1:20070", "127.0.0.1:20080", "127.0.0.1:20090"}, d.Nodes[1].Listeners)
}

func TestWipeRemovesOnlyWhatDevMade(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640))
	}
	write("mine.txt", "keep")
	write("n7/mine.txt", "keep")
	require.NoError(t, wipeDev(dir))
	require.FileExists(t, filepath.Join(dir, "mine.txt"))

	write("n1/wal/0", "")
	write("n1.log", "")
	write("cluster.json", `{"nodes":[{"name":"n1","data":"/etc"}]}`)
	require.NoError(t, wipeDev(dir))
	require.NoDirExists(t, filepath.Join(dir, "n1"))
	require.NoFileExists(t, filepath.Join(dir, "n1.log"))
	require.NoFileExists(t, filepath.Join(dir, "cluster.json"))
	require.FileExists(t, filepath.Join(dir, "mine.txt"))
	require.FileExists(t, filepath.Join(dir, "n7/mine.txt"))

	write("cluster.json", `{"nodes":[{"name":".."}]}`)
	require.Error(t, wipeDev(dir))
	require.FileExists(t, filepath.Join(dir, "mine.txt"))
}

// A unix socket's path has about a hundred bytes.
func TestDevIsReachedInALongDirectory(t *testing.T) {
	for _, name := range []string{"short", strings.Repeat("long", 30)} {
		dir := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.Mkdir(dir, 0o750))
		ln, err := listenControl(dir)
		require.NoError(t, err)
		var d devCluster
		done := make(chan struct{})
		go func() { d.control(t.Context(), ln); close(done) }()
		require.ErrorContains(t, tellDev(t.Context(), dir, "kill", "n1"), `no node "n1"`)
		require.NoError(t, ln.Close())
		<-done
		require.ErrorContains(t, tellDev(t.Context(), dir, "kill", "n1"), "no dev cluster runs")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
