package raftlog_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/raftlog"
)

// started is the entry after which a node's ledger begins: that of a floor, unless 0.
func (n *fleetNode) started() uint64 {
	l := n.ledgers[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks[0].Index
}

// forget has the nodes' write-ahead logs let go of what their checkpoints cover, as they do when room runs short.
func (f *fleet) forget(not ...string) {
	f.t.Helper()
	for _, n := range f.nodes {
		if slices.Contains(not, n.name) {
			continue
		}
		require.NoError(f.t, n.replicas[0].Checkpoint())
		c, _, err := n.wal.Group(1).Checkpoint()
		require.NoError(f.t, err)
		last, err := n.wal.Group(1).LastIndex()
		require.NoError(f.t, err)
		require.NoError(f.t, n.wal.Group(1).DeleteRange(1, min(c.Index, last-1)))
	}
}

// large makes commands of 2 KiB.
func large(what string, n int) []string {
	all := many(what, n)
	for i := range all {
		all[i] += strings.Repeat(" ", 2<<10)
	}
	return all
}

// A follower that lags below what is retained is given the floor and then entries; it can vote, stand, lead, and start again.
func TestALaggingFollowerIsGivenTheFloor(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 100 }, func(t *testing.T, f *fleet) {
		f.put(many("before", 50)...)
		behind := f.follower()
		f.isolate(behind.name)
		f.put(large("meanwhile", 500)...)
		f.net.cuts.HealAll()
		f.equal()
		require.NotZero(t, behind.started())
		members, index := f.leader().replicas[0].Members()
		own, ownIndex := behind.replicas[0].Members()
		require.Equal(t, members, own)
		require.Equal(t, index, ownIndex)

		f.stop(behind.name)
		behind = f.start(behind.name)
		require.NotZero(t, behind.started())
		f.equal()
		require.NoError(t, f.leader().replicas[0].Transfer(t.Context(), behind.name))
		require.Equal(t, behind.name, f.leader().name)
		f.put(many("after", 100)...)
		f.equal()

		// Without the others, on a fresh start: it knows its members and stands.
		for _, name := range threeNodes {
			f.stop(name)
		}
		f.start(behind.name)
		f.start(f.someOther(behind.name))
		f.equal()
		f.once(large("meanwhile", 500)...)
		f.once(many("after", 100)...)
	})
}

// someOther is a node by another name.
func (f *fleet) someOther(name string) string {
	for _, other := range threeNodes {
		if other != name {
			return other
		}
	}
	return ""
}

// A follower without anything is given the floor too.
func TestAnEmptyFollowerIsGivenTheFloor(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 100 }, func(t *testing.T, f *fleet) {
		empty := f.follower().name
		f.stop(empty)
		f.put(many("command", 1000)...)
		f.forget()
		f.disks[empty] = vfs.NewMem(9)
		f.boot = nil // it waits to be told
		n := f.start(empty)
		f.equal()
		require.NotZero(t, n.started())
		f.stop(empty)
		n = f.start(empty)
		conf, index := n.replicas[0].Members()
		require.Equal(t, servers(threeNodes...), conf)
		require.EqualValues(t, 1, index)
		f.equal()
		require.NotZero(t, n.started())
	})
}

// The log of a deposed leader goes on beyond the floor that it is given, with entries that nobody else has: they are replaced.
func TestAFloorUnderALongerLog(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			inFleet(t, func(f *fleet) { f.keep = 100 }, func(t *testing.T, f *fleet) {
				f.put(many("before", 20)...)
				old := f.leader()
				f.isolate(old.name)
				for i := range 600 {
					old.replicas[0].Start(fmt.Appendf(nil, "of the deposed leader %d", i))
				}
				f.leader(old.name)
				f.put(many("meanwhile", 300)...)
				f.forget()
				eventually(t, "still leads", func() bool { return old.replicas[0].Stats().State != "Leader" })
				require.Greater(t, old.replicas[0].Stats().Last, uint64(500))
				if restart {
					f.stop(old.name)
					old = f.start(old.name)
				}
				f.net.cuts.HealAll()
				f.equal()
				require.NotZero(t, old.started())
				require.Less(t, old.started(), uint64(400), "a case of its own: the floor is below its last entry")
				f.put(many("after", 500)...)
				f.equal()
				f.stop(old.name)
				f.start(old.name)
				f.equal()
				all, _ := f.witnesses[1].commands()
				for _, c := range all {
					require.NotContains(t, c, "deposed")
				}
			})
		})
	}
}

// The power is cut at each operation of an installation; it is repeated, and ends equal.
func TestAnInterruptedFloorIsInstalledAgain(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 60 }, func(t *testing.T, f *fleet) {
		name := f.follower().name
		cuts, after := 0, 0
		for op := uint64(1); op <= 60; op++ {
			f.isolate(name)
			f.put(many(fmt.Sprint("round ", op), 150)...)
			f.forget()
			disk := f.disks[name]
			began := f.nodes[name].started()
			disk.CutAt(disk.Ops()+op, vfs.Cut{Seed: op, Keep: float64(op%3) / 2})
			f.net.cuts.HealAll()
			last := f.witnesses[1].last().Commands
			eventually(t, "nothing happens", func() bool {
				select {
				case <-disk.Down():
					return true
				default:
					return f.nodes[name].ledgers[0].mark().Commands >= last
				}
			})
			if left, _ := disk.Left(); len(left) > 0 {
				cuts++
				if f.nodes[name].started() > began {
					after++
				}
				f.disks[name] = left[0]
				f.stop(name)
				f.start(name)
			} else {
				disk.CutAt(0)
			}
			f.equal()
		}
		t.Logf("%d cuts, %d of them after the machine took the floor", cuts, after)
		require.Greater(t, cuts, 10)
		require.Greater(t, after, 3)
	})
}

// A checkpoint that is under way when a floor comes is no fault, and neither is the floor.
func TestAFloorBesideACheckpoint(t *testing.T) {
	inFleet(t, func(f *fleet) { f.keep = 60 }, func(t *testing.T, f *fleet) {
		for round := range 5 {
			behind := f.follower()
			f.put(many(fmt.Sprint("before ", round), 20)...)
			f.equal()
			f.isolate(behind.name)
			f.put(many(fmt.Sprint("meanwhile ", round), 200)...)
			f.forget(behind.name)
			hang := f.disks[behind.name].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpSync}, Hang: true})
			saved := make(chan error, 1)
			go func() { saved <- behind.replicas[0].Checkpoint() }()
			<-hang.Struck()
			f.net.cuts.HealAll()
			go func() { time.Sleep(time.Second); hang.Release() }()
			require.NoError(t, <-saved)
			f.equal()
			require.NoError(t, behind.replicas[0].Checkpoint())
			require.Empty(t, behind.faults)
		}
	})
}

// script is one replica, n1, among members that a test plays: n2 and n3.
type script struct {
	*fleet
	n      *fleetNode
	r      *raftlog.Replica
	n2, n3 *raftlog.GroupTransport
	peers  map[string]*raftlog.Transport
}

// inScript runs f. play answers what n1 asks n2 and n3.
func inScript(t *testing.T, keep uint64, play func(node string, cmd any, rpc raft.RPC), f func(t *testing.T, s *script)) {
	t.Helper()
	inBubble(t, func(t *testing.T, n *nodeNet) {
		fl := &fleet{
			t: t, net: n, groups: 1, keep: keep, boot: threeNodes, witnesses: map[uint64]*witness{1: {}},
			disks: map[string]*vfs.Mem{"n1": vfs.NewMem(1)}, nodes: make(map[string]*fleetNode), leaders: make(map[[2]uint64]string),
		}
		t.Cleanup(fl.stopAll)
		s := &script{fleet: fl, peers: make(map[string]*raftlog.Transport)}
		for _, name := range []string{"n2", "n3"} {
			s.peers[name] = n.open(t, name, nil)
			g := s.peers[name].Group(1)
			if play == nil {
				play = func(_ string, _ any, rpc raft.RPC) { rpc.Respond(nil, fmt.Errorf("not in the script")) }
			}
			serveGroup(t, g, func(cmd any, rpc raft.RPC) { play(name, cmd, rpc) })
			if s.n2 == nil {
				s.n2 = g
			}
			s.n3 = g
		}
		s.restart()
		f(t, s)
		fl.stopAll()
		require.Empty(t, fl.found)
	})
}

func (s *script) restart() {
	if s.n != nil {
		s.stop("n1")
		synctest.Wait() // n2 and n3 see that their links have ended, and send nothing over them
	}
	s.n = s.start("n1")
	s.r = s.n.replicas[0]
}

// entries makes commands from index first on.
func entriesOf(term, first uint64, texts ...string) (all []*raft.Log) {
	for i, text := range texts {
		all = append(all, &raft.Log{Index: first + uint64(i), Term: term, Data: []byte(text)})
	}
	return all
}

// feed has n2, leader of term, send entries after prev.
func (s *script) feed(term, prev, prevTerm, commit uint64, entries []*raft.Log) *raft.AppendEntriesResponse {
	s.t.Helper()
	id := []byte("n2.1")
	a := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: id, Addr: id}, Leader: id,
		Term: term, PrevLogEntry: prev, PrevLogTerm: prevTerm, LeaderCommitIndex: commit, Entries: entries,
	}
	var resp raft.AppendEntriesResponse
	require.NoError(s.t, s.n2.AppendEntries("n1.1", "n1.1", a, &resp))
	return &resp
}

// snapshotOf is a ledger's state as it travels.
func snapshotOf(t testing.TB, at ledgerMark) []byte {
	t.Helper()
	state, err := json.Marshal(at)
	require.NoError(t, err)
	b := append([]byte("rqSN\x01"), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, at.Index), at.Term)...)
	return append(b, state...)
}

// give has n2, leader of term, install a floor that is the witness's state at index.
func (s *script) give(term uint64, at ledgerMark, confIndex uint64) error {
	b := snapshotOf(s.t, at)
	id := []byte("n2.1")
	var resp raft.InstallSnapshotResponse
	err := s.n2.InstallSnapshot("n1.1", "n1.1", &raft.InstallSnapshotRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: id, Addr: id}, SnapshotVersion: 1, Term: term,
		LastLogIndex: at.Index, LastLogTerm: at.Term, Configuration: raft.EncodeConfiguration(servers(threeNodes...)), ConfigurationIndex: confIndex,
		Size: int64(len(b)),
	}, &resp, bytes.NewReader(b))
	if err == nil {
		require.True(s.t, resp.Success)
	}
	return err
}

// A floor at or below what is applied changes nothing, and what follows is applied once; one that would take members or entries back is
// refused.
func TestALateFloorChangesNothing(t *testing.T) {
	inScript(t, 80, nil, func(t *testing.T, s *script) {
		require.True(t, s.feed(5, 1, 1, 140, entriesOf(5, 2, many("command", 150)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 140 })
		s.forget()
		before, stats := s.n.ledgers[0].mark(), s.r.Stats()
		for _, index := range []uint64{140, 100, 60} {
			require.NoError(t, s.give(5, s.witnesses[1].marks[index-1], 1))
			require.Equal(t, before, s.n.ledgers[0].mark())
			require.Equal(t, stats.Last, s.r.Stats().Last)
		}
		require.Error(t, s.give(5, s.witnesses[1].marks[19], 1), "entry 21 is not retained")

		conf := &raft.Log{Index: 152, Term: 5, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers("n1", "n2", "n3", "n4"))}
		require.True(t, s.feed(5, 151, 5, 140, []*raft.Log{conf}).Success)
		require.Error(t, s.give(5, before, 1), "entry 152 changes the members")
		members, index := s.r.Members()
		require.Len(t, members.Servers, 4)
		require.EqualValues(t, 152, index)

		require.True(t, s.feed(5, 152, 5, 162, entriesOf(5, 153, many("more", 10)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 162 })
		require.EqualValues(t, 160, s.n.ledgers[0].mark().Commands)
		require.Empty(t, s.n.faults)
	})
}

// A floor that the log goes through leaves the entries after it: this replica has acknowledged them.
func TestAFloorInsideTheLogLosesNothing(t *testing.T) {
	inScript(t, 0, nil, func(t *testing.T, s *script) {
		require.True(t, s.feed(5, 1, 1, 10, entriesOf(5, 2, many("command", 60)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 10 })
		// What the state at entry 40 will be:
		other, err := openLedger(vfs.NewMem(1), "other", 0, &witness{}, "other", nil)
		require.NoError(t, err)
		first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers(threeNodes...))}
		_, err = other.Apply(append([]*raft.Log{first}, entriesOf(5, 2, many("command", 39)...)...))
		require.NoError(t, err)
		require.NoError(t, s.give(5, other.mark(), 1))
		require.EqualValues(t, 40, s.r.Applied())
		require.Equal(t, other.mark(), s.n.ledgers[0].mark())
		require.Zero(t, s.n.started())
		require.EqualValues(t, 61, s.r.Stats().Last)
		s.restart()
		require.EqualValues(t, 61, s.r.Stats().Last)
		require.True(t, s.feed(5, 61, 5, 61, nil).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 61 })
	})
}

// A diverged log that ends before, at or behind the floor's entry goes on after it: Raft remembers its own last entry, and compares only
// that with the one before a request's.
func TestAFloorAtTheEndOfADivergedLog(t *testing.T) {
	for last := uint64(58); last <= 62; last++ {
		t.Run(fmt.Sprint("ends at ", last), func(t *testing.T) {
			inScript(t, 0, nil, func(t *testing.T, s *script) {
				require.True(t, s.feed(5, 1, 1, 10, entriesOf(5, 2, many("command", int(last-1))...)).Success)
				eventually(t, "applied", func() bool { return s.r.Applied() == 10 })
				w := s.witnesses[1]
				other, err := openLedger(vfs.NewMem(1), "other", 0, w, "other", nil)
				require.NoError(t, err)
				for i := range w.log {
					_, err = other.Apply([]*raft.Log{&w.log[i]})
					require.NoError(t, err)
				}
				_, err = other.Apply(entriesOf(7, 11, many("of the leader", 50)...))
				require.NoError(t, err)
				require.NoError(t, s.give(7, other.mark(), 1))
				require.EqualValues(t, 60, s.r.Applied())
				require.True(t, s.feed(7, 60, 7, 60, nil).Success)
				require.True(t, s.feed(7, 60, 7, 65, entriesOf(7, 61, many("after", 5)...)).Success)
				eventually(t, "applied", func() bool { return s.r.Applied() == 65 })
				require.EqualValues(t, 65, s.r.Stats().Last)
				s.restart()
				require.EqualValues(t, 65, s.r.Stats().Last)
				require.True(t, s.feed(7, 65, 7, 65, nil).Success)
				_, found := w.commands()
				require.Empty(t, found)
			})
		})
	}
}

// floorAt is the state after entries that a leader of term sent from index 2 on.
func (s *script) floorAt(term uint64, texts ...string) ledgerMark {
	s.t.Helper()
	other, err := openLedger(vfs.NewMem(1), "other", 0, s.witnesses[1], "other", nil)
	require.NoError(s.t, err)
	first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers(threeNodes...))}
	_, err = other.Apply(append([]*raft.Log{first}, entriesOf(term, 2, texts...)...))
	require.NoError(s.t, err)
	return other.mark()
}

// soon gives what comes of a call, in a minute at most.
func soon(t *testing.T, what string, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(time.Minute):
		require.FailNow(t, what)
		return nil
	}
}

// A floor was taken, and there is no room on the disk to make that durable. The replica can be closed nevertheless, and begins where it was.
func TestAReplicaClosesWhoseFloorFindsNoRoom(t *testing.T) {
	inScript(t, 0, nil, func(t *testing.T, s *script) {
		require.True(t, s.feed(5, 1, 1, 10, entriesOf(5, 2, many("command", 20)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 10 })
		require.NoError(t, s.r.Checkpoint())
		at := s.floorAt(5, many("command", 59)...)
		full := s.disks["n1"].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpSync}, Name: "*-*", Err: vfs.ErrNoSpace})
		given, closed := make(chan error, 1), make(chan error, 1)
		defer func() {
			if full.Release(); t.Failed() {
				<-closed
			}
		}()
		go func() { given <- s.give(5, at, 1) }()
		eventually(t, "it waits", func() bool { return s.r.Stalled() != nil })
		require.EqualValues(t, 60, s.n.started())
		go func() { closed <- s.r.Close() }()
		require.NoError(t, soon(t, "it does not close", closed))
		require.Error(t, soon(t, "nobody answers", given))
		require.Empty(t, s.n.faults)
		full.Release()
		s.restart()
		require.Zero(t, s.n.started())
		require.EqualValues(t, 10, s.r.Applied())
		require.EqualValues(t, 21, s.r.Stats().Last)
	})
}

// A floor inside the log has entries applied, for which there is no room on the disk: checkpoints can be made meanwhile, and may win it.
func TestCheckpointsAreMadeWhileAFloorWaitsForRoom(t *testing.T) {
	inScript(t, 0, nil, func(t *testing.T, s *script) {
		require.True(t, s.feed(5, 1, 1, 10, entriesOf(5, 2, many("command", 60)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 10 })
		full := s.disks["n1"].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "*-*", Err: vfs.ErrNoSpace})
		defer full.Release()
		given, saved := make(chan error, 1), make(chan error, 1)
		go func() { given <- s.give(5, s.floorAt(5, many("command", 39)...), 1) }()
		eventually(t, "it waits", func() bool { return s.r.Stalled() != nil })
		go func() { saved <- s.r.Checkpoint() }()
		require.NoError(t, soon(t, "no checkpoint is made", saved))
		c, _, err := s.n.wal.Group(1).Checkpoint()
		require.NoError(t, err)
		require.EqualValues(t, 10, c.Index)
		full.Release()
		require.NoError(t, soon(t, "it goes on waiting", given))
		require.EqualValues(t, 40, s.r.Applied())
		require.EqualValues(t, 61, s.r.Stats().Last)
	})
}

// The log goes through a floor, but its entry there cannot be read: it has decayed. The entries behind it, which this replica has
// acknowledged, stay.
func TestAFloorInsideADamagedLogLosesNothing(t *testing.T) {
	inScript(t, 0, nil, func(t *testing.T, s *script) {
		require.True(t, s.feed(5, 1, 1, 10, entriesOf(5, 2, many("command", 60)...)).Success)
		eventually(t, "applied", func() bool { return s.r.Applied() == 10 })
		s.restart() // entries are not in memory any more
		disk, at := s.disks["n1"], s.floorAt(5, many("command", 39)...)
		b, err := vfs.ReadFile(disk, "wal/0000.wal", 1<<30)
		require.NoError(t, err)
		off := bytes.Index(b, []byte("command 38"))
		require.Positive(t, off)
		require.NoError(t, disk.Damage("wal/0000.wal", int64(off), 1, func(b []byte) { b[0] ^= 4 }))
		require.Error(t, s.give(5, at, 1))
		require.Zero(t, s.n.started())
		require.True(t, s.n.wal.Group(1).Has(61, 5))
		require.EqualValues(t, 61, s.r.Stats().Last)
		require.NoError(t, disk.Damage("wal/0000.wal", int64(off), 1, func(b []byte) { b[0] ^= 4 }))
		require.NoError(t, s.give(5, at, 1))
		require.EqualValues(t, 40, s.r.Applied())
		require.EqualValues(t, 61, s.r.Stats().Last)
	})
}
