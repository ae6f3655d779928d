package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// Options are a cluster's.
type Options struct {
	Program string // the raftmq to run
	Dir     string // for data and logs; must exist
	Nodes   int
	Slots   int
	Args    []string // more flags for each server
	// OnExit is told that a node's process ended that nobody ended, with how and the
	// end of its log. It must not block.
	OnExit func(node, how string)
}

// Cluster is its nodes. Its methods may be called from any goroutine.
type Cluster struct {
	Nodes []*Node

	o    Options
	name string

	// A process dies with the thread that started it, so that none outlives this
	// program: one goroutine starts all and keeps its thread.
	starts  chan func()
	starter sync.WaitGroup
}

// Start starts the nodes and returns when all are ready. Whatever it started is gone
// when it fails.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	c := &Cluster{o: o, name: fmt.Sprintf("jepsen-%08x", rand.Uint32()), starts: make(chan func())}
	base, err := freePorts(o.Nodes, o.Slots)
	if err != nil {
		return nil, err
	}
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, newNode(c, "n"+strconv.Itoa(i+1), base+i*perNode))
	}
	c.starter.Go(func() {
		runtime.LockOSThread()
		for f := range c.starts {
			f()
		}
	})
	for _, n := range c.Nodes {
		if err = n.Start(); err != nil {
			break
		}
	}
	for _, n := range c.Nodes {
		if err == nil {
			err = n.AwaitReady(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Stop ends every process, cleanly if it can, and returns when all are gone. The
// error names those that had to be killed or did not exit with 0.
func (c *Cluster) Stop() error {
	errs := make([]error, len(c.Nodes))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		wg.Go(func() { errs[i] = n.stop() })
	}
	wg.Wait()
	close(c.starts)
	c.starter.Wait()
	return errors.Join(errs...)
}

// Endpoints are the name servers of all nodes.
func (c *Cluster) Endpoints() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.NameServer)
	}
	return all
}

// Only returns what connects to node n in place of whichever node of the cluster is
// meant, at the listener of the same slot. Other addresses are refused.
func (c *Cluster) Only(n *Node) func(ctx context.Context, network, addr string) (net.Conn, error) {
	same := make(map[string]string)
	for _, o := range c.Nodes {
		same[o.NameServer] = n.NameServer
		for s, l := range o.Listeners {
			same[l] = n.Listeners[s]
		}
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := same[addr]
		if !ok {
			return nil, fmt.Errorf("%s is no address of the cluster", addr)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, to)
	}
}

func (c *Cluster) names() string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.Name)
	}
	return strings.Join(all, ",")
}

func (c *Cluster) gossip() string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.gossip)
	}
	return strings.Join(all, ",")
}
