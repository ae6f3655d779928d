package mqtest

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/remoting"
)

// onMem starts n nodes on disks in memory with a topic "t" of one queue.
func onMem(ctx context.Context, t *testing.T, n int) (*Cluster, []*vfs.Mem, *client.Producer) {
	t.Helper()
	var disks []vfs.FS
	var mems []*vfs.Mem
	for i := range n {
		mems = append(mems, vfs.NewMem(uint64(i)))
		disks = append(disks, mems[i])
	}
	c := StartOn(t, disks, nil)
	cl := c.Client()
	require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: "t", Partitions: 1, Queues: 1}))
	p, err := cl.NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	return c, mems, p
}

// replica returns node i's replica of topic "t"; while it is repaired there is none.
func (c *Cluster) replica(i int) broker.PartitionInfo {
	c.t.Helper()
	for begun := time.Now(); time.Since(begun) < ample; time.Sleep(5 * time.Millisecond) {
		for _, p := range c.Nodes[i].Partitions() {
			if p.Topic == "t" {
				return p
			}
		}
	}
	c.t.Fatalf("%s has no replica", c.names[i])
	panic("unreachable")
}

// led is ask, again while there is no leader, or it is not known what one has done: of what may be
// asked again.
func (c *Cluster) led(ctx context.Context, i int, code remoting.Code, h remoting.Header) *remoting.Command {
	c.t.Helper()
	conn, err := remoting.Dial(ctx, c.Nodes[i].Addresses().Listeners[c.replica(i).Slot], remoting.DialOptions{})
	require.NoError(c.t, err)
	defer conn.Close()
	for {
		req := remoting.NewRequest(code, h)
		req.SetExt("rmq", "1") // else it is not answered when nobody knows
		reply, err := conn.Call(ctx, req)
		require.NoError(c.t, err)
		switch reply.Code {
		case remoting.ServiceNotAvailable, remoting.OutcomeUnknown, remoting.PullNotFound:
			if sleep(ctx, 10*time.Millisecond) == nil {
				continue
			}
		}
		return reply
	}
}

// sleep returns an error if ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// ask sends a request about topic "t" to node i.
func (c *Cluster) ask(ctx context.Context, i int, code remoting.Code, h remoting.Header) *remoting.Command {
	c.t.Helper()
	conn, err := remoting.Dial(ctx, c.Nodes[i].Addresses().Listeners[c.replica(i).Slot], remoting.DialOptions{})
	require.NoError(c.t, err)
	defer conn.Close()
	reply, err := conn.Call(ctx, remoting.NewRequest(code, h))
	require.NoError(c.t, err)
	return reply
}

// A byte of a record decays on one replica's disk. Nobody is served the record from
// there, nor told that it is not there: a follower asks the leader, and a leader
// another replica. Each is repaired.
func TestDamageIsServedByNobody(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, disks, p := onMem(ctx, t, 3)
	for range 10 {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, 100)})
		require.NoError(t, err)
	}
	c.awaitSame(ctx, "t")
	pull := remoting.PullHeader{ConsumerGroup: "g", Topic: "t", MaxMsgNums: 1, QueueOffset: 5, SysFlag: remoting.PullSubscription, Subscription: "*"}
	reply := c.led(ctx, 0, remoting.PullMessage, pull)
	require.Equal(t, remoting.OK, reply.Code, reply.Remark)
	want := reply.Body
	rec, err := message.ParseRecord(want)
	require.NoError(t, err)
	_, pos := message.SplitPhysicalOffset(rec.PhysicalOffset())
	for i := range c.Nodes {
		r := c.replica(i)
		name := filepath.Join(c.dirs[i], "partitions", fmt.Sprintf("%08d", r.ID), fmt.Sprintf("%020d.log", 0))
		require.Empty(t, r.Damage)
		require.NoError(t, disks[i].Damage(name, pos+90, 1, func(b []byte) { b[0] ^= 1 }))
		if i != 1 {
			reply := c.led(ctx, i, remoting.PullMessage, pull)
			require.Equal(t, remoting.OK, reply.Code, reply.Remark)
			require.Equal(t, want, reply.Body)
		}
		reply := c.led(ctx, i, remoting.ViewMessageByID, remoting.ViewMessageHeader{Offset: rec.PhysicalOffset(), Topic: "t"})
		require.Equal(t, remoting.OK, reply.Code, reply.Remark)
		require.Equal(t, want, reply.Body)
		if c.metric(i, "raftmq_damage_found_total") > 0 { // a follower passes the second on unseen
			for c.metric(i, "raftmq_repairs_total") == 0 {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("%s is not repaired: %+v", c.names[i], c.replica(i))
				}
			}
		}
		c.Await(i)
	}
}

// A write to a replica's files that fails is final, checkpoint or not: the node says
// so and ends, the others go on.
func TestFailedWriteStopsTheNode(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, disks, p := onMem(ctx, t, 3)
	bad := 0
	if c.leads("t") == 0 {
		bad = 1
	}
	disks[bad].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpWrite}, Name: "*.q", Err: syscall.EIO})
	var failed error
	for failed == nil {
		_, err := p.Send(ctx, &client.Message{Topic: "t", Body: make([]byte, 100<<10)})
		require.NoError(t, err)
		select {
		case failed = <-c.Nodes[bad].Failed():
		default:
		}
	}
	require.ErrorIs(t, failed, syscall.EIO)
	require.ErrorContains(t, failed, "partition")
	c.Stop(bad)
	_, err := p.Send(ctx, &client.Message{Topic: "t", Body: []byte("after")})
	require.NoError(t, err)
}
