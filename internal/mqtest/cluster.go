// Package mqtest runs a cluster in one process, for tests.
package mqtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/netcut"
	"raftmq/internal/vfs"
)

// Cluster is a number of nodes on loopback, each with a directory of its own.
type Cluster struct {
	Name  string // no other in this machine's tests, which come to use each other's ports
	t     testing.TB
	cfg   func(*broker.Config)
	names []string
	dirs  []string
	Nodes []*broker.Broker // nil while stopped
	Disks []vfs.FS         // nil: the real one. The catalogue's log is always on the real one
	Net   *netcut.Net      // the links between nodes, all but gossip's
	Ahead []atomic.Int64   // how far each node's clock is, ns
	// Levels are the feature levels that nodes take for their programs', from when they
	// are run next; 0: this program's.
	Levels []uint64
	// Catalogue opens what keeps the catalogue's log of nodes that are run from then on; nil: bolt.
	Catalogue func(dir string) (broker.CatalogueStore, error)
	joins     []string

	mu    sync.Mutex
	at    map[string]string // names of nodes by the address they are dialled at
	known chan struct{}     // closed and replaced when at grows
	mute  string            // a node that nobody reaches by dialling; it dials
}

// How long things may take on a loaded machine, whose processes stand still for seconds, so that
// leaders are lost and elected. What comes in time does not wait for it.
const (
	patience = 45 * time.Second // an answer that must come: less than locks, held pulls and lists of clients last. See lively
	ample    = 3 * time.Minute  // until somebody leads, a node is ready, or a message is stored
	whole    = 5 * time.Minute  // all that a test does
)

// lively is for how long this process has run by now: of the time in which it stood still little counts,
// since nobody could do anything in it.
func lively() time.Duration { return time.Duration(beats().Load()) }

var beats = sync.OnceValue(func() *atomic.Int64 {
	const beat = 10 * time.Millisecond
	sum := new(atomic.Int64)
	go func() {
		for last := time.Now(); ; {
			time.Sleep(beat)
			now := time.Now()
			sum.Add(int64(min(now.Sub(last), 2*beat)))
			last = now
		}
	}()
	return sum
})

// heartbeat is shorter than in real clusters, so that a cluster is there soon. A leader whose lease is not
// renewed within three quarters of it steps down: shorter yet, and a loaded machine has none for long.
const heartbeat = time.Second

var clusters atomic.Int64 // of this process

// Start starts n nodes and returns when all are ready. change, if not nil, may
// alter each node's configuration.
func Start(t testing.TB, n int, change func(*broker.Config)) *Cluster {
	t.Helper()
	return StartOn(t, make([]vfs.FS, n), change)
}

// StartOn is Start on given disks, one per node; nil is the real one.
func StartOn(t testing.TB, disks []vfs.FS, change func(*broker.Config)) *Cluster {
	t.Helper()
	return start(t, disks, change, broker.Level, 0)
}

// startAt is Start of nodes whose programs take themselves for ones of a feature level.
func startAt(t testing.TB, n int, level uint64) *Cluster {
	t.Helper()
	return start(t, make([]vfs.FS, n), nil, level, 0)
}

// start is StartOn of nodes of a level, whose clocks are ahead.
func start(t testing.TB, disks []vfs.FS, change func(*broker.Config), level uint64, ahead time.Duration) *Cluster {
	t.Helper()
	n := len(disks)
	c := &Cluster{Name: fmt.Sprintf("test-%d-%d", os.Getpid(), clusters.Add(1)), t: t, cfg: change, Nodes: make([]*broker.Broker, n), Disks: disks, Net: netcut.New(), Ahead: make([]atomic.Int64, n), Levels: make([]uint64, n), at: make(map[string]string), known: make(chan struct{})}
	for i := range n {
		c.names = append(c.names, fmt.Sprintf("n%d", i+1))
		c.dirs = append(c.dirs, t.TempDir())
		c.Levels[i] = level
		c.Ahead[i].Store(int64(ahead))
	}
	t.Cleanup(func() {
		for i := range c.Nodes {
			c.Stop(i)
		}
	})
	for i := range n {
		c.Run(i)
	}
	for i := range n {
		c.Await(i)
	}
	c.untilIn(ample, "the cluster has come to its nodes' level", func() bool { return c.atLevel(level) })
	return c
}

// Run starts node i, which is stopped, on its directory.
func (c *Cluster) Run(i int) {
	c.t.Helper()
	require.NoError(c.t, c.open(i))
}

// open is Run, unless the node does not start.
func (c *Cluster) open(i int) error {
	cfg := broker.Config{
		Cluster: c.Name, Node: c.names[i], Data: c.dirs[i], InitialNodes: c.names, Join: c.joins,
		NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1, AutoCreateTopics: true,
		WALSegmentBytes: 4 << 20, MaxBody: 512 << 10, SegmentBytes: 8 << 20, Heartbeat: heartbeat,
		DiskCleanAt: 100, DiskForceAt: 100, DiskRefuseAt: 100, DiskReserve: -1,
	}
	if c.cfg != nil {
		c.cfg(&cfg)
	}
	log := hclog.New(&hclog.LoggerOptions{Name: c.names[i], Level: hclog.LevelFromString(os.Getenv("RAFTMQ_TEST_LOG")), Output: os.Stderr})
	if os.Getenv("RAFTMQ_TEST_LOG") == "" {
		log = hclog.NewNullLogger()
	}
	b, err := broker.Open(context.Background(), cfg, broker.Deps{
		Logger: log, Disk: c.Disks[i], Dial: c.dial(c.names[i]),
		Now:   func() time.Time { return time.Now().Add(time.Duration(c.Ahead[i].Load())) },
		Level: c.Levels[i], Catalogue: c.Catalogue,
	})
	if err != nil {
		return err
	}
	c.Nodes[i] = b
	c.mu.Lock()
	c.at[b.Addresses().Raft] = c.names[i]
	close(c.known)
	c.known = make(chan struct{})
	c.mu.Unlock()
	c.joins = append(c.joins, b.Addresses().Gossip)
	return nil
}

// atLevel reports whether all running nodes know that the cluster has come to a feature
// level.
func (c *Cluster) atLevel(level uint64) bool {
	for _, b := range c.Nodes {
		if b != nil && b.FeatureLevel() != level {
			return false
		}
	}
	return true
}

// dial is how node from dials others: through Net. One that is starting is dialled
// before its name is known here: that waits.
func (c *Cluster) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		to, known := c.nodeAt(addr)
		for ; to == ""; to, known = c.nodeAt(addr) {
			select {
			case <-known:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if c.muted() == to {
			return nil, syscall.ECONNREFUSED
		}
		return c.Net.Dialer(from, func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		})(ctx, to)
	}
}

func (c *Cluster) nodeAt(addr string) (name string, grows <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[addr], c.known
}

// muteNode lets no other node reach this one by dialling; "": all reach all.
func (c *Cluster) muteNode(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = node
}

func (c *Cluster) muted() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mute
}

// Await waits until node i serves.
func (c *Cluster) Await(i int) {
	c.t.Helper()
	deadline := time.After(ample)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, reason := c.Nodes[i].Ready()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case err := <-c.Nodes[i].Failed():
			c.t.Fatalf("%s failed: %v", c.names[i], err)
		case <-deadline:
			c.t.Fatalf("%s is not ready: %s", c.names[i], reason)
		}
	}
}

// Stop shuts node i down; nothing if it is stopped.
func (c *Cluster) Stop(i int) {
	if c.Nodes[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Nodes[i].Shutdown(ctx); err != nil {
		c.t.Logf("shut %s down: %v", c.names[i], err)
	}
	c.Nodes[i] = nil
}

// until waits for what must come to be.
func (c *Cluster) until(what string, ok func() bool) {
	c.t.Helper()
	c.untilIn(patience, what, ok)
}

// untilIn is until for so long.
func (c *Cluster) untilIn(d time.Duration, what string, ok func() bool) {
	c.t.Helper()
	end := lively() + d
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		<-tick.C
		if lively() > end {
			c.t.Fatalf("never: %s", what)
		}
	}
}

// Endpoints are the name servers of the running nodes.
func (c *Cluster) Endpoints() []string {
	var addrs []string
	for _, b := range c.Nodes {
		if b != nil {
			addrs = append(addrs, b.Addresses().NameServer)
		}
	}
	return addrs
}

// Client returns a client of the cluster that is closed with the test.
func (c *Cluster) Client() *client.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := client.Dial(ctx, client.WithEndpoints(c.Endpoints()...))
	require.NoError(c.t, err)
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		cl.Close(ctx)
	})
	return cl
}
