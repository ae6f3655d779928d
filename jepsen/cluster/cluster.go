package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Options are a cluster's.
type Options struct {
	Program string // the raftmq to run
	Other   string // another release's; "": there is none
	Dir     string // for data and logs; must exist
	Nodes   int
	Slots   int
	Args    []string // more flags for each server
	Network Network  // nil: loopback
	World   World    // where nodes live that are no processes; nil: they are. Program and Faults do not count then
	Faults  bool     // the program is a test build, see TakesFaults
	// OnExit is told that a node's process ended that nobody ended, with how and the
	// end of its log. It must not block.
	OnExit func(node, how string)
	// OnStart is told of each process before it is started. It must not block.
	OnStart func(node string)
}

// Cluster is its nodes. Its methods may be called from any goroutine.
type Cluster struct {
	Nodes []*Node

	o       Options
	name    string
	sockets string // directory of the nodes' sockets: their paths must be short

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
	if o.Network == nil {
		o.Network = Loopback{}
	}
	c := &Cluster{o: o, name: fmt.Sprintf("jepsen-%08x", rand.Uint32()), starts: make(chan func())}
	base, err := simulatedBase, error(nil)
	if o.World != nil {
		c.name = "simulated"
	} else if base, err = freePorts(o.Nodes, o.Slots); err != nil {
		return nil, err
	}
	if o.Faults {
		if c.sockets, err = os.MkdirTemp("", "jepsen"); err != nil {
			return nil, err
		}
	}
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, newNode(c, i, base+i*perNode))
	}
	if err := c.reach(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.sockets))
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
		wg.Go(func() { errs[i] = n.Stop() })
	}
	wg.Wait()
	for _, n := range c.Nodes {
		n.web.CloseIdleConnections()
	}
	close(c.starts)
	c.starter.Wait()
	if c.sockets != "" {
		errs = append(errs, os.RemoveAll(c.sockets))
	}
	return errors.Join(errs...)
}

// Begin starts a process that is none of the nodes: it is not paused by a terminal's
// ^C, and does not outlive this program. It runs where this program does.
func (c *Cluster) Begin(cmd *exec.Cmd) error {
	cmd.SysProcAttr = childAttr()
	begun := make(chan error)
	c.starts <- func() { begun <- cmd.Start() }
	return <-begun
}

// Endpoints are the name servers of all nodes.
func (c *Cluster) Endpoints() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.NameServer)
	}
	return all
}

// reach tells each node how it reaches the others.
func (c *Cluster) reach() error {
	for i, n := range c.Nodes {
		var peers []Peer
		for j, o := range c.Nodes {
			if i != j {
				peers = append(peers, Peer{j, o.raft, o.gossip})
			}
		}
		via, err := c.o.Network.Via(i, peers)
		if err != nil {
			return err
		}
		if via != nil && !c.o.Faults {
			return errors.New("nodes that are to call each other through relays must be a test build")
		}
		n.via = via
	}
	return nil
}

// at is the node that has an address for clients, and which of its listeners that is;
// -1 is the name server.
func (c *Cluster) at(addr string) (n *Node, listener int, err error) {
	for _, n := range c.Nodes {
		if addr == n.NameServer {
			return n, -1, nil
		}
		if i := slices.Index(n.Listeners, addr); i >= 0 {
			return n, i, nil
		}
	}
	return nil, 0, fmt.Errorf("%s is no address of the cluster", addr)
}

// Dial connects to an address of the cluster as clients do. Other addresses are
// refused.
func (c *Cluster) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n, _, err := c.at(addr)
	if err != nil {
		return nil, err
	}
	return c.o.Network.Dial(ctx, n.number, addr)
}

// Only returns what connects to node n in place of whichever node of the cluster is
// meant, at the listener of the same slot. Other addresses are refused.
func (c *Cluster) Only(n *Node) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		_, listener, err := c.at(addr)
		if err != nil {
			return nil, err
		}
		addr = n.NameServer
		if listener >= 0 {
			addr = n.Listeners[listener]
		}
		return c.o.Network.Dial(ctx, n.number, addr)
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
