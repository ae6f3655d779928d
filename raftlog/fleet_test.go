package raftlog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// fleet is nodes with replicas of the same groups, 1 and up, in one process: over a network of pipes, on disks in memory, with a clock of
// their own.
type fleet struct {
	t         *testing.T
	net       *nodeNet
	groups    int
	keep      uint64        // see ledger
	heartbeat time.Duration // of the replicas
	slow      time.Duration // of each Apply
	maxBytes  int           // of entries in a request; 0: the usual
	witnesses map[uint64]*witness
	disks     map[string]*vfs.Mem
	nodes     map[string]*fleetNode
	boot      []string          // voters of the first configuration
	lives     map[string]uint64 // incarnations of nodes, other than 1
	onLead    func(n *fleetNode)

	mu      sync.Mutex
	leaders map[[2]uint64]string // group, term
	found   []string             // what must not be
}

// fleetNode is one node while it runs.
type fleetNode struct {
	name     string
	wal      *raftlog.WAL
	tr       *raftlog.Transport
	host     *raftlog.Host
	replicas []*raftlog.Replica
	ledgers  []*ledger
	faults   chan error
	leads    *leadership
}

// leadership is what OnLeader told of group 1.
type leadership struct {
	mu   sync.Mutex
	told []string
}

func (l *leadership) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

var threeNodes = []string{"n1", "n2", "n3"}

// inFleet runs f with three nodes, started, and checks at the end that no two replicas applied different entries, and no two led in one
// term.
func inFleet(t *testing.T, change func(*fleet), f func(t *testing.T, f *fleet)) {
	t.Helper()
	inBubble(t, func(t *testing.T, n *nodeNet) {
		fl := &fleet{
			t: t, net: n, groups: 1, boot: threeNodes, witnesses: make(map[uint64]*witness), disks: make(map[string]*vfs.Mem),
			nodes: make(map[string]*fleetNode), leaders: make(map[[2]uint64]string),
		}
		if change != nil {
			change(fl)
		}
		t.Cleanup(fl.stopAll)
		for g := range fl.groups {
			fl.witnesses[uint64(g+1)] = &witness{}
		}
		for i, name := range fl.boot {
			fl.disks[name] = vfs.NewMem(uint64(i + 1))
		}
		for _, name := range fl.boot {
			fl.start(name)
		}
		f(t, fl)
		fl.stopAll()
		for _, w := range fl.witnesses {
			_, found := w.commands()
			require.Empty(t, found)
		}
		require.Empty(t, fl.found)
	})
}

// start opens a node on its disk.
func (f *fleet) start(name string) *fleetNode {
	f.t.Helper()
	n, err := f.open(name)
	require.NoError(f.t, err)
	return n
}

func (f *fleet) open(name string) (*fleetNode, error) {
	n := &fleetNode{name: name, faults: make(chan error, 100), leads: &leadership{}}
	var err error
	disk := f.disks[name]
	if n.wal, err = raftlog.OpenWAL("wal", raftlog.WALOptions{FS: disk, SegmentBytes: 256 << 10, Segments: 8, MaxAppend: 64 << 10}); err != nil {
		return nil, err
	}
	n.tr = f.net.open(f.t, name, func(c *raftlog.TransportConfig) { c.MaxBytes = f.maxBytes })
	n.host = raftlog.NewHost(n.tr, name, 1, nil)
	if life := f.lives[name]; life > 0 {
		if err := n.host.Adopt(life); err != nil {
			f.close(n)
			return nil, err
		}
	}
	for g := range f.groups {
		if err := f.openGroup(n, uint64(g+1)); err != nil {
			f.close(n)
			return nil, err
		}
	}
	n.tr.SetPeers(slices.Collect(func(yield func(string) bool) {
		for name := range f.disks {
			if !yield(name) {
				return
			}
		}
	}))
	f.nodes[name] = n
	return n, nil
}

func (f *fleet) openGroup(n *fleetNode, group uint64) error {
	log := n.wal.Group(group)
	c, _, err := log.Checkpoint()
	if err != nil {
		return err
	}
	l, err := openLedger(f.disks[n.name], fmt.Sprintf("ledger/%d", group), f.keep, f.witnesses[group], n.name, c.State)
	if err != nil {
		return err
	}
	l.slow = f.slow
	log.SetArchive(l)
	config := raftlog.ReplicaConfig{
		Group: group, Log: log, Heartbeat: f.heartbeat,
		OnLeader: func(lead bool, term uint64) { f.lead(n, group, lead, term) },
		OnFault:  func(err error) { n.faults <- err },
	}
	if slices.Contains(f.boot, n.name) && f.lives[n.name] == 0 {
		config.Bootstrap = servers(f.boot...).Servers
	}
	r, err := n.host.Open(config, l)
	if err != nil {
		return err
	}
	n.replicas, n.ledgers = append(n.replicas, r), append(n.ledgers, l)
	return nil
}

func (f *fleet) lead(n *fleetNode, group uint64, lead bool, term uint64) {
	if lead && f.onLead != nil {
		f.onLead(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if other := f.leaders[[2]uint64{group, term}]; lead && other != "" {
		f.found = append(f.found, fmt.Sprintf("%s and %s lead group %d in term %d", other, n.name, group, term))
	}
	if lead {
		f.leaders[[2]uint64{group, term}] = n.name
	}
	if group == 1 {
		n.leads.mu.Lock()
		n.leads.told = append(n.leads.told, fmt.Sprint(lead, " ", term))
		n.leads.mu.Unlock()
	}
}

// stop closes a node; its disk is as it left it.
func (f *fleet) stop(name string) {
	n := f.nodes[name]
	delete(f.nodes, name)
	f.close(n)
}

func (f *fleet) stopAll() {
	for name := range f.nodes {
		f.stop(name)
	}
}

func (f *fleet) close(n *fleetNode) {
	for _, r := range n.replicas {
		r.Close()
	}
	n.host.Close()
	n.tr.Close()
	n.wal.Close()
}

// cut cuts the power of a node.
func (f *fleet) cut(name string, seed uint64) {
	f.disks[name] = f.disks[name].Crash(seed)
	if f.nodes[name] != nil {
		f.stop(name)
	}
}

// slowDisks makes every sync take d. Nobody may want a lock that is held meanwhile: the clock would stand still.
func (f *fleet) slowDisks(d time.Duration) {
	for _, disk := range f.disks {
		disk.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpSyncData {
				time.Sleep(d)
			}
			return nil
		})
	}
}

// isolate cuts a node off from all others.
func (f *fleet) isolate(name string) { f.links(name, f.net.cuts.Cut) }

// silence hangs all links of a node, both ways.
func (f *fleet) silence(name string) {
	f.links(name, func(a, b string) { f.net.cuts.Hang(a, b); f.net.cuts.Hang(b, a) })
}

func (f *fleet) links(name string, do func(a, b string)) {
	for other := range f.disks {
		if other != name {
			do(name, other)
		}
	}
}

// eventually waits for up to two minutes of the bubble's time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		require.Less(t, time.Since(began), 2*time.Minute, what)
	}
}

// leader waits for a node other than those that leads group 1; a deposed one may believe so, too.
func (f *fleet) leader(not ...string) *fleetNode {
	f.t.Helper()
	var found *fleetNode
	eventually(f.t, "no leader", func() bool {
		newest := uint64(0)
		for _, n := range f.nodes {
			if term, ok := n.replicas[0].Leads(); ok && term > newest && !slices.Contains(not, n.name) {
				newest, found = term, n
			}
		}
		return found != nil
	})
	return found
}

// follower is some node that does not lead group 1.
func (f *fleet) follower(not ...string) *fleetNode {
	f.t.Helper()
	leader := f.leader()
	for _, name := range threeNodes {
		if n := f.nodes[name]; n != nil && n != leader && !slices.Contains(not, name) {
			return n
		}
	}
	require.Fail(f.t, "no follower")
	return nil
}

// put proposes commands at the leader of group 1 until they are acknowledged.
func (f *fleet) put(commands ...string) {
	f.t.Helper()
	leader := f.leader()
	for part := range slices.Chunk(commands, 64) {
		var all []*raftlog.Proposal
		for _, c := range part {
			p, err := leader.replicas[0].Start([]byte(c))
			require.NoError(f.t, err)
			all = append(all, p)
		}
		for _, p := range all {
			_, err := p.Wait(within(f.t, time.Minute))
			require.NoError(f.t, err)
		}
	}
}

// many gives n commands.
func many(what string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s %d", what, i))
	}
	return all
}

// equal waits until all nodes that run have applied the same, through all that any has.
func (f *fleet) equal() {
	f.t.Helper()
	f.put("the last")
	for g := range f.groups {
		w := f.witnesses[uint64(g+1)]
		for _, n := range f.nodes {
			f.applies(n, g, w.last().Commands)
		}
	}
}

// applies waits until a node has applied so many commands of a group, the first is 0.
func (f *fleet) applies(n *fleetNode, group int, commands uint64) {
	f.t.Helper()
	for began := time.Now(); n.ledgers[group].mark().Commands < commands; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) < 2*time.Minute {
			continue
		}
		for name, n := range f.nodes {
			members, _ := n.replicas[group].Members()
			for g, r := range n.replicas {
				f.t.Logf("%s: group %d: %+v", name, g+1, r.Stats())
			}
			f.t.Logf("%s: %+v, floor %d, %v, faults %d", name, n.replicas[group].Stats(), n.started(), members, len(n.faults))
		}
		require.Fail(f.t, "replica lags", n.name)
	}
}

// once checks that each command was applied once.
func (f *fleet) once(commands ...string) {
	f.t.Helper()
	all, found := f.witnesses[1].commands()
	require.Empty(f.t, found)
	for _, c := range commands {
		n := 0
		for _, a := range all {
			if a == c {
				n++
			}
		}
		require.Equal(f.t, 1, n, c)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Three replicas elect a leader and apply the same entries.
func TestReplicasApplyTheSame(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put(many("command", 100)...)
		f.equal()
		f.once(many("command", 100)...)
		synctest.Wait()
		conf, index := f.leader().replicas[0].Members()
		require.Equal(t, servers(threeNodes...), raft.Configuration{Servers: conf.Servers})
		require.EqualValues(t, 1, index)
	})
}
