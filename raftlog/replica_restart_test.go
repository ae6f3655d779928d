package raftlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// Nodes are closed and opened, with and without checkpoints before, and come to what the log says.
func TestReplicasStartAgain(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 200 }, func(t *testing.T, f *fleet) {
		rnd := rand.New(rand.NewPCG(5, 6))
		var all []string
		for round := range 40 {
			c := many(fmt.Sprint("round ", round), 1+rnd.IntN(40))
			all = append(all, c...)
			f.put(c...)
			for _, name := range threeNodes {
				switch rnd.IntN(5) {
				case 0:
					require.NoError(t, f.nodes[name].replicas[0].Checkpoint())
				case 1:
					f.stop(name)
					n := f.start(name)
					require.LessOrEqual(t, n.ledgers[0].mark().Index, f.witnesses[1].last().Index)
				case 2: // the end of a process: no checkpoint, no sync
					f.disks[name] = f.disks[name].CrashKeeping(1, 1)
					f.stop(name)
					f.start(name)
				}
			}
		}
		f.equal()
		f.once(all...)
	})
}

// The power fails under all three, at any operation of any disk; what was acknowledged is there, once.
func TestPowerCutsUnderAll(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 200 }, func(t *testing.T, f *fleet) {
		rnd := rand.New(rand.NewPCG(7, 8))
		var acked []string
		for round := range 60 {
			leader := f.leader()
			for _, name := range threeNodes {
				if rnd.IntN(2) == 0 {
					f.disks[name].CutAt(f.disks[name].Ops() + 1 + uint64(rnd.IntN(40)))
				}
			}
			for i := range 20 {
				c := fmt.Sprint(round, " ", i)
				if _, err := leader.replicas[0].Propose(within(t, time.Second), []byte(c)); err == nil {
					acked = append(acked, c)
				}
				if i%7 == 0 {
					f.nodes[threeNodes[rnd.IntN(3)]].replicas[0].Checkpoint()
				}
				if f.down() {
					break
				}
			}
			for _, name := range threeNodes {
				f.cut(name, rnd.Uint64())
			}
			for _, name := range threeNodes {
				f.start(name)
			}
			f.put(fmt.Sprint("round ", round))
			acked = append(acked, fmt.Sprint("round ", round))
		}
		f.equal()
		f.once(acked...)
		require.Greater(t, len(acked), 300)
	})
}

// down says whether a node's disk is without power.
func (f *fleet) down() bool {
	for _, disk := range f.disks {
		select {
		case <-disk.Down():
			return true
		default:
		}
	}
	return false
}

// A checkpoint that cannot be synced, or not saved, is the last: the node is told once, and nothing is taken for kept that may not be.
func TestAFailedCheckpointIsFinal(t *testing.T) {
	for name, fault := range map[string]vfs.Fault{
		"state not synced": {Ops: []vfs.OpKind{vfs.OpSync}, Times: 1},
		"directory":        {Ops: []vfs.OpKind{vfs.OpSyncDir}, Times: 1},
		"not saved":        {Ops: []vfs.OpKind{vfs.OpSyncData}, Times: 1, Err: errors.New("no")},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, nil, func(t *testing.T, f *fleet) {
				f.put(many("before", 10)...)
				n := f.follower()
				require.NoError(t, n.replicas[0].Checkpoint())
				f.put(many("then", 10)...)
				time.Sleep(time.Second)
				f.disks[n.name].Inject(fault)
				first := n.replicas[0].Checkpoint()
				require.Error(t, first)
				require.ErrorIs(t, <-n.faults, errors.Unwrap(first))
				for range 3 {
					require.Equal(t, first, n.replicas[0].Checkpoint())
				}
				f.put("after")
				time.Sleep(time.Second)
				require.ErrorIs(t, n.replicas[0].Close(), first)
				require.LessOrEqual(t, len(n.faults), 1, "but for the term's, if Raft wanted to save it")
				f.cut(n.name, 3)
				f.start(n.name)
				f.equal()
				f.once(many("then", 10)...)
			})
		})
	}
}

// A machine that cannot apply stops its replica: what it answers from then on is unknown, and no checkpoint is taken.
func TestAMachinesFaultIsFinal(t *testing.T) {
	inFleet(t, nil, func(t *testing.T, f *fleet) {
		f.put("before")
		leader := f.leader()
		f.disks[leader.name].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "0-*", Times: 1})
		for range 3 {
			_, err := leader.replicas[0].Propose(t.Context(), []byte("command"))
			require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
		}
		require.Error(t, leader.replicas[0].Checkpoint())
		require.Error(t, leader.replicas[0].ReadIndex(t.Context()))
		require.Len(t, leader.faults, 1)
		f.stop(leader.name)
		f.start(leader.name)
		f.equal()
		all, _ := f.witnesses[1].commands()
		require.Equal(t, []string{"before", "command", "command", "command", "the last"}, all)
	})
}

// An entry to be applied that cannot be read, and one that cannot be stored where others were removed, stop the replica and say so;
// the library would take the process down, or wait for ever.
func TestALogsFaultIsFinal(t *testing.T) {
	for name, c := range map[string]struct {
		entries []*raft.Log
		prev    uint64
		fault   vfs.Fault
	}{
		"read":  {nil, 3, vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: "*.wal"}},
		"store": {[]*raft.Log{{Index: 3, Term: 7, Data: make([]byte, 200)}}, 2, vfs.Fault{Ops: []vfs.OpKind{vfs.OpSyncData}, Skip: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			inScript(t, 0, nil, func(t *testing.T, s *script) {
				require.True(t, s.feed(5, 1, 1, 1, entriesOf(5, 2, "two", "three")).Success)
				synctest.Wait() // the first is applied
				s.restart()     // nothing is cached
				s.disks["n1"].Inject(c.fault)
				go s.n2.AppendEntries("n1.1", "n1.1", &raft.AppendEntriesRequest{
					RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n2.1"), Addr: []byte("n2.1")},
					Term:      7, PrevLogEntry: c.prev, PrevLogTerm: 5, LeaderCommitIndex: 3, Entries: c.entries,
				}, new(raft.AppendEntriesResponse))
				require.Error(t, <-s.n.faults)
				require.EqualValues(t, 1, s.r.Applied())
			})
		})
	}
}

// A group whose log Raft compacts: a snapshot counts entries that no machine sees, and the log may begin right behind it.
func TestASnapshotEndsWithABarrier(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		logs, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		disk := vfs.NewMem(1)
		wal, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: disk, SegmentBytes: 64 << 10, MaxAppend: 16 << 10, MaxEntry: 8 << 10})
		require.NoError(t, err)
		defer wal.Close()
		// As a peer has installed it: a state at entry 3, of a snapshot at entry 5.
		w := &witness{}
		l, err := openLedger(disk, "before", 0, w, "n1", nil)
		require.NoError(t, err)
		_, err = l.Apply(entriesOf(1, 1, "one", "two", "three"))
		require.NoError(t, err)
		_, trans := raft.NewInmemTransport("n1.1")
		sink, err := snapshots.Create(1, 5, 1, servers("n1"), 1, trans)
		require.NoError(t, err)
		_, err = sink.Write(snapshotOf(t, l.mark()))
		require.NoError(t, err)
		require.NoError(t, sink.Close())

		fresh, err := openLedger(disk, "after", 0, &witness{log: w.log, marks: slices.Clone(w.marks)}, "n1", nil)
		require.NoError(t, err)
		tr := n.open(t, "n1", nil)
		host := raftlog.NewHost(tr, "n1", 1, nil)
		defer host.Close()
		r, err := host.Open(raftlog.ReplicaConfig{
			Group: 1, Log: wal.Group(1), Logs: logs, Snapshots: snapshots, OnFault: func(err error) { t.Error(err) },
		}, fresh)
		require.NoError(t, err)
		defer r.Close()
		conf, index := r.Members()
		require.Equal(t, servers("n1"), conf)
		require.EqualValues(t, 1, index)
		eventually(t, "leads", func() bool { _, ok := r.Leads(); return ok })
		v, err := r.Propose(t.Context(), []byte("four"))
		require.NoError(t, err)
		require.EqualValues(t, 4, v)
	})
}

// The power is cut at each operation of a group's first start. The group has a leader after the next.
func TestAGroupWhoseFirstStartIsCutShortBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		cuts := 0
		for op := uint64(1); ; op++ {
			f := &fleet{
				t: t, net: n, groups: 1, boot: []string{"n1"}, witnesses: map[uint64]*witness{1: {}},
				disks: map[string]*vfs.Mem{"n1": vfs.NewMem(op)}, nodes: make(map[string]*fleetNode), leaders: make(map[[2]uint64]string),
			}
			t.Cleanup(f.stopAll)
			disk := f.disks["n1"]
			disk.CutAt(op, vfs.Cut{Seed: op, Keep: 1})
			_, err := f.open("n1")
			left, _ := disk.Left()
			if err == nil && len(left) == 0 {
				f.stop("n1")
				break
			}
			cuts++
			if f.nodes["n1"] != nil {
				f.stop("n1")
			}
			f.disks["n1"] = left[0]
			f.start("n1")
			f.put("command")
			f.stop("n1")
		}
		require.Greater(t, cuts, 20)
	})
}

// A replica is made while the write-ahead log has no room for its first entry. It is opened when there is, and leads.
func TestAReplicaWithoutRoomForItsFirstEntryIsOpenedLater(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr, err := raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: "c", Node: "n1", Incarnation: 1, Listener: ln,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("alone") },
	})
	require.NoError(t, err)
	defer tr.Close()
	w := smallWAL(t, raftlog.WALOptions{WriteDeadline: 200 * time.Millisecond})
	host := raftlog.NewHost(tr, "n1", 1, nil)
	defer host.Close()
	others := uint64(2)
	for err == nil {
		err = w.Group(others).SaveCheckpoint(raftlog.Checkpoint{Index: 1, Term: 1, State: make([]byte, 10_000)})
		others++
	}
	require.ErrorIs(t, err, raftlog.ErrWALFull)
	led := make(chan struct{}, 1)
	config := raftlog.ReplicaConfig{
		Group: 1, Log: w.Group(1), Bootstrap: servers("n1").Servers, Heartbeat: 100 * time.Millisecond,
		OnLeader: func(lead bool, _ uint64) {
			if lead {
				led <- struct{}{}
			}
		},
	}
	for range 2 {
		_, err = host.Open(config, new(countingMachine))
		require.ErrorIs(t, err, vfs.ErrNoSpace)
	}
	for id := uint64(2); id < others; id++ {
		require.NoError(t, w.Group(id).SaveCheckpoint(raftlog.Checkpoint{Index: 2, Term: 1}))
	}
	r, err := host.Open(config, new(countingMachine))
	require.NoError(t, err)
	defer r.Close()
	<-led
}

// bulkyMachine has a state of so many bytes.
type bulkyMachine struct {
	index, term uint64
	bytes       int
}

func (m *bulkyMachine) Apply(entries []*raft.Log) ([]any, error) {
	last := entries[len(entries)-1]
	m.index, m.term = last.Index, last.Term
	return make([]any, len(entries)), nil
}

func (m *bulkyMachine) Applied() (index, term uint64) { return m.index, m.term }

func (m *bulkyMachine) Checkpoint() (state []byte, sync func() error) {
	return make([]byte, m.bytes), func() error { return nil }
}

func (m *bulkyMachine) Floor() ([]byte, uint64, uint64, error) { return nil, 0, 0, nil }

func (m *bulkyMachine) Restore(state []byte, index, term uint64) error {
	m.index, m.term, m.bytes = index, term, len(state)
	return nil
}

// A snapshot that Raft keeps is as large as the machine's state: who has kept it starts again from it.
func TestAGroupStartsFromALargeSnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		const bytes = 65 << 20
		logs, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		wal, err := raftlog.OpenWAL("wal", raftlog.WALOptions{FS: vfs.NewMem(1), SegmentBytes: 64 << 10, MaxAppend: 16 << 10, MaxEntry: 8 << 10})
		require.NoError(t, err)
		defer wal.Close()
		host := raftlog.NewHost(n.open(t, "n1", nil), "n1", 1, nil)
		defer host.Close()
		open := func(m *bulkyMachine) *raftlog.Replica {
			t.Helper()
			r, err := host.Open(raftlog.ReplicaConfig{
				Group: 1, Log: wal.Group(1), Logs: logs, Snapshots: snapshots, Bootstrap: servers("n1").Servers, OnFault: func(err error) { t.Error(err) },
			}, m)
			require.NoError(t, err)
			return r
		}
		r := open(&bulkyMachine{bytes: bytes})
		eventually(t, "leads", func() bool { _, ok := r.Leads(); return ok })
		_, err = r.Propose(t.Context(), []byte("one"))
		require.NoError(t, err)
		require.NoError(t, r.Snapshot(t.Context()))
		require.NoError(t, r.Close())
		again := &bulkyMachine{}
		require.NoError(t, open(again).Close())
		require.Equal(t, bytes, again.bytes)
	})
}
