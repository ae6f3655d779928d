package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/internal/ports"
	"raftmq/internal/vfs"
)

// devCluster is the nodes of one dev. What cluster.json shows is its JSON.
type devCluster struct {
	Nodes []*devNode `json:"nodes"`

	dir   string // absolute
	name  string // of the cluster
	extra []string

	// mu guards the nodes' processes and PIDs and the file. Nothing waits under it.
	mu       sync.Mutex
	stopping bool
}

type devOptions struct {
	nodes, slots, base int
	wipe               bool
}

func devCommand() *cobra.Command {
	var dir string
	var o devOptions
	c := &cobra.Command{
		Use: "dev [-- SERVER FLAGS]", Short: "Run three real nodes on this machine, in the foreground",
		Example: "  raftmq dev --data ./data\n  raftmq dev kill n1 --data ./data      # from another terminal\n  raftmq dev restart n1 --data ./data",
		RunE: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at > 0 || at < 0 && len(args) > 0 {
				return exitError{exitUsage, fmt.Errorf("unknown command %q for dev; flags of the servers come after --", args[0])}
			}
			if o.nodes < 1 || o.slots < 1 {
				return exitError{exitUsage, errors.New("at least one node and one slot are needed")}
			}
			d := &devCluster{extra: args}
			return d.run(cmd.Context(), dir, o)
		},
	}
	c.PersistentFlags().StringVar(&dir, "data", "raftmq-data", "directory of the nodes' data and logs")
	c.Flags().IntVar(&o.base, "port-base", 0, "first of the ports to use, 60 for each node (default: 9876, 10911 ... if free, else free ones)")
	c.Flags().IntVar(&o.nodes, "nodes", 3, "how many nodes")
	c.Flags().IntVar(&o.slots, "slots", 3, "slots of a new cluster")
	c.Flags().BoolVar(&o.wipe, "wipe", false, "begin with empty data: removes what an earlier dev made there, and nothing else")
	for _, x := range []struct{ verb, short string }{
		{"kill", "Kill a node with -9"}, {"pause", "Stop a node's process (SIGSTOP)"}, {"resume", "Continue a paused node"},
		{"restart", "Stop a node cleanly if it runs, start it, and wait until it serves"}, {"stop", "Stop a node cleanly, or all without a name"},
	} {
		c.AddCommand(&cobra.Command{Use: x.verb + " NODE", Short: x.short, Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeNode(&dir), RunE: func(cmd *cobra.Command, args []string) error {
			node := strings.Join(args, "")
			if node == "" && x.verb != "stop" {
				return exitError{exitUsage, errors.New("which node? n1, n2 ...")}
			}
			return tellDev(cmd.Context(), dir, x.verb, node)
		}})
	}
	return c
}

func (d *devCluster) run(ctx context.Context, dir string, o devOptions) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	d.dir = abs
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return err
	}
	lock, err := vfs.OS{}.Lock(filepath.Join(d.dir, "dev.lock"))
	if errors.Is(err, vfs.ErrLocked) {
		return exitError{exitConflict, fmt.Errorf("a dev cluster runs on %s already", d.dir)}
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if o.wipe {
		if err := wipeDev(d.dir); err != nil {
			return err
		}
	}
	if err := d.place(o, ports.Free); err != nil {
		return err
	}
	d.name = d.clusterName()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	control, err := listenControl(d.dir)
	if err != nil {
		cancel()
		return err
	}
	wg.Go(func() { d.control(ctx, control) })
	defer wg.Wait()
	defer control.Close()
	defer d.stopAll()
	defer cancel() // first: whoever waits for a node gives up
	for _, x := range d.Nodes {
		if err := d.start(x); err != nil {
			return err
		}
	}
	if err := d.await(ctx); err != nil {
		return err
	}
	d.announce()
	<-ctx.Done()
	return nil
}

// clusterName is that of the data, or a new one: clusters on one machine that come to
// use each other's former ports do not take each other for their own.
func (d *devCluster) clusterName() string {
	for _, x := range d.Nodes {
		var id struct{ Cluster string }
		if b, err := os.ReadFile(filepath.Join(x.Data, "node.json")); err == nil && json.Unmarshal(b, &id) == nil && id.Cluster != "" {
			return id.Cluster
		}
	}
	return fmt.Sprintf("dev-%06x", rand.Uint32N(1<<24))
}

// announce prints the table of addresses and the line that begins with ready.
func (d *devCluster) announce() {
	t := table{header: []string{"NODE", "NAME SERVER", "LISTENERS", "HTTP", "PID", "LOG"}}
	d.mu.Lock()
	for _, x := range d.Nodes {
		t.add(x, x.Name, x.NameServer, strings.Join(x.Listeners, " "), "http://"+x.HTTP, x.PID, x.Log)
	}
	d.mu.Unlock()
	t.print("table")
	var all []string
	for _, x := range d.Nodes {
		all = append(all, x.NameServer)
	}
	fmt.Printf("ready: %d nodes, name server %s\n\n", len(d.Nodes), d.Nodes[0].NameServer)
	fmt.Printf("next, in another terminal (with all nodes named, any of them may die):\n  export RAFTMQ_ENDPOINT=%s\n  bin/raftmq send orders hello\n  bin/raftmq consume orders --group g --count 1\n  bin/raftmq dev kill n1 --data %s\n  bin/raftmq cluster status\n", strings.Join(all, ","), d.dir)
}

// save writes cluster.json: a reader sees the old file or the new one. d.mu is
// held.
func (d *devCluster) save() error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(d.dir, clusterFile)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o640); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

const clusterFile = "cluster.json"

var devName = regexp.MustCompile(`^n[1-9][0-9]*$`)

// wipeDev removes the data and logs of the nodes that dir's cluster.json names.
// Other files in dir stay.
func wipeDev(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, clusterFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old devCluster
	if err := json.Unmarshal(b, &old); err != nil {
		return exitError{exitConflict, fmt.Errorf("%s is not of dev, nothing is removed: %w", filepath.Join(dir, clusterFile), err)}
	}
	for _, x := range old.Nodes {
		if !devName.MatchString(x.Name) {
			return exitError{exitConflict, fmt.Errorf("%s names a node %q, nothing is removed", filepath.Join(dir, clusterFile), x.Name)}
		}
	}
	for _, x := range old.Nodes {
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, x.Name)), os.RemoveAll(filepath.Join(dir, x.Name+".log"))); err != nil {
			return err
		}
	}
	return os.Remove(filepath.Join(dir, clusterFile))
}

// await returns when every node answers that it is ready.
func (d *devCluster) await(ctx context.Context) error {
	begun, told := time.Now(), time.Now()
	for {
		ready, why := 0, ""
		for _, x := range d.Nodes {
			reason := readyReason(ctx, x.HTTP)
			switch {
			case reason == "":
				ready++
			case !d.process(x).running():
				return exitError{exitFailed, fmt.Errorf("%s ended while starting; its log says:\n%s", x.Name, lastLines(x.Log, 5))}
			default:
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
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
