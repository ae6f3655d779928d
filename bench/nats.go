package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"raftmq/internal/ports"
)

// natsClientVersion is that of the module.
const natsClientVersion = natsgo.Version

// natsCluster is three nats-server processes with JetStream on disk.
type natsCluster struct {
	l     *lab
	dir   string
	procs int
	nodes []*natsNode
}

type natsNode struct {
	name   string
	addr   string
	config string
	cmd    *exec.Cmd
	ended  chan struct{}
}

// natsOptions of a cluster.
type natsOptions struct {
	syncAlways bool // sync_interval: always, instead of every two minutes
	procs      int  // GOMAXPROCS of each; 0: what the lab says
}

// startNATS founds a cluster and waits until JetStream has a leader and all peers.
func startNATS(ctx context.Context, l *lab, o natsOptions) (*natsCluster, error) {
	runtime.LockOSThread() // the children end with their thread
	dir, err := os.MkdirTemp(l.dir, "nats-")
	if err != nil {
		return nil, err
	}
	c := &natsCluster{l: l, dir: dir, procs: cmp.Or(o.procs, l.natsProcs)}
	first, err := ports.InARow(6)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range 3 {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", first+3+i))
	}
	for i := range 3 {
		n := &natsNode{name: fmt.Sprintf("n%d", i+1), addr: fmt.Sprintf("127.0.0.1:%d", first+i)}
		n.config = filepath.Join(dir, n.name+".conf")
		if err := os.WriteFile(n.config, []byte(natsConfig(n.name, dir, first+i, first+3+i, routes, o)), 0o644); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
		if err := c.start(n); err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	if err := c.await(ctx); err != nil {
		return nil, errors.Join(err, fmt.Errorf("n1 says: %s", c.lastLine(c.nodes[0])), c.stop())
	}
	return c, nil
}

// natsConfig is a server's file. A message may have 8 MB, so that 4 MiB fit; everything else is the default.
func natsConfig(name, dir string, port, route int, routes []string, o natsOptions) string {
	sync := ""
	if o.syncAlways {
		sync = "\n  sync_interval: always"
	}
	return fmt.Sprintf(`server_name: %s
listen: 127.0.0.1:%d
max_payload: 8MB
jetstream {
  store_dir: %q%s
}
cluster {
  name: bench
  listen: 127.0.0.1:%d
  routes: [%s]
}
`, name, port, filepath.Join(dir, name), sync, route, strings.Join(routes, ", "))
}

func (c *natsCluster) start(n *natsNode) error {
	log, err := os.OpenFile(filepath.Join(c.dir, n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(c.l.nats, "--config", n.config)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = childAttr()
	if c.procs > 0 {
		n.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(c.procs))
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	ended, cmd := make(chan struct{}), n.cmd
	n.ended = ended
	go func() { // ends with the process, which stop waits for
		cmd.Wait()
		close(ended)
	}()
	return nil
}

func (c *natsCluster) lastLine(n *natsNode) string {
	b, _ := os.ReadFile(filepath.Join(c.dir, n.name+".log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// await makes and deletes a stream with three replicas.
func (c *natsCluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		err := c.probe(ctx)
		if err == nil {
			return nil
		}
		if e := sleep(ctx, 100*time.Millisecond); e != nil {
			return fmt.Errorf("nats-server is not ready: %w", err)
		}
	}
}

func (c *natsCluster) probe(ctx context.Context) error {
	for _, n := range c.nodes {
		nc, err := natsgo.Connect("nats://" + n.addr)
		if err != nil {
			return err
		}
		nc.Close()
	}
	nc, js, err := dialNATS(c.urls())
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := makeStream(ctx, js, "PROBE"); err != nil {
		return err
	}
	return js.DeleteStream(ctx, "PROBE")
}

// urls are all nodes', with commas.
func (c *natsCluster) urls() string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, "nats://"+n.addr)
	}
	return strings.Join(all, ",")
}

func (c *natsCluster) pids() (pids []int) {
	for _, n := range c.nodes {
		pids = append(pids, n.cmd.Process.Pid)
	}
	return pids
}

// stop ends the servers and removes their data.
func (c *natsCluster) stop() error {
	for _, n := range c.nodes {
		if n.cmd == nil || n.ended == nil {
			continue
		}
		n.cmd.Process.Signal(syscall.SIGCONT)
		n.cmd.Process.Kill()
		<-n.ended
	}
	return os.RemoveAll(c.dir)
}

// load runs this program's load as a process and adds what the servers' processors did for each message.
func (c *natsCluster) load(ctx context.Context, args ...string) (figures, error) {
	before := cpuTime(c.pids())
	b, err := c.l.output(ctx, nil, c.l.self, append([]string{"nats-load", "--url", c.urls()}, args...)...)
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

// natsConnections are what its client tries; the fastest is measured.
var natsConnections = []int{1, 4}

// sendNATS founds a cluster, finds out with how many connections it is fastest, which warms it up, and measures that.
func sendNATS(o natsOptions, s sending) func(context.Context, *lab) (figures, error) {
	return func(ctx context.Context, l *lab) (f figures, err error) {
		c, err := startNATS(ctx, l, o)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		warm := s
		warm.duration = l.duration(s.warmth()) / time.Duration(len(natsConnections))
		best, most := 0, 0.0
		for _, n := range natsConnections {
			f, err := c.load(ctx, append([]string{"send", "--connections", fmt.Sprint(n)}, warm.flags()...)...)
			if err != nil {
				return nil, err
			}
			if f[rate] > most {
				best, most = n, f[rate]
			}
		}
		s := s
		s.duration = l.duration(s.duration)
		if f, err = c.load(ctx, append([]string{"send", "--connections", fmt.Sprint(best)}, s.flags()...)...); err != nil {
			return nil, err
		}
		f["connections"] = float64(best)
		return f.sure()
	}
}
