package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"raftmq/client"
)

// raftmqCluster is a "raftmq dev" of three nodes.
type raftmqCluster struct {
	l     *lab
	dir   string
	dev   *exec.Cmd
	ended chan error
	nodes []raftmqNode
}

type raftmqNode struct {
	Name       string
	NameServer string
	Listeners  []string
	HTTP       string
	PID        int
}

// readyLimit is how long a cluster may take to be ready.
const readyLimit = 2 * time.Minute

// foundingTries is how often a cluster is started: another program may take a port meanwhile.
const foundingTries = 3

// startRaftmq founds a cluster. Flags are those of "raftmq dev", and behind -- those of
// its servers.
func startRaftmq(ctx context.Context, l *lab, flags ...string) (c *raftmqCluster, err error) {
	for range foundingTries {
		if c, err = foundRaftmq(ctx, l, flags); err == nil || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

// Ports of a cluster begin at random between portFirst and portLast, below those that systems give to connections.
const (
	portFirst = 12000
	portLast  = 30000
)

func foundRaftmq(ctx context.Context, l *lab, flags []string) (*raftmqCluster, error) {
	runtime.LockOSThread() // the child ends with its thread
	dir, err := os.MkdirTemp(l.dir, "raftmq-")
	if err != nil {
		return nil, err
	}
	c := &raftmqCluster{l: l, dir: dir, ended: make(chan error, 1)}
	c.dev = exec.Command(l.program, append([]string{"dev", "--data", dir, "--port-base", strconv.Itoa(portFirst + rand.IntN(portLast-portFirst))}, flags...)...)
	c.dev.Dir = dir
	c.dev.SysProcAttr = childAttr()
	c.dev.Stderr = os.Stderr
	out, err := c.dev.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.dev.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() { // ends with dev, which stop waits for
		told := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "ready") && !told {
				told = true
				close(ready)
			}
		}
		c.ended <- c.dev.Wait()
	}()
	select {
	case <-ready:
	case err := <-c.ended:
		return nil, errors.Join(fmt.Errorf("raftmq dev ended before it was ready: %w", err), os.RemoveAll(dir))
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.stop())
	case <-time.After(readyLimit):
		return nil, errors.Join(errors.New("raftmq dev is not ready"), c.stop())
	}
	if err := c.read(); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// read asks dev's file who runs: PIDs change with restarts.
func (c *raftmqCluster) read() error {
	b, err := os.ReadFile(filepath.Join(c.dir, "cluster.json"))
	if err != nil {
		return err
	}
	var file struct{ Nodes []raftmqNode }
	err = json.Unmarshal(b, &file)
	c.nodes = file.Nodes
	return err
}

// stop ends the nodes and removes their data.
func (c *raftmqCluster) stop() error {
	c.dev.Process.Signal(syscall.SIGTERM)
	<-c.ended
	return os.RemoveAll(c.dir)
}

func (c *raftmqCluster) pids() (pids []int) {
	for _, n := range c.nodes {
		pids = append(pids, n.PID)
	}
	return pids
}

// pidsNow are those of the file: nodes that are being restarted change theirs.
func (c *raftmqCluster) pidsNow() []int {
	now := raftmqCluster{dir: c.dir}
	if now.read() != nil {
		return nil
	}
	return now.pids()
}

func (c *raftmqCluster) endpoints() (all []string) {
	for _, n := range c.nodes {
		all = append(all, n.NameServer)
	}
	return all
}

// bench runs a "raftmq bench" against the cluster and adds what its servers' processors did for each message.
func (c *raftmqCluster) bench(ctx context.Context, args ...string) (figures, error) {
	before := cpuTime(c.pids())
	env := []string{"RAFTMQ_ENDPOINT=" + strings.Join(c.endpoints(), ",")}
	b, err := c.l.output(ctx, env, c.l.program, append(append([]string{"bench"}, args...), "-o", "json")...)
	if err != nil {
		return nil, err
	}
	f, err := parseFigures(b)
	if err != nil {
		return nil, err
	}
	f.perMessage(cpuTime(c.pids()) - before)
	return f, nil
}

// sure is f, unless a message was not acknowledged.
func (f figures) sure() (figures, error) {
	if f["errors"]+f["unknown"] > 0 {
		return nil, fmt.Errorf("%.0f messages were refused, of %.0f the outcome is unknown", f["errors"], f["unknown"])
	}
	return f, nil
}

func (f figures) perMessage(cpu time.Duration) {
	if f[sentCount] > 0 {
		f[cpuPerMsg] = float64(cpu.Microseconds()) / f[sentCount]
	}
}

// tell has dev kill, pause, resume or restart a node; restart waits until it is ready.
func (c *raftmqCluster) tell(ctx context.Context, verb, node string) error {
	_, err := c.l.output(ctx, nil, c.l.program, "dev", verb, node, "--data", c.dir)
	return errors.Join(err, c.read())
}

func (c *raftmqCluster) client(ctx context.Context) (*client.Client, error) {
	return client.Dial(ctx, client.WithEndpoints(c.endpoints()...))
}

// partitionState is a replica, as its node tells it.
type partitionState struct {
	ID     uint64
	Topic  string
	Leader string
	State  string
	Slot   int
}

func (n *raftmqNode) partitions(ctx context.Context) (states []partitionState, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/debug/partitions", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return states, json.NewDecoder(resp.Body).Decode(&states)
}

// sending is what the flags of "raftmq bench send" and of the load for NATS say.
type sending struct {
	inFlight   int
	partitions int // of NATS: streams; 0: one
	size       int // bytes of a message; 0: 1,024
	duration   time.Duration
	warm       time.Duration // before it is measured; 0: warming
}

func (s sending) flags() []string {
	return []string{
		"--in-flight", strconv.Itoa(s.inFlight), "--partitions", strconv.Itoa(max(1, s.partitions)),
		"--size", strconv.Itoa(s.bytes()), "--duration", s.duration.String(),
	}
}

func (s sending) bytes() int {
	if s.size == 0 {
		return 1024
	}
	return s.size
}

func (s sending) warmth() time.Duration {
	if s.warm == 0 {
		return warming
	}
	return s.warm
}

// warming is how long each side sends before it is measured.
const warming = 8 * time.Second

// sendRaftmq founds a cluster, warms it up and measures sends.
func sendRaftmq(s sending) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startRaftmq(ctx, l, "--slots", strconv.Itoa(max(3, s.partitions)))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		warm := s
		warm.duration = l.duration(s.warmth())
		if _, err := c.bench(ctx, append([]string{"send"}, warm.flags()...)...); err != nil {
			return nil, err
		}
		s := s
		s.duration = l.duration(s.duration)
		if f, err = c.bench(ctx, append([]string{"send"}, s.flags()...)...); err != nil {
			return nil, err
		}
		return f.sure()
	}
}
