package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// devNode is one node of a dev cluster, as cluster.json has it.
type devNode struct {
	Name       string   `json:"name"`
	PID        int      `json:"pid"`
	NameServer string   `json:"nameserver"`
	Listeners  []string `json:"listeners"`
	Raft       string   `json:"raft"`
	Gossip     string   `json:"gossip"`
	HTTP       string   `json:"http"`
	Data       string   `json:"data"`
	Log        string   `json:"log"`

	base  [5]int // ports: name server, first listener, raft, gossip, http
	cmd   *exec.Cmd
	ended chan struct{}
}

type devCluster struct {
	Nodes []*devNode `json:"nodes"`

	dir   string
	extra []string
	mu    sync.Mutex
}

const devSocket = "dev.sock"

func devCommand() *cobra.Command {
	var dir string
	var base, nodes int
	var wipe bool
	var extra []string
	c := &cobra.Command{
		Use: "dev [-- SERVER FLAGS]", Short: "Run three real nodes on this machine, in the foreground",
		Example: "  raftmq dev --data ./data\n  raftmq dev kill n1 --data ./data      # from another terminal\n  raftmq dev restart n1 --data ./data",
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &devCluster{dir: dir, extra: append(extra, args...)}
			return d.run(cmd.Context(), nodes, base, wipe)
		},
	}
	c.PersistentFlags().StringVar(&dir, "data", "raftmq-data", "directory of the nodes' data and logs")
	c.Flags().IntVar(&base, "port-base", 0, "first of 200 ports to use (default: 9876, 10911 ... if free, else free ones)")
	c.Flags().IntVar(&nodes, "nodes", 3, "how many nodes")
	c.Flags().BoolVar(&wipe, "wipe", false, "begin with empty data")
	for _, x := range []struct{ verb, short string }{
		{"kill", "Kill a node with -9"}, {"pause", "Stop a node's process (SIGSTOP)"}, {"resume", "Continue a paused node"},
		{"restart", "Start a node that is not running, or stop it cleanly first"}, {"stop", "Stop a node cleanly, or all without a name"},
	} {
		c.AddCommand(&cobra.Command{Use: x.verb + " NODE", Short: x.short, Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			node := strings.Join(args, "")
			if node == "" && x.verb != "stop" {
				return exitError{exitUsage, errors.New("which node? n1, n2 ...")}
			}
			return tellDev(dir, x.verb, node)
		}})
	}
	return c
}

// tellDev asks the running dev to do something.
func tellDev(dir, verb, node string) error {
	conn, err := net.Dial("unix", filepath.Join(dir, devSocket))
	if err != nil {
		return exitError{exitNotFound, fmt.Errorf("no dev cluster runs on %s", dir)}
	}
	defer conn.Close()
	fmt.Fprintln(conn, verb, node)
	b, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	answer := strings.TrimSpace(string(b))
	if answer != "ok" {
		return exitError{exitConflict, errors.New(answer)}
	}
	return nil
}

// freePorts finds n free ports in a row distance apart.
func freePort(near, step, n int) (int, error) {
	for p := near; p < 60000; p += 200 {
		ok := true
		for i := 0; i < n && ok; i++ {
			ok = portFree(p + i*step)
		}
		if ok {
			return p, nil
		}
	}
	return 0, errors.New("no free ports")
}

func portFree(p int) bool {
	ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func (d *devCluster) run(ctx context.Context, n, base int, wipe bool) error {
	if wipe {
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return err
	}
	abs, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	d.dir = abs
	if _, err := net.Dial("unix", filepath.Join(d.dir, devSocket)); err == nil {
		return exitError{exitConflict, fmt.Errorf("a dev cluster runs on %s already", d.dir)}
	}
	os.Remove(filepath.Join(d.dir, devSocket))
	control, err := net.Listen("unix", filepath.Join(d.dir, devSocket))
	if err != nil {
		return err
	}
	defer control.Close()
	if err := d.place(n, base); err != nil {
		return err
	}
	for _, x := range d.Nodes {
		if err := d.start(x); err != nil {
			d.stopAll()
			return err
		}
	}
	defer d.stopAll()
	go d.control(control)
	if err := d.await(ctx); err != nil {
		return err
	}
	t := table{header: []string{"NODE", "NAME SERVER", "LISTENERS", "HTTP", "PID", "LOG"}}
	for _, x := range d.Nodes {
		t.add(x, x.Name, x.NameServer, strings.Join(x.Listeners, " "), "http://"+x.HTTP, x.PID, x.Log)
	}
	t.print("table")
	at := ""
	if d.Nodes[0].NameServer != "127.0.0.1:9876" {
		at = " --endpoint " + d.Nodes[0].NameServer
	}
	fmt.Printf("ready: %d nodes, name server %s\n\n", len(d.Nodes), d.Nodes[0].NameServer)
	fmt.Printf("next, in another terminal:\n  bin/raftmq send orders hello%s\n  bin/raftmq consume orders --group g --count 1%s\n  bin/raftmq dev kill n1 --data %s\n  bin/raftmq cluster status%s\n", at, at, d.dir, at)
	<-ctx.Done()
	return nil
}

// place gives each node its ports.
func (d *devCluster) place(n, base int) error {
	for i := range n {
		var at [5]int
		if base > 0 {
			b := base + 60*i
			at = [5]int{b, b + 10, b + 1, b + 2, b + 3}
		} else {
			near := [5]int{9876 + i, 10911 + 1000*i, 10800 + i, 10700 + i, 10600 + i}
			for k := range near {
				count := 1
				if k == 1 {
					count = 3
				}
				p, err := freePort(near[k], 10, count)
				if err != nil {
					return err
				}
				at[k] = p
			}
		}
		name := "n" + strconv.Itoa(i+1)
		addr := func(p int) string { return "127.0.0.1:" + strconv.Itoa(p) }
		d.Nodes = append(d.Nodes, &devNode{
			Name: name, NameServer: addr(at[0]), Listeners: []string{addr(at[1]), addr(at[1] + 10), addr(at[1] + 20)}, Raft: addr(at[2]), Gossip: addr(at[3]), HTTP: addr(at[4]),
			Data: filepath.Join(d.dir, name), Log: filepath.Join(d.dir, name+".log"), base: at,
		})
	}
	return nil
}

// start runs x's process; d.mu is held, or d is not shared yet.
func (d *devCluster) start(x *devNode) error {
	log, err := os.OpenFile(x.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	var names, gossip []string
	for _, o := range d.Nodes {
		names = append(names, o.Name)
		gossip = append(gossip, o.Gossip)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	x.cmd = exec.Command(self, append([]string{
		"server", "--cluster", "dev", "--node", x.Name, "--data", x.Data, "--auto-create-topics", "--initial-nodes", strings.Join(names, ","), "--join", strings.Join(gossip, ","),
		"--nameserver-port", strconv.Itoa(x.base[0]), "--listen-port", strconv.Itoa(x.base[1]), "--raft-port", strconv.Itoa(x.base[2]), "--gossip-port", strconv.Itoa(x.base[3]), "--http-port", strconv.Itoa(x.base[4]),
	}, d.extra...)...)
	x.cmd.Stdout, x.cmd.Stderr = log, log
	x.cmd.SysProcAttr = childAttr()
	if err := x.cmd.Start(); err != nil {
		return err
	}
	x.PID = x.cmd.Process.Pid
	x.ended = make(chan struct{})
	cmd, ended := x.cmd, x.ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	return d.save()
}

// save writes cluster.json.
func (d *devCluster) save() error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(d.dir, "cluster.json")
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o640); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

func (x *devNode) running() bool {
	select {
	case <-x.ended:
		return false
	default:
		return true
	}
}

// await returns when every node answers that it is ready.
func (d *devCluster) await(ctx context.Context) error {
	begun, told := time.Now(), time.Now()
	for {
		ready, why := 0, ""
		for _, x := range d.Nodes {
			if !x.running() {
				return exitError{exitFailed, fmt.Errorf("%s ended while starting; its log says:\n%s", x.Name, lastLines(x.Log, 5))}
			}
			if reason := readyReason(x.HTTP); reason == "" {
				ready++
			} else {
				why = x.Name + ": " + reason
			}
		}
		if ready == len(d.Nodes) {
			return nil
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d ready after %v; %s\n", ready, len(d.Nodes), time.Since(begun).Round(time.Second), why)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readyReason is why a node is not ready; "" if it is.
func readyReason(addr string) string {
	c := http.Client{Timeout: time.Second}
	resp, err := c.Get("http://" + addr + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func lastLines(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// control serves dev kill and its like.
func (d *devCluster) control(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			line, _ := bufio.NewReader(c).ReadString('\n')
			verb, node, _ := strings.Cut(strings.TrimSpace(line), " ")
			if err := d.do(verb, node); err != nil {
				fmt.Fprintln(c, err)
				return
			}
			fmt.Fprintln(c, "ok")
		}()
	}
}

func (d *devCluster) do(verb, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if verb == "stop" && name == "" {
		return syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	for _, x := range d.Nodes {
		if x.Name != name {
			continue
		}
		if verb != "restart" && !x.running() {
			return fmt.Errorf("%s is not running", name)
		}
		switch verb {
		case "kill":
			err := x.cmd.Process.Signal(syscall.SIGKILL)
			<-x.ended
			return err
		case "pause":
			return x.cmd.Process.Signal(syscall.SIGSTOP)
		case "resume":
			return x.cmd.Process.Signal(syscall.SIGCONT)
		case "stop":
			x.end()
			return nil
		case "restart":
			x.end()
			if err := d.start(x); err != nil {
				return err
			}
			for readyReason(x.HTTP) != "" {
				if !x.running() {
					return fmt.Errorf("%s ended while starting; its log says:\n%s", x.Name, lastLines(x.Log, 5))
				}
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		}
		return fmt.Errorf("unknown verb %q", verb)
	}
	return fmt.Errorf("no node %q", name)
}

// end stops a node cleanly, and with -9 if it does not.
func (x *devNode) end() {
	if !x.running() {
		return
	}
	x.cmd.Process.Signal(syscall.SIGTERM)
	x.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-x.ended:
	case <-time.After(drain + 5*time.Second):
		x.cmd.Process.Kill()
		<-x.ended
	}
}

func (d *devCluster) stopAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var wg sync.WaitGroup
	for _, x := range d.Nodes {
		if x.cmd != nil {
			wg.Go(x.end)
		}
	}
	wg.Wait()
	os.Remove(filepath.Join(d.dir, devSocket))
}
