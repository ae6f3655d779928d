package raftlog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// logFSM is a state machine that remembers what it was given.
type logFSM struct {
	mu      sync.Mutex
	entries []string
	grown   chan struct{}
}

func (f *logFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, fmt.Sprintf("%d %s", l.Index, l.Data[:min(len(l.Data), 40)]))
	close(f.grown)
	f.grown = make(chan struct{})
	return nil
}

func (f *logFSM) all() ([]string, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries, f.grown
}

func (f *logFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("no snapshots") }
func (f *logFSM) Restore(rc io.ReadCloser) error      { return rc.Close() }

func newLogFSM() *logFSM { return &logFSM{grown: make(chan struct{})} }

// replica is one Raft node of one group.
type replica struct {
	node  string
	raft  *raft.Raft
	fsm   *logFSM
	store *raft.InmemStore
	net   *raftlog.GroupTransport
}

func raftConfig(node string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(node + ".1")
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 150*time.Millisecond
	c.CommitTimeout = 20 * time.Millisecond
	c.MaxAppendEntries = 32
	c.BatchApplyCh = true
	c.NoLegacyTelemetry = true
	c.Logger = hclog.NewNullLogger()
	return c
}

func servers(nodes ...string) (c raft.Configuration) {
	for _, n := range nodes {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(n + ".1"), Address: raft.ServerAddress(n + ".1")})
	}
	return c
}

func openReplica(t testing.TB, tr *raftlog.Transport, node string, group uint64, conf raft.Configuration, change func(*raft.Config)) *replica {
	t.Helper()
	r := &replica{node: node, fsm: newLogFSM(), store: raft.NewInmemStore(), net: tr.Group(group)}
	log := raftlog.NewLog(r.store, nil)
	r.net.SetLog(log)
	c := raftConfig(node)
	if change != nil {
		change(c)
	}
	snaps := raft.NewInmemSnapshotStore()
	require.NoError(t, raft.BootstrapCluster(c, r.store, r.store, snaps, r.net, conf))
	var err error
	r.raft, err = raft.NewRaft(c, r.fsm, log, r.store, snaps, r.net)
	require.NoError(t, err)
	t.Cleanup(func() {
		r.net.Close()
		require.NoError(t, r.raft.Shutdown().Error())
	})
	return r
}

// leaderOf waits for one of the replicas to lead.
func leaderOf(t testing.TB, replicas []*replica) *replica {
	t.Helper()
	var found *replica
	require.Eventually(t, func() bool {
		for _, r := range replicas {
			if r.raft.State() == raft.Leader {
				found = r
				return true
			}
		}
		return false
	}, 2*time.Minute, 5*time.Millisecond, "no leader")
	return found
}

func threeReplicas(t testing.TB, n *nodeNet, change func(*raftlog.TransportConfig)) ([]*replica, map[string]*raftlog.Transport) {
	t.Helper()
	names := []string{"n1", "n2", "n3"}
	transports := make(map[string]*raftlog.Transport)
	for _, name := range names {
		transports[name] = n.open(t, name, change)
	}
	var rs []*replica
	for _, name := range names {
		transports[name].SetPeers(names)
		rs = append(rs, openReplica(t, transports[name], name, 7, servers(names...), nil))
	}
	return rs, transports
}

// waitEqual waits until all replicas have applied the same entries up to the leader's last.
func waitEqual(t testing.TB, replicas []*replica) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		leader := leaderOf(t, replicas)
		if err := leader.raft.Barrier(5 * time.Second).Error(); err != nil {
			require.NoError(t, ctx.Err(), "no barrier: %v", err)
			continue
		}
		want, _ := leader.fsm.all()
		for _, r := range replicas {
			for {
				got, grown := r.fsm.all()
				if len(got) >= len(want) {
					require.Equal(t, want, got[:len(want)], "replica %s", r.node)
					break
				}
				select {
				case <-grown:
				case <-ctx.Done():
					require.Fail(t, "replica lags", "%s has %d of %d", r.node, len(got), len(want))
				}
			}
		}
		return want
	}
}

// Three nodes elect a leader over the transport, and every replica applies the same entries.
func TestThreeReplicasElectAndReplicate(t *testing.T) {
	rs, trs := threeReplicas(t, newNodeNet(), nil)
	applied := make(map[int]bool)
	var leader *replica
	for until := time.Now().Add(2 * time.Minute); len(applied) < 200 && time.Now().Before(until); { // a leader is lost while this process stands still
		leader = leaderOf(t, rs)
		futures := make(map[int]raft.ApplyFuture)
		for i := range 200 {
			if !applied[i] {
				data := make([]byte, 16+i*50)
				copy(data, fmt.Sprintf("entry %d", i))
				futures[i] = leader.raft.Apply(data, 0)
			}
		}
		for i, f := range futures {
			applied[i] = f.Error() == nil
			if !applied[i] {
				delete(applied, i)
			}
		}
	}
	require.Len(t, applied, 200)
	require.GreaterOrEqual(t, len(waitEqual(t, rs)), 200)
	s := trs[leader.node].Stats()
	require.Equal(t, 1, s.Groups)
}

// Links are cut and healed while entries are proposed; whatever was acknowledged is in every log, in the same place.
func TestReplicasStayEqualThroughLinkFlaps(t *testing.T) {
	n := newNodeNet()
	rs, _ := threeReplicas(t, n, nil)
	leaderOf(t, rs)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		names := []string{"n1", "n2", "n3"}
		rnd := rand.New(rand.NewPCG(3, 4))
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				n.cuts.HealAll()
				return
			}
			a := rnd.IntN(3)
			b := (a + 1 + rnd.IntN(2)) % 3
			switch rnd.IntN(4) {
			case 0:
				n.cuts.HealAll()
			case 1:
				n.cuts.Hang(names[a], names[b])
			default: // most often, cut one off from both
				n.cuts.Cut(names[a], names[b])
				n.cuts.Cut(names[a], names[3-a-b])
			}
		}
	})
	acked := make(map[string]bool)
	end := time.After(4 * time.Second)
	for i, going := 0, true; going; i++ {
		select {
		case <-end:
			going = false
		default:
		}
		leaderOf(t, rs)
		// Every replica that believes it leads, as clients with old routes would.
		for _, r := range rs {
			if r.raft.State() != raft.Leader {
				continue
			}
			data := binary.AppendUvarint([]byte(fmt.Sprintf("%06d ", i)), uint64(i))
			f := r.raft.Apply(data, 100*time.Millisecond)
			done := make(chan error, 1)
			go func() { done <- f.Error() }()
			select {
			case err := <-done:
				if err == nil {
					acked[fmt.Sprintf("%06d", i)] = true
				}
			case <-time.After(200 * time.Millisecond):
			}
			i++
		}
	}
	close(stop)
	wg.Wait()
	entries := waitEqual(t, rs)
	t.Logf("%d acknowledged, %d applied, term %d", len(acked), len(entries), rs[0].raft.CurrentTerm())
	seen := make(map[string]bool)
	for _, e := range entries {
		var index int
		var id string
		fmt.Sscanf(e, "%d %s", &index, &id)
		require.False(t, seen[id], "twice: %s", e)
		seen[id] = true
	}
	for id := range acked {
		require.True(t, seen[id], "acknowledged and gone: %s", id)
	}
	require.NotEmpty(t, acked)
}

// A follower that was away gets what it lacks without pauses, and a burst goes out at once, also when nothing new is proposed and the
// commit timeout is long: Raft alone would send 32 entries per timeout.
func TestABacklogIsSentWithoutPauses(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		names := []string{"n1", "n2", "n3"}
		var rs []*replica
		for _, name := range names {
			tr := n.open(t, name, nil)
			tr.SetPeers(names)
			rs = append(rs, openReplica(t, tr, name, 7, servers(names...), func(c *raft.Config) {
				c.CommitTimeout = 200 * time.Millisecond
				c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, time.Second
			}))
		}
		leader := leaderOf(t, rs)
		behind := rs[0]
		if behind == leader {
			behind = rs[1]
		}
		for _, r := range rs {
			n.cuts.Cut(behind.node, r.node)
			n.cuts.Cut(r.node, behind.node)
		}
		for i := range 10_000 {
			require.NoError(t, leader.raft.Apply(fmt.Appendf(nil, "entry %d", i), 0).Error())
		}
		time.Sleep(20 * time.Second)
		n.cuts.HealAll()
		healed := time.Now()
		for behind.raft.AppliedIndex() < leader.raft.LastIndex() {
			time.Sleep(10 * time.Millisecond)
			require.Less(t, time.Since(healed), time.Minute)
		}
		require.Less(t, time.Since(healed), 3*time.Second)

		// A burst goes to everybody at once.
		burst := time.Now()
		var futures []raft.ApplyFuture
		for i := range 10_000 {
			futures = append(futures, leader.raft.Apply(fmt.Appendf(nil, "burst %d", i), 0))
		}
		for _, f := range futures {
			require.NoError(t, f.Error())
		}
		require.Less(t, time.Since(burst), 3*time.Second)
	})
}
