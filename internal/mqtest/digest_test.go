package mqtest

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// diverge has node i's replica, which is stopped, hold another time than the others
// when it starts, so that it stamps what comes with it: as only a bug, or a memory
// that fails, could have it.
func (s *sickbay) diverge(i int, id uint64, to time.Time) {
	s.t.Helper()
	w, err := raftlog.OpenWAL(filepath.Join(s.dirs[i], "wal"), raftlog.WALOptions{FS: s.mems[i], SegmentBytes: 4 << 20})
	require.NoError(s.t, err)
	c, ok, err := w.Group(id).Checkpoint()
	require.NoError(s.t, err)
	require.True(s.t, ok)
	const atSum, atTime = 1, 5 // as package fsm lays a partition's state out
	binary.BigEndian.PutUint64(c.State[atTime:], uint64(to.UnixMilli()))
	binary.BigEndian.PutUint32(c.State[atSum:], crc32.Checksum(c.State[atTime:], crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(s.t, w.Group(id).SaveCheckpoint(c))
	require.NoError(s.t, w.Close())
}

// divergent restarts all nodes, with their replicas' times so much later; 0: as it was.
func (s *sickbay) divergent(by ...time.Duration) {
	s.t.Helper()
	id, now := s.replicaID(), time.Now()
	for i := range by {
		s.Stop(i)
	}
	s.joins = nil
	for i, d := range by {
		if d != 0 {
			s.diverge(i, id, now.Add(d))
		}
	}
	for i := range by {
		s.Run(i)
	}
}

// awaitDamage waits until node i says that its replica is in quarantine.
func (s *sickbay) awaitDamage(i int, text string) {
	s.t.Helper()
	for damage := ""; !strings.Contains(damage, text); {
		for _, p := range s.Nodes[i].Partitions() {
			if p.Topic == "t" {
				damage = p.Damage
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.ctx.Done():
			s.t.Fatalf("%s: %+v", s.names[i], s.Nodes[i].Partitions())
		}
	}
}

// One replica comes to hold another state than the others: it is found by comparing
// digests, and copied whole. Whoever leads then: it may be that one. RAFTMQ_DAMAGE
// tries each of the three.
func TestAReplicaThatDiffersIsCopiedFromTheMajority(t *testing.T) {
	t.Parallel()
	replicas := []int{1}
	if os.Getenv("RAFTMQ_DAMAGE") != "" {
		replicas = []int{0, 1, 2}
	}
	for _, i := range replicas {
		s := newSickbay(t, func(cfg *broker.Config) { cfg.DigestInterval = 200 * time.Millisecond })
		by := []time.Duration{time.Hour, time.Hour, time.Hour} // two agree
		by[i] = 2 * time.Hour
		s.divergent(by...)
		s.awaitSound(i, 1)
		s.Await(i)
		s.p = s.producer()
		s.send(5)
		s.pullAll(i)
		s.requireHealed(i)
		for j := range 3 {
			if j != i {
				require.Zero(t, s.metric(j, "raftmq_repairs_total"))
			}
		}
	}
}

// producer is one of a client that knows where the nodes are.
func (s *sickbay) producer() *client.Producer {
	s.t.Helper()
	p, err := s.Client().NewProducer("p2", client.WithSendTimeout(ample))
	require.NoError(s.t, err)
	return p
}

// pulledNothing asks every node for the first message, and requires that none has it.
func (s *sickbay) pulledNothing() {
	s.t.Helper()
	var wg sync.WaitGroup
	for i := range s.Nodes {
		addr := s.Nodes[i].Addresses().Listeners[s.slot()]
		wg.Go(func() {
			conn, err := remoting.Dial(s.ctx, addr, remoting.DialOptions{})
			if err != nil {
				s.t.Error(err)
				return
			}
			defer conn.Close()
			h := remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 7, SysFlag: remoting.PullSubscription, Subscription: "*"}
			reply, err := conn.Call(s.ctx, remoting.NewRequest(remoting.PullMessage, h))
			if err != nil || reply.Code != remoting.PullNotFound || len(reply.Body) > 0 {
				s.t.Errorf("%s: %v, %v", s.names[i], err, reply)
			}
		})
	}
	wg.Wait()
}

// No two replicas hold the same state: nobody can say which is right. All say so, and
// nothing is served or deleted, also after a restart.
func TestWithoutAMajorityNobodyIsServed(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, func(cfg *broker.Config) { cfg.DigestInterval = 200 * time.Millisecond })
	dirs := []string{s.dir(0), s.dir(1), s.dir(2)}
	s.divergent(0, time.Hour, 2*time.Hour)
	files := make([][]string, 3)
	for i := range 3 {
		s.awaitDamage(i, "disputed")
		var err error
		files[i], err = s.mems[i].List(dirs[i])
		require.NoError(t, err)
		s.until("it is noted", func() bool {
			f, err := s.mems[i].Open(filepath.Join(dirs[i], "quarantine.json"))
			if err == nil {
				f.Close()
			}
			return err == nil
		})
	}
	s.pulledNothing() // one still leads
	for i := range 3 {
		s.Stop(i)
		s.mems[i] = s.mems[i].CrashClone(uint64(i))
		s.Disks[i] = s.mems[i]
	}
	s.joins = nil
	for i := range 3 {
		s.Run(i)
	}
	for i := range 3 {
		s.until("it knows its partitions", func() bool { return len(s.Nodes[i].Partitions()) > 0 })
		s.awaitDamage(i, "disputed")
	}
	s.pulledNothing()
	for i := range 3 {
		names, err := s.mems[i].List(dirs[i])
		require.NoError(t, err)
		for _, n := range files[i] {
			if strings.HasSuffix(n, ".log") && n != "next.log" || strings.HasSuffix(n, ".q") {
				require.Contains(t, names, n)
			}
		}
	}
}

// An operator says whose replica of a disputed partition counts: that one serves again,
// the others copy it. Before, nothing is taken back; what makes no sense is refused, and
// what was said may be said again.
func TestADisputeIsSettledByAnOperator(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, func(cfg *broker.Config) { cfg.DigestInterval = 200 * time.Millisecond })
	id := s.replicaID()
	admin := s.Client().Admin()
	_, err := admin.SettleDispute(s.ctx, id, "n2")
	require.ErrorIs(t, err, client.ErrInvalid, "nothing is disputed")
	require.ErrorIs(t, err, client.ErrNotNow)
	require.ErrorContains(t, err, "is sound, and counts")
	s.divergent(0, time.Hour, 2*time.Hour)
	for i := range 3 {
		s.awaitDamage(i, "disputed")
	}
	admin = s.Client().Admin()
	looks, err := admin.Replicas(s.ctx, id)
	require.NoError(t, err)
	require.Len(t, looks, 3)
	digests := make(map[string]bool)
	for i, l := range looks {
		require.Equal(t, s.names[i], l.Node)
		require.True(t, l.Disputed)
		require.Contains(t, l.Reason, "no majority")
		digests[l.Digest] = true
	}
	require.NotEmpty(t, digests)
	_, err = admin.SettleDispute(s.ctx, id, "n7")
	require.ErrorIs(t, err, client.ErrInvalid)
	require.NotErrorIs(t, err, client.ErrNotNow, "there is no such replica")
	_, err = admin.SettleDispute(s.ctx, id+1000, "n2")
	require.ErrorIs(t, err, client.ErrInvalid)
	for i := range 3 {
		s.awaitDamage(i, "disputed")
	}

	_, err = admin.SettleDispute(s.ctx, id, "n2")
	require.NoError(t, err)
	_, err = admin.SettleDispute(s.ctx, id, "n2")
	if err != nil { // the others have been copied already
		require.ErrorIs(t, err, client.ErrInvalid)
	}
	_, err = admin.SettleDispute(s.ctx, id, "n1")
	require.ErrorIs(t, err, client.ErrInvalid)
	for i := range 3 {
		s.awaitSound(i, 1)
	}
	s.p = s.producer()
	s.send(5)
	for i := range 3 {
		s.pullAll(i)
	}
	s.awaitSame(s.ctx, "t")
	require.Zero(t, s.metric(0, "raftmq_partitions_quarantined")+s.metric(1, "raftmq_partitions_quarantined")+s.metric(2, "raftmq_partitions_quarantined"))
}

// A node that was away when an operator settled a dispute is told when that is said again, though
// the others have copied the replica that counts by then.
func TestADisputeIsSettledForANodeThatWasAway(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, func(cfg *broker.Config) { cfg.DigestInterval = 200 * time.Millisecond })
	id := s.replicaID()
	s.divergent(0, time.Hour, 2*time.Hour)
	for i := range 3 {
		s.awaitDamage(i, "disputed")
	}
	const away = 2
	s.Stop(away)
	_, err := s.Client().Admin().SettleDispute(s.ctx, id, "n2")
	require.NoError(t, err)
	for i := range 2 {
		s.awaitSound(i, 1)
	}
	s.Run(away)
	s.until("it knows its partitions", func() bool { return len(s.Nodes[away].Partitions()) > 0 })
	s.awaitDamage(away, "disputed")
	admin := s.Client().Admin()
	for {
		if _, err = admin.SettleDispute(s.ctx, id, "n2"); err == nil || !errors.Is(err, client.ErrUnavailable) || s.ctx.Err() != nil {
			break
		}
	}
	require.NoError(t, err)
	s.awaitSound(away, 1)
	s.p = s.producer()
	s.send(2)
	for i := range 3 {
		s.pullAll(i)
	}
}
