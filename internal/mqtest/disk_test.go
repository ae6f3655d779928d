package mqtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// onMems starts n nodes on disks in memory.
func onMems(t *testing.T, n int, change func(*broker.Config)) (*Cluster, []*vfs.Mem) {
	t.Helper()
	var disks []vfs.FS
	var mems []*vfs.Mem
	for i := range n {
		mems = append(mems, vfs.NewMem(uint64(i)))
		disks = append(disks, mems[i])
	}
	return StartOn(t, disks, change), mems
}

// fillTo has percent of the disk used from here on.
func fillTo(t *testing.T, m *vfs.Mem, dir string, percent float64) {
	t.Helper()
	const some = 1 << 30
	m.SetFree(some)
	_, total, err := m.Space(dir)
	require.NoError(t, err)
	used := float64(total - some)
	m.SetFree(int64(used/percent*100 - used))
}

// follower is a node that does not lead the topic's only partition.
func (c *Cluster) follower(topic string) int {
	c.t.Helper()
	return (c.leads(topic) + 1) % len(c.Nodes)
}

// leads is the node that leads the topic's only partition: waits for one.

func (c *Cluster) leads(topic string) int {
	c.t.Helper()
	at := -1
	c.untilIn(ample, "a leader of "+topic, func() bool {
		for i, b := range c.Nodes {
			if b != nil && c.of(i, topic).Leader == c.names[i] {
				at = i
			}
		}
		return at >= 0
	})
	return at
}

// sound fails if a node has failed.
func (c *Cluster) sound() {
	c.t.Helper()
	for i, b := range c.Nodes {
		select {
		case err := <-b.Failed():
			c.t.Fatalf("%s failed: %v", c.names[i], err)
		default:
		}
	}
}

// The disk of one replica is full, without warning: it waits, says so, and does not
// end; the others go on. When there is room it goes on by itself, to the same bytes.
func TestAReplicaOnAFullDiskWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, nil)
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 10)
	f := c.follower("t")
	mems[f].SetFree(0)
	for range 40 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, 64<<10)})
		require.NoError(t, err)
	}
	eventually(ctx, t, "it waits", func() bool { return c.of(f, "t").Waits != "" })
	ok, why := c.Nodes[f].Ready()
	require.False(t, ok)
	require.Contains(t, why, "no room on the disk")
	require.EqualValues(t, 1, c.metric(f, "raftmq_partitions_waiting"))
	require.Contains(t, c.of(f, "t").Waits, vfs.ErrNoSpace.Error())
	sendKiB(ctx, t, p, "t", 10)
	mems[f].SetFree(-1)
	c.Await(f)
	c.awaitSame(ctx, "t")
	c.sound()
}

// One node may open no more files: its replica waits when it needs one, and says so; if it
// leads, another takes over. Nothing that was acknowledged is missing, reads go on, and when
// files are free again it goes on by itself.
func TestANodeThatMayOpenNoMoreFilesWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, smallSegments)
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 10)
	for _, i := range []int{c.follower("t"), c.leads("t")} {
		in := mems[i].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate, vfs.OpOpen}, Err: vfs.ErrNoFiles})
		eventually(ctx, t, "it waits", func() bool {
			sendKiB(ctx, t, p, "t", 50)
			return c.of(i, "t").Waits != ""
		})
		ok, why := c.Nodes[i].Ready()
		require.False(t, ok)
		require.Contains(t, why, "no more files may be open")
		last := sendKiB(ctx, t, p, "t", 10)
		require.NotEqual(t, c.names[i], c.of((i+1)%3, "t").Leader)
		_, hi := bounds(ctx, t, cl, "t")
		require.Equal(t, last+1, hi)
		in.Release()
		c.Await(i)
		c.awaitSame(ctx, "t")
		c.sound()
	}
}

// The disk of the leader is full: another takes over, and nothing that was
// acknowledged is missing.
func TestALeaderOnAFullDiskHandsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, nil)
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 10)
	l := c.leads("t")
	mems[l].SetFree(0)
	var last int64
	for range 40 {
		r, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, 64<<10)})
		require.NoError(t, err)
		last = r.Offset
	}
	require.NotEqual(t, c.names[l], c.of((l+1)%3, "t").Leader)
	_, hi := bounds(ctx, t, cl, "t")
	require.Equal(t, last+1, hi)
	require.EqualValues(t, 50, hi, "each once")
	mems[l].SetFree(-1)
	c.awaitSame(ctx, "t")
	c.sound()
}

// Two disks of three are nearly full: messages are refused, certainly not stored, by
// whichever node is asked. Offsets are kept, messages are deleted by age, topics are
// deleted, while the disks are full to the last byte. With room messages are taken.
func TestMessagesAreRefusedWhenAMajorityLacksRoom(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.DiskReserve = 32 << 20
	})
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	topic(ctx, t, cl, "other", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 300)
	f := c.follower("t")
	mems[f].SetFree(0)
	eventually(ctx, t, "it tells the others", func() bool { return c.metric(f, "raftmq_disk_level") == 3 })
	last := sendKiB(ctx, t, p, "t", 100)
	mems[(f+1)%3].SetFree(0)
	eventually(ctx, t, "messages are refused", func() bool { return c.of(c.leads("t"), "t").Refuses })
	for i := range c.Nodes {
		h := remoting.SendHeader{ProducerGroup: "raw", Topic: "t", BornTimestamp: 1}
		eventually(ctx, t, c.names[i]+" says why", func() bool { // or that it knows of no leader
			reply := c.ask(ctx, i, remoting.SendMessageV2, h)
			require.Equal(t, remoting.ServiceNotAvailable, reply.Code, reply.Remark)
			return strings.Contains(reply.Remark, "[DISK FULL]")
		})
	}
	hasty, err := cl.NewProducer("p", client.WithSendTimeout(500*time.Millisecond))
	require.NoError(t, err)
	eventually(ctx, t, "it is certainly not stored", func() bool { // unless the time was over before the answer came
		_, err = hasty.Send(ctx, &client.Message{Topic: "t", Body: []byte("no")})
		require.Error(t, err)
		return !errors.Is(err, client.ErrUncertain)
	})
	require.ErrorIs(t, err, client.ErrUnavailable)
	mems[f].SetFree(0)
	mems[(f+1)%3].SetFree(0)
	for off := range int64(60) {
		reply := c.led(ctx, int(off)%3, remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{ConsumerGroup: fmt.Sprintf("g%d", off%7), Topic: "t", CommitOffset: off + 1})
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	}
	conf, err := cl.Admin().Topic(ctx, "t")
	require.NoError(t, err)
	conf.Attributes = map[string]string{"retention": "1s"}
	require.NoError(t, cl.Admin().UpdateTopic(ctx, conf))
	eventually(ctx, t, "messages are deleted", func() bool { lo, _ := bounds(ctx, t, cl, "t"); return lo > 300 })
	require.NoError(t, cl.Admin().DeleteTopic(ctx, "other"))
	for i := range c.Nodes {
		eventually(ctx, t, "the topic goes from each node", func() bool { return c.of(i, "other").ID == 0 })
	}
	_, hi := bounds(ctx, t, cl, "t")
	require.Equal(t, last+1, hi, "what was refused is not stored")
	mems[f].SetFree(-1)
	eventually(ctx, t, "messages are taken again", func() bool { return !c.of(c.leads("t"), "t").Refuses })
	require.Equal(t, last+1, sendKiB(ctx, t, p, "t", 1))
	mems[(f+1)%3].SetFree(-1)
	c.awaitSame(ctx, "t")
	c.sound()
}

// Where that is switched off nothing goes of what has not expired, however full a disk
// is.
func TestAFullDiskDeletesNothingIfItIsNotTo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 3, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.DiskRefuseAt = 90
	})
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	topic(ctx, t, cl, "old", map[string]string{"retention": "1s"})
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 200)
	sendKiB(ctx, t, p, "old", 200)
	f := c.follower("t")
	fillTo(t, mems[f], c.dirs[f], 95)
	eventually(ctx, t, "it tells the others", func() bool { return c.metric(f, "raftmq_disk_level") == 3 })
	eventually(ctx, t, "rounds have passed: what has expired goes", func() bool { lo, _ := bounds(ctx, t, cl, "old"); return lo > 100 })
	lo, _ := bounds(ctx, t, cl, "t")
	require.Zero(t, lo)
	c.sound()
}

// Above its watermark a disk is cleaned: of what has expired at any hour, and above
// the next of the oldest, expired or not; on all replicas, since they are the same. The
// newest segment stays.
func TestADiskAboveItsWatermarksIsCleaned(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	never := fmt.Sprintf("%02d", (time.Now().Hour()+12)%24)
	c, mems := onMems(t, 3, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.DeleteWhen, cfg.DiskCleanAt, cfg.DiskForceAt = never, 75, 85
	})
	cl := c.Client()
	topic(ctx, t, cl, "old", map[string]string{"retention": "1s"})
	topic(ctx, t, cl, "young", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "old", 200)
	sendKiB(ctx, t, p, "young", 200)
	time.Sleep(1200 * time.Millisecond) // what is "old" has expired, and some rounds have passed
	lo, _ := bounds(ctx, t, cl, "old")
	require.Zero(t, lo, "it is not the hour")
	f := c.follower("old")
	fillTo(t, mems[f], c.dirs[f], 80)
	eventually(ctx, t, "what has expired goes", func() bool { lo, _ := bounds(ctx, t, cl, "old"); return lo > 100 })
	lo, _ = bounds(ctx, t, cl, "young")
	require.Zero(t, lo)
	fillTo(t, mems[f], c.dirs[f], 95)
	eventually(ctx, t, "the oldest go", func() bool { lo, _ := bounds(ctx, t, cl, "young"); return lo > 100 })
	fillTo(t, mems[f], c.dirs[f], 99)
	last := sendKiB(ctx, t, p, "young", 10)
	lo, hi := bounds(ctx, t, cl, "young")
	require.Equal(t, last+1, hi)
	require.Less(t, lo, hi-10+1, "the newest segment stays")
	for i := range c.Nodes {
		eventually(ctx, t, "alike on all", func() bool { return c.of(i, "young").First == c.of((i+1)%3, "young").First })
	}
	mems[f].SetFree(-1)
	c.awaitSame(ctx, "young")
	c.sound()
}

// When a disk fills up, what waits for its time and lies first keeps nothing behind it: both
// go together, and what waits is appended again.
func TestWhatWaitsKeepsNothingOnAFullDisk(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 1, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.DiskCleanAt, cfg.DiskForceAt = 75, 85
	})
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	for range 60 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, 1<<10), DeliverAt: time.Now().Add(time.Hour)})
		require.NoError(t, err)
	}
	sendKiB(ctx, t, p, "t", 300)
	fillTo(t, mems[0], c.dirs[0], 90)
	eventually(ctx, t, "the oldest go", func() bool { lo, _ := bounds(ctx, t, cl, "t"); return lo > 60 })
	c.sound()
}

// squeeze takes all room of a node's disk, and what it has in reserve, but for a little.
func (c *Cluster) squeeze(i int, m *vfs.Mem) {
	c.t.Helper()
	c.until("the reserve is cut", func() bool {
		m.SetFree(0)
		f, err := m.Open(filepath.Join(c.dirs[i], "reserve"))
		require.NoError(c.t, err)
		defer f.Close()
		size, err := f.Size()
		require.NoError(c.t, err)
		return size == 0
	})
	m.SetFree(4 << 20)
}

// What is due waits while there is no room for messages, and nothing waits behind it: offsets
// are kept. It comes when there is room.
func TestWhatIsDueWaitsForRoomAndNothingBehindIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 1, func(cfg *broker.Config) { cfg.DiskReserve = 32 << 20 })
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	last := sendKiB(ctx, t, p, "t", 10)
	due := time.Now().Add(12 * time.Second)
	_, err = p.Send(ctx, &client.Message{Topic: "t", Body: []byte("later"), DeliverAt: due})
	require.NoError(t, err)
	c.squeeze(0, mems[0])
	if !time.Now().Before(due) {
		t.Skip("the disk was not full in time")
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; time.Now().Before(due.Add(2 * time.Second)); i++ {
		reply := c.led(ctx, 0, remoting.UpdateConsumerOffset, remoting.UpdateOffsetHeader{ConsumerGroup: fmt.Sprintf("g%d", i%7), Topic: "t", CommitOffset: 1 + int64(i%9)})
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
		<-tick.C
	}
	require.Empty(t, c.of(0, "t").Waits)
	_, hi := bounds(ctx, t, cl, "t")
	require.Equal(t, last+1, hi)
	mems[0].SetFree(-1)
	eventually(ctx, t, "it comes", func() bool { _, hi := bounds(ctx, t, cl, "t"); return hi == last+2 })
	c.sound()
}

// Old messages go from a disk without room for messages though dead letters lie among them,
// which are stored again before; an operator's wish to handle those is refused.
func TestDeadLettersKeepNothingOnADiskWithoutRoom(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 1, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.DiskReserve = 32 << 20
	})
	cl := c.Client()
	topic(ctx, t, cl, "t", nil)
	c.letters(ctx, cl, "t", 4, client.DeadLetter(errors.New("poison")))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	sendKiB(ctx, t, p, "t", 200)
	c.squeeze(0, mems[0])
	eventually(ctx, t, "messages are refused", func() bool { return c.of(0, "t").Refuses })
	eventually(ctx, t, "it is said why", func() bool {
		reply := c.ask(ctx, 0, remoting.DeadLetters, remoting.DeadLettersHeader{Group: "g", Op: remoting.RedriveLetters, Slot: -1, Offset: -1})
		require.Equal(t, remoting.ServiceNotAvailable, reply.Code, reply.Remark)
		return strings.Contains(reply.Remark, "[DISK FULL]")
	})
	attribute(ctx, t, cl, "t", "retention", "1s")
	eventually(ctx, t, "what is old goes", func() bool { lo, _ := bounds(ctx, t, cl, "t"); return lo > 100 })
	list, err := cl.Admin().DeadLetters(ctx, "g", 0)
	require.NoError(t, err)
	require.Len(t, list, 4)
	mems[0].SetFree(-1)
	c.sound()
}

// The disk of the leader is full, and the first of the others does not lead, since it is in
// quarantine: the other one takes over.
func TestALeaderOnAFullDiskHandsOverToWhoTakesIt(t *testing.T) {
	t.Parallel()
	s := newSickbay(t, nil)
	l := s.slot() // the order of a slot's nodes
	sick, other := (l+1)%3, (l+2)%3
	eventually(s.ctx, t, "the first leads", func() bool { return s.leads() == l })
	s.mems[sick].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate}, Name: "mend*.tmp", Err: vfs.ErrNoSpace})
	require.NoError(t, s.mems[sick].Damage(s.file(s.dir(sick), sick, ".log", 1), 3000, 1, decay))
	eventually(s.ctx, t, "it is in quarantine", func() bool {
		s.pullAll(sick)
		return s.metric(sick, "raftmq_partitions_quarantined") == 1
	})
	s.mems[l].SetFree(0)
	s.send(60)
	require.Equal(t, other, s.leads())
	s.mems[l].SetFree(-1)
	s.sound()
}
