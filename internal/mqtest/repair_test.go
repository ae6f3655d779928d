package mqtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/remoting"
)

// sickbay is three nodes with a topic "t" of one queue, whose commit logs have some
// sealed segments.
type sickbay struct {
	*Cluster
	ctx  context.Context
	mems []*vfs.Mem
	p    *client.Producer
	sent int
}

func newSickbay(t *testing.T, change func(*broker.Config)) *sickbay {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	t.Cleanup(cancel)
	s := &sickbay{ctx: ctx}
	var disks []vfs.FS
	for i := range 3 {
		s.mems = append(s.mems, vfs.NewMem(uint64(i)))
		disks = append(disks, s.mems[i])
	}
	s.Cluster = StartOn(t, disks, func(cfg *broker.Config) {
		cfg.SegmentBytes, cfg.ScrubRate, cfg.DigestInterval = 64<<10, -1, -1
		if change != nil {
			change(cfg)
		}
	})
	cl := s.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	var err error
	s.p, err = cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	s.send(60)
	s.awaitSame(ctx, "t")
	return s
}

// send sends messages, one after the other.
func (s *sickbay) send(n int) {
	s.t.Helper()
	for range n {
		_, err := s.p.Send(s.ctx, &client.Message{Topic: "t", Body: body(s.sent), Keys: []string{fmt.Sprint("k", s.sent)}})
		require.NoError(s.t, err)
		s.sent++
	}
}

func body(i int) []byte {
	return []byte(fmt.Sprint(i, " ", strings.Repeat(string(rune('a'+i%26)), 4000)))
}

func (s *sickbay) dir(i int) string {
	return filepath.Join(s.dirs[i], "partitions", fmt.Sprintf("%08d", s.replicaID()))
}

func (s *sickbay) replicaID() uint64 {
	for _, b := range s.Nodes {
		if b == nil {
			continue
		}
		for _, p := range b.Partitions() {
			if p.Topic == "t" {
				return p.ID
			}
		}
	}
	s.t.Fatal("no node knows the topic")
	return 0
}

// file returns the nth file of a kind in a replica.
func (s *sickbay) file(dir string, i int, kind string, n int) string {
	s.t.Helper()
	names, err := s.mems[i].List(dir)
	require.NoError(s.t, err)
	var found []string
	for _, x := range names {
		if strings.HasSuffix(x, kind) && x != "next.log" {
			found = append(found, x)
		}
	}
	if n < 0 {
		n += len(found)
	}
	require.Less(s.t, n, len(found), "%v", names)
	return filepath.Join(dir, found[n])
}

func decay(b []byte) { b[0] ^= 0x20 }

// leads is the number of the node that leads the topic's partition: waits for one.
func (s *sickbay) leads() (at int) {
	s.t.Helper()
	s.untilIn(ample, "a leader", func() bool {
		at = s.leading()
		return at >= 0
	})
	return at
}

// leading is leads, or -1 while there is none.
func (s *sickbay) leading() int {
	for i, b := range s.Nodes {
		if b == nil {
			continue
		}
		for _, p := range b.Partitions() {
			if p.Topic == "t" && p.State == "Leader" {
				return i
			}
		}
	}
	return -1
}

// pullAll reads the queue through node i alone, and checks every body.
func (s *sickbay) pullAll(i int) {
	s.t.Helper()
	slot := s.slot()
	conn, err := remoting.Dial(s.ctx, s.Nodes[i].Addresses().Listeners[slot], remoting.DialOptions{})
	require.NoError(s.t, err)
	defer conn.Close()
	for at := 0; at < s.sent; {
		h := remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 7, QueueOffset: int64(at), SysFlag: remoting.PullSubscription, Subscription: "*"}
		reply, err := conn.Call(s.ctx, remoting.NewRequest(remoting.PullMessage, h))
		require.NoError(s.t, err)
		if reply.Code == remoting.PullNotFound || reply.Code == remoting.ServiceNotAvailable { // no leader at this moment
			require.NoError(s.t, sleep(s.ctx, 10*time.Millisecond), "%s has no leader", s.names[i])
			continue
		}
		require.Equal(s.t, remoting.OK, reply.Code, "offset %d of %s: %s", at, s.names[i], reply.Remark)
		for b := reply.Body; len(b) > 0; at++ {
			rec, err := message.ParseRecord(b)
			require.NoError(s.t, err)
			require.EqualValues(s.t, at, rec.QueueOffset())
			require.Equal(s.t, body(at), rec.Body())
			b = b[len(rec):]
		}
	}
}

func (s *sickbay) slot() int {
	for _, b := range s.Nodes {
		if b == nil {
			continue
		}
		for _, p := range b.Partitions() {
			if p.Topic == "t" {
				return p.Slot
			}
		}
	}
	return 0
}

// awaitSound waits until node i has repaired so many replicas and none is left.
func (s *sickbay) awaitSound(i int, repairs float64) {
	s.t.Helper()
	for s.metric(i, "raftmq_repairs_total") < repairs || s.metric(i, "raftmq_partitions_quarantined") > 0 {
		select {
		case <-time.After(10 * time.Millisecond):
		case err := <-s.Nodes[i].Failed():
			s.t.Fatalf("%s failed: %v", s.names[i], err)
		case <-s.ctx.Done():
			s.t.Fatalf("%s is not repaired: %+v", s.names[i], s.Nodes[i].Partitions())
		}
	}
}

// requireHealed checks that node i's replica is what the others' are, in memory and,
// byte by byte, on the disk.
func (s *sickbay) requireHealed(i int) {
	s.t.Helper()
	s.Await(i)
	s.awaitSame(s.ctx, "t")
	names, err := s.mems[i].List(s.dir(i))
	require.NoError(s.t, err)
	require.NotContains(s.t, names, "quarantine.json")
	other := (i + 1) % 3
	for _, n := range names {
		if !strings.HasSuffix(n, ".log") && !strings.HasSuffix(n, ".floor") || n == "next.log" {
			continue
		}
		same := func() bool {
			mine, err := vfs.ReadFile(s.mems[i], filepath.Join(s.dir(i), n), 1<<20)
			require.NoError(s.t, err)
			theirs, err := vfs.ReadFile(s.mems[other], filepath.Join(s.dir(other), n), 1<<20)
			require.NoError(s.t, err)
			k := min(len(mine), len(theirs)) // of the active segment more may be reserved
			return bytes.Equal(theirs[:k], mine[:k])
		}
		for !same() { // an entry of the cluster's own may just be on its way
			select {
			case <-time.After(10 * time.Millisecond):
			case <-s.ctx.Done():
				require.Fail(s.t, "not as the one of "+s.names[other], n)
			}
		}
	}
}

// A byte decays in a file of one replica, leader or follower, while its node runs. It
// is found when it is read, nobody is served it or told of it, the node leads no
// longer, and the file is repaired.
func TestDamageInARunningNodeIsRepaired(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind string
		n    int
		at   int64
	}{{".log", 1, 3000}, {".log", -1, 3000}, {".q", 0, 64 + 32*7 + 3}} {
		for _, leader := range []bool{false, true} {
			t.Run(fmt.Sprint(c.kind, c.n, " leader ", leader), func(t *testing.T) {
				t.Parallel()
				s := newSickbay(t, nil)
				i := s.leads()
				if !leader {
					i = (i + 1) % 3
				}
				dir := s.dir(i)
				if c.kind == ".q" { // so that it is read from the file
					s.Stop(i)
					s.Run(i)
					s.Await(i)
				}
				require.NoError(t, s.mems[i].Damage(s.file(dir, i, c.kind, c.n), c.at, 1, decay))
				s.pullAll(i)
				s.awaitSound(i, 1)
				s.send(5)
				s.pullAll(i)
				s.requireHealed(i)
			})
		}
	}
}

// What a replica has to read to apply an entry cannot be read: where a trim has the queue begin. The
// node goes on without that replica, and repairs it.
func TestAReplicaThatCannotApplyAnEntryIsRepaired(t *testing.T) {
	t.Parallel()
	for _, leader := range []bool{false, true} {
		t.Run(fmt.Sprint("leader ", leader), func(t *testing.T) {
			t.Parallel()
			s := newSickbay(t, func(cfg *broker.Config) { cfg.RetainEvery, cfg.DeleteWhen = 50*time.Millisecond, "any" })
			i := s.leads()
			if !leader {
				i = (i + 1) % 3
			}
			s.Stop(i) // so that the queue is read from its file
			s.Run(i)
			s.Await(i)
			for at := s.leads(); leader && at != i; at = s.leads() {
				s.Stop(at)
				s.leads()
				s.Run(at)
				s.Await(at)
			}
			for _, name := range []string{"*.floor", "*.q"} {
				s.mems[i].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: name, Times: 1})
			}
			require.NoError(t, s.Client().Admin().AlterTopic(s.ctx, client.TopicConfig{Name: "t", Attributes: map[string]string{"retention-bytes": "65536"}}))
			s.awaitSound(i, 1)
			s.send(5)
			s.requireHealed(i)
		})
	}
}

// The same while the node cannot look after that replica, since it is opening others, and makes checkpoints of all that are open: there
// is none of one that cannot go on, and that is no reason to end.
func TestAReplicaThatWaitsForItsRepairEndsNoNode(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, func(cfg *broker.Config) {
		cfg.RetainEvery, cfg.DeleteWhen, cfg.CheckpointBytes = 50*time.Millisecond, "any", 1
	})
	admin := s.Client().Admin()
	require.NoError(t, admin.CreateTopic(s.ctx, client.TopicConfig{Name: "u", Partitions: 1, Queues: 1}))
	i := (s.leads() + 1) % 3
	s.Stop(i) // so that the queue is read from its file
	s.Run(i)
	s.Await(i)
	await := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-s.Nodes[i].Failed():
			t.Fatalf("%s failed: %v", s.names[i], err)
		case <-s.ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
	opens := s.mems[i].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpMkdirAll}, Name: "????????", Times: 1, Hang: true})
	defer opens.Release()
	made := make(chan error, 1)
	go func() { made <- admin.CreateTopic(s.ctx, client.TopicConfig{Name: "v", Partitions: 1, Queues: 1}) }()
	await("a partition is opened", opens.Struck())
	var unread []*vfs.Injection
	for _, name := range []string{"*.floor", "*.q"} {
		unread = append(unread, s.mems[i].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpRead}, Name: name, Times: 1}))
	}
	require.NoError(t, admin.AlterTopic(s.ctx, client.TopicConfig{Name: "t", Attributes: map[string]string{"retention-bytes": "65536"}}))
	for _, u := range unread {
		await("the replica cannot go on", u.Struck())
	}
	next := fmt.Sprintf("%08d", s.of(i, "u").ID)
	synced := make(chan struct{}, 1)
	s.mems[i].SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpSyncData && filepath.Base(filepath.Dir(op.Name)) == next && filepath.Ext(op.Name) == ".log" {
			select {
			case synced <- struct{}{}:
			default:
			}
		}
		return nil
	})
	defer s.mems[i].SetHook(nil)
	for range 2 { // the first may be of a round that had passed the replica before
		_, err := s.p.Send(s.ctx, &client.Message{Topic: "u", Body: []byte("later")})
		require.NoError(t, err)
		await("the next has a checkpoint", synced)
	}
	opens.Release()
	require.NoError(t, <-made)
	s.awaitSound(i, 1)
	s.send(5)
	s.requireHealed(i)
}

// The same while the node is stopped: it opens, or is repaired before it can.
func TestDamageInAStoppedNodeIsRepaired(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind string
		n    int
		at   int64
	}{{".log", 1, 3000}, {".log", 0, 10}, {".log", -1, 10}, {".log", -1, 3000}, {".q", 0, 64 + 32*7 + 3}, {".q", 0, 9}, {".floor", 1, 30}} {
		t.Run(fmt.Sprint(c.kind, c.n, " at ", c.at), func(t *testing.T) {
			t.Parallel()
			s := newSickbay(t, func(cfg *broker.Config) { cfg.ScrubRate, cfg.ScrubEvery = 1<<30, 100*time.Millisecond })
			i := (s.leads() + 1) % 3
			dir := s.dir(i)
			s.Stop(i)
			require.NoError(t, s.mems[i].Damage(s.file(dir, i, c.kind, c.n), c.at, 1, decay))
			s.send(3)
			s.Run(i)
			s.Await(i)
			s.pullAll(i)
			s.awaitSound(i, 1)
			s.pullAll(i)
			s.requireHealed(i)
		})
	}
}

// The same range is damaged in every copy. All say so, also after a restart, nothing
// is served from there and nothing deleted, what is not damaged is, and sends go on.
// When one copy is good again the others are repaired from it.
func TestDamageOfEveryCopyIsServedByNobodyAndKept(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	files := make([]string, 3)
	for i := range 3 {
		files[i] = s.file(s.dir(i), i, ".log", 1)
		require.NoError(t, s.mems[i].Damage(files[i], 3000, 1, decay))
	}
	bad := -1 // the first message that is damaged
	pull := func(i, at int) *remoting.Command {
		return s.ask(s.ctx, i, remoting.PullMessage, remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 1, QueueOffset: int64(at), SysFlag: remoting.PullSubscription, Subscription: "*"})
	}
	for at := 0; bad < 0; {
		switch reply := pull(s.leads(), at); reply.Code {
		case remoting.OK:
			at++
		case remoting.PullNotFound, remoting.ServiceNotAvailable: // no leader at this moment
			require.NoError(t, sleep(s.ctx, 10*time.Millisecond))
		default:
			require.Empty(t, reply.Body)
			require.Contains(t, reply.Remark, "damaged")
			bad = at
		}
	}
	said := func(i int) bool {
		_, err := s.mems[i].Open(filepath.Join(s.dir(i), "quarantine.json"))
		return s.metric(i, "raftmq_partitions_quarantined") == 1 && err == nil
	}
	for i := range 3 {
		for !said(i) {
			pull((i+1)%3, bad)
			require.NoError(t, sleep(s.ctx, 10*time.Millisecond), "%s does not say so", s.names[i])
		}
	}
	dirs := []string{s.dir(0), s.dir(1), s.dir(2)}
	for i := range 3 {
		s.Stop(i)
	}
	s.joins = nil
	for i := range 3 {
		before, err := vfs.ReadFile(s.mems[i], files[i], 1<<20)
		require.NoError(t, err)
		decayed := append([]byte(nil), before...)
		s.Run(i)
		after, err := vfs.ReadFile(s.mems[i], files[i], 1<<20)
		require.NoError(t, err)
		require.Equal(t, decayed, after)
	}
	for i := range 3 {
		s.until("it knows its partitions", func() bool { return len(s.Nodes[i].Partitions()) > 0 })
		require.EqualValues(t, 1, s.metric(i, "raftmq_partitions_quarantined"), "it has forgotten")
	}
	s.p = s.producer()
	s.send(2)
	s.until("what is not damaged is served", func() bool { return pull(s.leads(), bad+5).Code == remoting.OK })
	require.NotEqual(t, remoting.OK, pull(s.leads(), bad).Code)
	for i := range 3 {
		_, err := s.mems[i].Open(files[i])
		require.NoError(t, err)
	}
	require.NoError(t, s.mems[1].Damage(filepath.Join(dirs[1], filepath.Base(files[1])), 3000, 1, decay))
	for i := range 3 {
		s.awaitSound(i, 1)
	}
	for i := range 3 {
		s.pullAll(i)
		s.requireHealed(i)
	}
}

// A node that is down is named among those that do not say whether they have damaged replicas.
func TestANodeThatIsDownDoesNotSayWhatIsDamaged(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.Stop(2)
	c.until("its end is known", func() bool { return c.metric(0, "raftmq_nodes_alive") == 2 && c.metric(1, "raftmq_nodes_alive") == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	admin := c.Client().Admin()
	eventually(ctx, t, "it alone is silent", func() bool { // others are, while they stand still
		list, silent, err := admin.DamagedReplicas(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
		require.Contains(t, silent, "n3")
		return len(silent) == 1
	})
}

// Whoever is asked tells of a replica that is damaged anywhere, until it is repaired,
// and the node's event file tells of both.
func TestADamagedReplicaIsListedAndNoted(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	i := (s.leads() + 1) % 3
	id := s.replicaID()
	files := make([]string, 3)
	for j := range 3 { // nobody can help
		files[j] = s.file(s.dir(j), j, ".log", 1)
		require.NoError(t, s.mems[j].Damage(files[j], 3000, 1, decay))
	}
	admin := s.Client().Admin()
	for at := 0; ; at = (at + 1) % s.sent {
		s.ask(s.ctx, i, remoting.PullMessage, remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 1, QueueOffset: int64(at), SysFlag: remoting.PullSubscription, Subscription: "*"})
		list, _, err := admin.DamagedReplicas(s.ctx) // who stands still is silent
		require.NoError(t, err)
		if len(list) == 3 {
			require.Equal(t, s.names[0], list[0].Node)
			require.Equal(t, id, list[0].Partition)
			require.Equal(t, "t", list[0].Topic)
			require.Contains(t, list[i].Reason, filepath.Base(files[i]))
			break
		}
	}
	for j := range 3 {
		if j != i {
			require.NoError(t, s.mems[j].Damage(files[j], 3000, 1, decay))
		}
	}
	s.awaitSound(i, 1)
	s.until("all say what is damaged", func() bool {
		list, silent, err := admin.DamagedReplicas(s.ctx)
		require.NoError(t, err)
		for _, r := range list {
			require.NotEqual(t, s.names[i], r.Node)
		}
		return len(silent) == 0
	})
	raw, err := vfs.ReadFile(s.mems[i], filepath.Join(s.dirs[i], "events.jsonl"), 1<<20)
	require.NoError(t, err)
	var seen []string
	for line := range strings.Lines(string(raw)) {
		var e struct {
			Time      time.Time
			Event     string
			Partition uint64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		require.NotZero(t, e.Time)
		if e.Partition == id && e.Event != "leadership" {
			seen = append(seen, e.Event)
		}
	}
	require.Equal(t, "quarantine", seen[0])
	require.Equal(t, "repaired", seen[len(seen)-1])
}

// The power of the node is cut while it repairs a replica: it goes on when it is back.
// RAFTMQ_DAMAGE cuts at more moments.
func TestARepairIsFinishedAfterAPowerCut(t *testing.T) {
	t.Parallel()
	cuts := []uint64{12}
	if os.Getenv("RAFTMQ_DAMAGE") != "" {
		cuts = []uint64{1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 60}
	}
	for round, after := range cuts {
		s := newSickbay(t, nil)
		i := (s.leads() + 1) % 3
		dir := s.dir(i)
		disk := s.mems[i]
		for _, kind := range []string{".log", ".floor"} {
			require.NoError(t, disk.Damage(s.file(dir, i, kind, 1), 90, 1, decay))
		}
		disk.CutAt(disk.Ops()+after, vfs.Cut{Seed: uint64(round), Keep: 0.5})
		for down := false; !down; {
			s.ask(s.ctx, (i+1)%3, remoting.PullMessage, remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 1, SysFlag: remoting.PullSubscription, Subscription: "*"})
			addr := s.Nodes[i].Addresses().Listeners[s.slot()]
			if conn, err := remoting.Dial(s.ctx, addr, remoting.DialOptions{}); err == nil {
				for at := range s.sent {
					h := remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 1, QueueOffset: int64(at), SysFlag: remoting.PullSubscription, Subscription: "*"}
					if _, err := conn.Call(s.ctx, remoting.NewRequest(remoting.PullMessage, h)); err != nil {
						break
					}
				}
				conn.Close()
			}
			s.send(1) // so that the disk is used in any case
			select {
			case <-disk.Down():
				down = true
			default:
			}
		}
		left, _ := disk.Left()
		s.Stop(i)
		s.mems[i] = left[0]
		s.Disks[i] = left[0]
		s.Run(i)
		s.Await(i)
		s.pullAll(i)
		for s.metric(i, "raftmq_partitions_quarantined") > 0 {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-s.ctx.Done():
				t.Fatalf("not repaired: %+v", s.Nodes[i].Partitions())
			}
		}
		s.pullAll(i)
		s.Await(i)
		s.awaitSame(s.ctx, "t")
	}
}

// A topic that is deleted while a replica of it is being repaired leaves nothing behind.
func TestATopicThatGoesDuringARepairLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	i := (s.leads() + 1) % 3
	dir := s.dir(i)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.mems[i].SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpRename && filepath.Dir(op.To) == dir && strings.HasPrefix(filepath.Base(op.Name), "mend") && strings.HasSuffix(op.To, ".log") {
			once.Do(func() {
				close(reached)
				<-goOn
			})
		}
		return nil
	})
	require.NoError(t, s.mems[i].Damage(s.file(dir, i, ".log", 1), 3000, 1, decay))
	s.pullAll(i)
	select {
	case <-reached:
	case <-s.ctx.Done():
		t.Fatal("it is not repaired")
	}
	require.NoError(t, s.Client().Admin().DeleteTopic(s.ctx, "t"))
	for j := range s.Nodes {
		s.until("each node has heard of it", func() bool { return s.of(j, "t").ID == 0 })
	}
	close(goOn)
	s.until("nothing is left", func() bool {
		_, err := s.mems[i].List(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
	s.sound()
}
