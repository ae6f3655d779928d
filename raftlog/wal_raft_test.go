package raftlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// Three nodes run hashicorp/raft in many groups, each node with one write-ahead log for all of them. The power of nodes is cut and they are
// cut off, one after the other and all together, while every group stores. Raft truncates both ends of its logs: conflicting suffixes,
// and prefixes behind snapshots. At the end what any group answered is applied on all nodes, and no two ever applied different entries.
// RAFTMQ_GROUPS sets the number of groups, RAFTMQ_SEED the seed.
func TestRaftOnTheWALLosesNothingCommitted(t *testing.T) {
	groups, seed := 100, uint64(time.Now().UnixNano())
	if testing.Short() {
		groups = 10
	}
	if n, err := strconv.Atoi(os.Getenv("RAFTMQ_GROUPS")); err == nil {
		groups = n
	}
	if n, err := strconv.ParseUint(os.Getenv("RAFTMQ_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("%d groups, seed %d", groups, seed)
	c := newRaftCluster(t, groups, seed)
	stop := c.load()
	r := rand.New(rand.NewPCG(seed, 5))
	for round := 0; round < 3 || c.suffixes.Load() == 0 && round < 40; round++ {
		c.progress(t, groups)
		c.cutPower(t, r.IntN(3))

		c.progress(t, groups)
		off := c.leading()
		c.net.cuts.Cut(names3[off], names3[(off+1)%3])
		c.net.cuts.Cut(names3[off], names3[(off+2)%3])
		c.progress(t, 2*groups)
		c.net.cuts.HealAll()
	}
	c.progress(t, groups)
	c.cutPower(t, 0, 1, 2)
	c.progress(t, groups)
	stop()
	c.finish(t)
	t.Logf("%d commands, %d suffixes and %d prefixes removed", c.acks.Load(), c.suffixes.Load(), c.prefixes.Load())
	require.Positive(t, c.suffixes.Load())
	require.Positive(t, c.prefixes.Load())
}

var names3 = []string{"n1", "n2", "n3"}

type raftCluster struct {
	seed  uint64
	net   *nodeNet
	nodes []*raftNode

	acks, suffixes, prefixes atomic.Int64

	mu     sync.Mutex
	seen   []map[uint64]string // of each group: what was applied at an index, by whoever was first
	acked  []map[string]bool
	errs   []error
	change chan struct{} // closes at the next acknowledgement
}

type raftNode struct {
	name      string
	transport *raftlog.Transport
	disk      *vfs.Mem
	wal       *raftlog.WAL
	snapshots []*keptSnapshots
	rafts     []*raft.Raft
	machines  []*listMachine
	nets      []*raftlog.GroupTransport
	lock      sync.RWMutex // rafts and machines change when the node restarts
}

func newRaftCluster(t *testing.T, groups int, seed uint64) *raftCluster {
	c := &raftCluster{seed: seed, net: newNodeNet(), change: make(chan struct{})}
	c.net.pipes = true
	for range groups {
		c.seen, c.acked = append(c.seen, map[uint64]string{}), append(c.acked, map[string]bool{})
	}
	for i, name := range names3 {
		n := &raftNode{name: name, transport: c.net.open(t, name, nil), disk: vfs.NewMem(seed + uint64(i))}
		for range groups {
			n.snapshots = append(n.snapshots, &keptSnapshots{})
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.transport.SetPeers(names3)
		c.start(t, n)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
			n.wal.Close()
		}
	})
	return c
}

func (c *raftCluster) start(t *testing.T, n *raftNode) {
	t.Helper()
	groups := len(c.seen)
	w, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: n.disk, SegmentBytes: int64(max(100, groups)) << 13, Segments: 8, MaxAppend: 64 << 10})
	require.NoError(t, err)
	n.lock.Lock()
	defer n.lock.Unlock()
	n.wal, n.rafts, n.machines, n.nets = w, nil, nil, nil
	for i := range groups {
		conf := raftConfig(n.name)
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = time.Second, time.Second, time.Second
		conf.SnapshotThreshold, conf.SnapshotInterval, conf.TrailingLogs = 16, 200*time.Millisecond, 8
		log := &countedLog{GroupLog: w.Group(uint64(i)), c: c}
		net := n.transport.Group(uint64(i))
		m := &listMachine{apply: func(index uint64, data string) { c.applied(i, index, data) }}
		has, err := raft.HasExistingState(log, log, n.snapshots[i])
		require.NoError(t, err)
		if !has {
			require.NoError(t, raft.BootstrapCluster(conf, log, log, n.snapshots[i], net, servers(names3...)))
		}
		stable := &endingStable{StableStore: log}
		r, err := raft.NewRaft(conf, m, log, stable, n.snapshots[i], net)
		require.NoError(t, err)
		stable.armed.Store(true)
		n.rafts, n.machines, n.nets = append(n.rafts, r), append(n.machines, m), append(n.nets, net)
	}
}

func (n *raftNode) stop() {
	var wg sync.WaitGroup
	for i, r := range n.rafts {
		wg.Go(func() {
			n.nets[i].Close()
			r.Shutdown().Error()
		})
	}
	wg.Wait()
}

// cutPower restarts nodes on what a power cut left, all of them cut at once.
func (c *raftCluster) cutPower(t *testing.T, nodes ...int) {
	t.Helper()
	var left []*vfs.Mem
	for _, i := range nodes {
		c.seed++
		left = append(left, c.nodes[i].disk.Crash(c.seed))
	}
	if len(nodes) < len(c.nodes) { // the others go on meanwhile
		c.progress(t, len(c.seen))
	}
	for k, i := range nodes {
		c.nodes[i].stop()
		c.nodes[i].wal.Close()
		c.nodes[i].disk = left[k]
	}
	for _, i := range nodes {
		c.start(t, c.nodes[i])
	}
}

// load has every group store one command after the other.
func (c *raftCluster) load() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for g := range c.seen {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				cmd := fmt.Sprintf("%d-%d ", g, i)
				answer := make(chan struct{})
				go func() { // ends at the latest when raft shuts down
					defer close(answer)
					if r := c.leader(g); r != nil && r.Apply(append([]byte(cmd), make([]byte, 300)...), 0).Error() == nil {
						c.acknowledged(g, cmd)
					}
				}()
				select {
				case <-answer:
				case <-time.After(300 * time.Millisecond):
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return func() { close(done); wg.Wait() }
}

func (c *raftCluster) leader(g int) *raft.Raft {
	for _, i := range rand.Perm(len(c.nodes)) {
		n := c.nodes[i]
		n.lock.RLock()
		var r *raft.Raft
		if g < len(n.rafts) {
			r = n.rafts[g]
		}
		n.lock.RUnlock()
		if r != nil && r.State() == raft.Leader {
			return r
		}
	}
	return nil
}

// leading is the node that leads most groups: cut off, it has entries that nobody else gets.
func (c *raftCluster) leading() int {
	var leads [3]int
	for g := range c.seen {
		for i, n := range c.nodes {
			if n.rafts[g].State() == raft.Leader {
				leads[i]++
			}
		}
	}
	return slices.Index(leads[:], slices.Max(leads[:]))
}

func (c *raftCluster) acknowledged(g int, cmd string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[g][cmd] = true
	c.acks.Add(1)
	close(c.change)
	c.change = make(chan struct{})
}

func (c *raftCluster) applied(g int, index uint64, data string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if was, ok := c.seen[g][index]; ok && was != data {
		c.errs = append(c.errs, fmt.Errorf("group %d: %q and %q applied at %d", g, was, data, index))
	}
	c.seen[g][index] = data
}

// progress waits for so many more acknowledgements.
func (c *raftCluster) progress(t *testing.T, n int) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for want := c.acks.Load() + int64(n); c.acks.Load() < want; {
		c.mu.Lock()
		change := c.change
		c.mu.Unlock()
		select {
		case <-change:
		case <-late:
			require.FailNow(t, "no progress", "%d of %d", c.acks.Load(), want)
		}
	}
}

// finish waits until all nodes have applied what was acknowledged, and nothing twice.
func (c *raftCluster) finish(t *testing.T) {
	t.Helper()
	for g := range c.seen {
		for i, n := range c.nodes {
			require.Eventually(t, func() bool {
				if r := c.leader(g); r != nil {
					r.Barrier(time.Second).Error()
				}
				have := n.machines[g].list()
				c.mu.Lock()
				defer c.mu.Unlock()
				missing := 0
				for cmd := range c.acked[g] {
					if !have[cmd] {
						missing++
					}
				}
				return missing == 0
			}, 2*time.Minute, 20*time.Millisecond, "group %d, node %d", g, i)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NoError(t, errors.Join(c.errs...))
}

// countedLog counts how raft truncates.
type countedLog struct {
	*raftlog.GroupLog
	c *raftCluster
}

func (l *countedLog) DeleteRange(min, max uint64) error {
	last, err := l.LastIndex()
	if err == nil {
		err = l.GroupLog.DeleteRange(min, max)
	}
	if err == nil && max >= last {
		l.c.suffixes.Add(1)
	} else if err == nil {
		l.c.prefixes.Add(1)
	}
	return err
}

// GetLog ends the goroutine of raft that cannot read what it should apply, since the power is off: raft would panic. Those that
// replicate get the error and wait for their end.
func (l *countedLog) GetLog(index uint64, out *raft.Log) error {
	err := l.GroupLog.GetLog(index, out)
	if errors.Is(err, vfs.ErrPowerCut) && strings.Contains(string(debug.Stack()), "raft.(*Raft).processLogs") {
		runtime.Goexit()
	}
	return err
}

// endingStable ends the goroutine of raft that cannot save its term: raft would panic.
type endingStable struct {
	raft.StableStore
	armed atomic.Bool
}

func (s *endingStable) SetUint64(key []byte, v uint64) error {
	err := s.StableStore.SetUint64(key, v)
	if err != nil && s.armed.Load() {
		runtime.Goexit()
	}
	return err
}

// listMachine keeps the commands it was given.
type listMachine struct {
	apply func(index uint64, data string)
	mu    sync.Mutex
	cmds  []string
}

func (m *listMachine) Apply(l *raft.Log) any {
	cmd, _, _ := bytes.Cut(l.Data, []byte{0})
	m.apply(l.Index, string(cmd))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmds = append(m.cmds, string(cmd))
	return nil
}

func (m *listMachine) list() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	set := make(map[string]bool, len(m.cmds))
	for _, cmd := range m.cmds {
		set[cmd] = true
	}
	return set
}

func (m *listMachine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return listSnapshot(slices.Clone(m.cmds)), nil
}

func (m *listMachine) Restore(r io.ReadCloser) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(json.NewDecoder(r).Decode(&m.cmds), r.Close())
}

type listSnapshot []string

func (s listSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (listSnapshot) Release() {}

// keptSnapshots keeps the latest complete snapshot, as a directory of synced files would.
type keptSnapshots struct {
	mu     sync.Mutex
	latest *keptSnapshot
}

type keptSnapshot struct {
	bytes.Buffer
	store *keptSnapshots
	meta  raft.SnapshotMeta
}

func (s *keptSnapshots) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &keptSnapshot{store: s, meta: raft.SnapshotMeta{Version: v, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex}}, nil
}

func (s *keptSnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{&s.latest.meta}, nil
}

func (s *keptSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil || s.latest.meta.ID != id {
		return nil, nil, fmt.Errorf("no snapshot %s", id)
	}
	return &s.latest.meta, io.NopCloser(bytes.NewReader(s.latest.Bytes())), nil
}

func (s *keptSnapshot) ID() string    { return s.meta.ID }
func (s *keptSnapshot) Cancel() error { return nil }

func (s *keptSnapshot) Close() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.meta.Size = int64(s.Len())
	if s.store.latest == nil || s.meta.Index >= s.store.latest.meta.Index {
		s.store.latest = s
	}
	return nil
}
