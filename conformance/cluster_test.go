package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/stretchr/testify/require"
)

const (
	envProgram = "RAFTMQ_BIN"
	// envOffsets is where the client keeps the offsets of broadcast consumers. It
	// reads it while it is initialised, before any code here.
	envOffsets = "rocketmq.client.localOffsetStoreDir"
)

// cluster is the one that all tests use: each leaves it whole.
var cluster *devCluster

// clientPanics counts panics inside the client: one that nobody handles would
// end the process.
var clientPanics atomic.Int64

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if os.Getenv(envOffsets) == "" {
		return 0, again()
	}
	defer os.RemoveAll(os.Getenv(envOffsets))
	if err := clientLogs.show(os.Getenv("RAFTMQ_TEST_LOG")); err != nil {
		return 0, err
	}
	rlog.SetLogger(&clientLogs)
	primitive.PanicHandler = func(v any) { clientPanics.Add(1) }
	dir, err := os.MkdirTemp("", "raftmq-conformance-")
	if err != nil {
		return 0, err
	}
	cluster, err = startCluster(dir)
	if err != nil {
		return 0, err
	}
	code = m.Run()
	if err := cluster.stop(); err != nil || code != 0 {
		return code, errors.Join(err, fmt.Errorf("the nodes' data and logs are in %s", dir))
	}
	return code, os.RemoveAll(dir)
}

// again runs this test as it was called, with envOffsets set. It returns only if
// it cannot.
func again() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	offsets, err := os.MkdirTemp("", "raftmq-conformance-offsets-")
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), envOffsets+"="+offsets))
}

type node struct {
	Name       string
	Nameserver string
	Listeners  []string
	PID        int
}

// devCluster is a "raftmq dev" of three nodes.
type devCluster struct {
	program, dir string
	dev          *exec.Cmd
	ended        chan error
	stopping     atomic.Bool
	nodes        []node
}

func startCluster(dir string) (*devCluster, error) {
	program := os.Getenv(envProgram)
	if program == "" {
		program = filepath.Join("..", "bin", "raftmq")
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: build it with \"make build\", or name it in %s", err, envProgram)
	}
	c := &devCluster{program: program, dir: dir, ended: make(chan error, 1)}
	c.dev = exec.Command(program, "dev", "--data", dir, "--port-base", portBase())
	c.dev.Stderr = os.Stderr
	c.dev.SysProcAttr = childAttr()
	out, err := c.dev.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.dev.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		lines, told := bufio.NewScanner(out), false
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "ready") && !told {
				told = true
				close(ready)
			}
		}
		err := c.dev.Wait()
		if !c.stopping.Load() {
			fmt.Fprintf(os.Stderr, "%s dev ended by itself: %v\n", time.Now().Format(time.RFC3339), c.dev.ProcessState)
		}
		c.ended <- err
	}()
	select {
	case <-ready:
	case err := <-c.ended:
		return nil, fmt.Errorf("dev ended before it was ready: %w", err)
	case <-time.After(2 * time.Minute):
		return nil, errors.Join(errors.New("dev does not become ready"), c.stop())
	}
	c.nodes, err = c.readNodes()
	return c, err
}

// portBase differs between runs; the ports lie below those that systems give to
// connections.
func portBase() string {
	if s := os.Getenv("RAFTMQ_PORT_BASE"); s != "" {
		return s
	}
	return fmt.Sprint(12000 + os.Getpid()%64*200)
}

func (c *devCluster) stop() error {
	c.stopping.Store(true)
	c.dev.Process.Signal(syscall.SIGTERM)
	return <-c.ended
}

// endpoints are the name servers of all nodes.
func (c *devCluster) endpoints() primitive.NamesrvAddr {
	var all primitive.NamesrvAddr
	for _, n := range c.nodes {
		all = append(all, n.Nameserver)
	}
	return all
}

// raftmq runs the program against the cluster and returns its JSON lines.
func (c *devCluster) raftmq(t testing.TB, args ...string) []map[string]any {
	t.Helper()
	rows, err := c.ask(args...)
	require.NoError(t, err)
	return rows
}

// tryRaftmq is raftmq of what may fail for a while: then there are no lines.
func (c *devCluster) tryRaftmq(args ...string) []map[string]any {
	rows, _ := c.ask(args...)
	return rows
}

func (c *devCluster) ask(args ...string) (rows []map[string]any, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, append(args, "-o", "jsonl")...)
	cmd.Env = append(os.Environ(), "RAFTMQ_ENDPOINT="+strings.Join(c.endpoints(), ","))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("raftmq %v: %w: %s", args, err, stderr.String())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			return nil, fmt.Errorf("raftmq %v: %w", args, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// tell has dev kill or restart a node; restart waits until the node serves.
func (c *devCluster) tell(t testing.TB, verb string, n node) {
	t.Helper()
	out, err := exec.Command(c.program, "dev", verb, n.Name, "--data", c.dir).CombinedOutput()
	require.NoError(t, err, "dev %s %s: %s", verb, n.Name, out)
}

// killEach kills nodes in turn with -9 and restarts them. goOn waits until work went on, without the
// node and with it again.
func (c *devCluster) killEach(t testing.TB, kills int, goOn func(what string)) {
	t.Helper()
	for k := range kills {
		n := c.nodes[k%len(c.nodes)]
		c.tell(t, "kill", n)
		goOn(n.Name + " is dead")
		c.tell(t, "restart", n)
		goOn(n.Name + " is back")
	}
}

// committed waits until the group has committed all of the topic.
func (c *devCluster) committed(t testing.TB, group, topic string) {
	t.Helper()
	var lag float64
	until(t, 2*time.Minute, func() bool {
		lag = 0
		seen := false
		for _, row := range c.raftmq(t, "group", "lag", group) {
			if row["topic"] == topic {
				seen = true
				lag += row["lag"].(float64)
			}
		}
		return seen && lag == 0
	}, func() string { return fmt.Sprintf("group %s lags %v messages behind %s", group, lag, topic) })
}

// state says which nodes run.
func (c *devCluster) state() string {
	s := "dev runs"
	if c.dev.Process.Signal(syscall.Signal(0)) != nil {
		s = "dev has ended"
	}
	nodes, err := c.readNodes()
	if err != nil {
		return s + ", " + err.Error()
	}
	for _, n := range nodes {
		if syscall.Kill(n.PID, 0) == nil {
			s += fmt.Sprintf(", %s runs", n.Name)
		} else {
			s += fmt.Sprintf(", %s does not", n.Name)
		}
	}
	return s
}

// readNodes is what dev says of its nodes.
func (c *devCluster) readNodes() ([]node, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, "cluster.json"))
	if err != nil {
		return nil, err
	}
	var file struct{ Nodes []node }
	err = json.Unmarshal(b, &file)
	return file.Nodes, err
}

// until polls what cannot be waited for.
func until(t testing.TB, limit time.Duration, done func() bool, state func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s; %s", limit, state(), cluster.state())
		}
		time.Sleep(200 * time.Millisecond)
	}
}
