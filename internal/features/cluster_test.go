package features

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/internal/mqtest"
	procs "raftmq/jepsen/cluster"
)

// cluster is three nodes, in this process or each its own.
type cluster struct {
	here  *mqtest.Cluster // nil: they are processes
	there *procs.Cluster
	data  [3]string // folders

	mu     sync.Mutex
	killed int
}

// start starts one that ends with the test.
func start(t *testing.T) *cluster {
	t.Helper()
	c := new(cluster)
	if program == "" {
		n := 0
		c.here = mqtest.Start(t, len(c.data), func(cfg *broker.Config) {
			cfg.SegmentBytes, cfg.DeleteWhen, cfg.RetainEvery = 1<<20, "any", 100*time.Millisecond
			cfg.TransactionTimeout, cfg.TransactionCheckInterval = 100*time.Millisecond, 300*time.Millisecond
			cfg.TransactionChecks = 10000 // else what nobody knows yet is parked soon
			if n < len(c.data) {
				c.data[n] = cfg.Data
			}
			n++
		})
		return c
	}
	if !filepath.IsAbs(program) {
		t.Fatalf("RAFTMQ_FEATURES=%s: give the program's absolute path", program)
	}
	var err error
	c.there, err = procs.Start(t.Context(), procs.Options{Program: program, Dir: t.TempDir(), Nodes: len(c.data), Slots: 3,
		Args:   []string{"--auto-create-topics", "--segment-bytes", "1048576", "--delete-when", "any"},
		OnExit: func(node, how string) { t.Errorf("%s ended by itself: %s", node, how) }})
	require.NoError(t, err)
	for i, n := range c.there.Nodes {
		c.data[i] = n.Data
	}
	t.Cleanup(func() { require.NoError(t, c.there.Stop()) })
	return c
}

// endpoints are the name servers of all nodes.
func (c *cluster) endpoints() []string {
	if c.here != nil {
		return c.here.Endpoints()
	}
	return c.there.Endpoints()
}

func (c *cluster) listener(node, slot int) string {
	if c.here != nil {
		return c.here.Nodes[node].Addresses().Listeners[slot]
	}
	return c.there.Nodes[node].Listeners[slot]
}

// leads reports whether a node says that it leads the one partition of a topic.
func (c *cluster) leads(ctx context.Context, node int, topic string) bool {
	if c.here != nil {
		if c.here.Nodes[node] != nil {
			for _, p := range c.here.Nodes[node].Partitions() {
				if p.Topic == topic {
					return p.State == "Leader"
				}
			}
		}
		return false
	}
	all, err := c.there.Nodes[node].Replicas(ctx, topic)
	return err == nil && len(all) == 1 && all[0].State == "Leader"
}

// replica is the number of a topic's one partition, or 0 if the node does not hold it, or is stopped.
func (c *cluster) replica(ctx context.Context, node int, topic string) (id uint64) {
	if c.here != nil {
		if c.here.Nodes[node] != nil {
			for _, p := range c.here.Nodes[node].Partitions() {
				if p.Topic == topic {
					return p.ID
				}
			}
		}
		return 0
	}
	all, err := c.there.Nodes[node].Replicas(ctx, topic)
	if err != nil || len(all) != 1 {
		return 0
	}
	return all[0].ID
}

// stop ends a node: a process with -9, one of this process cleanly.
func (c *cluster) stop(t testing.TB, node int) {
	t.Helper()
	if c.here != nil {
		c.here.Stop(node)
		return
	}
	_, err := c.there.Nodes[node].Kill()
	require.NoError(t, err)
}

// run starts a node that was stopped, and returns when it is ready.
func (c *cluster) run(t testing.TB, node int) {
	t.Helper()
	if c.here != nil {
		c.here.Run(node)
		c.here.Await(node)
		return
	}
	require.NoError(t, c.there.Nodes[node].Start())
	require.NoError(t, c.there.Nodes[node].AwaitReady(context.Background()))
}

// wipe takes the folder of a stopped node away.
func (c *cluster) wipe(t testing.TB, node int) {
	t.Helper()
	require.NoError(t, os.RemoveAll(c.data[node]))
}

// killing kills one node after the other, and has it back, until stop is called.
func (c *cluster) killing(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-time.After(2 * time.Second): // in which the rows get on
			case <-ctx.Done():
				return
			}
			node := c.there.Nodes[n%len(c.data)]
			if _, err := node.Kill(); err != nil {
				t.Errorf("kill: %v", err)
				return
			}
			c.mu.Lock()
			c.killed++
			c.mu.Unlock()
			if err := node.Start(); err != nil {
				t.Errorf("start: %v", err)
				return
			}
			if err := node.AwaitReady(context.Background()); err != nil {
				t.Errorf("start: %v", err)
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		t.Log(fmt.Sprintf("%d times a node was killed", c.killed))
	}
}
