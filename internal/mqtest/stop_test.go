package mqtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// A node is told to stop while a client does not read what it is sent: a pull that is held for
// another one, at another listener, is answered.
func TestAHeldPullIsAnsweredThoughAnotherClientDoesNotRead(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	deaf, held := DialWire(t, c.listener(0, 0), remoting.JSON), DialWire(t, c.listener(0, 2), remoting.JSON)
	for range 20 {
		deaf.put(sendShort("t", 0), make([]byte, 256<<10))
	}
	for range 40 {
		deaf.Send(remoting.PullMessage, with(pullOf("t", 0, 0), "maxMsgNums", "64"), nil)
	}
	pull := held.Send(remoting.PullMessage, with(pullOf("t", 0, 0), "sysFlag", "6", "suspendTimeoutMillis", "30000"), nil)
	held.OK(remoting.GetMaxOffset, fields{"topic": "t", "queueId": "0"}, nil) // by then the pull was read
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stopped <- c.Nodes[0].Shutdown(ctx)
	}()
	require.Equal(t, remoting.PullNotFound, held.Reply(pull).Code)
	require.NoError(t, <-stopped)
	c.Nodes[0] = nil
}

// Replicas that wait for room have proposals that nobody answers. A node that is told to stop waits
// for those of all of them at once, not of one after the other.
func TestANodeWhoseReplicasAllWaitStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	c, mems := onMems(t, 1, func(cfg *broker.Config) {
		smallSegments(cfg)
		cfg.Heartbeat = 2 * time.Second
	})
	cl := c.Client()
	const topics = 4
	for i := range topics {
		require.NoError(t, cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: fmt.Sprint("t", i), Partitions: 3, Queues: 1}))
	}
	mems[0].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate, vfs.OpOpen}, Err: vfs.ErrNoFiles})
	sending, stop := context.WithCancel(ctx)
	defer stop()
	for i := range topics {
		for q := range 3 {
			p, err := cl.NewProducer(fmt.Sprintf("p-%d-%d", i, q), client.WithSendTimeout(ample))
			require.NoError(t, err)
			go func() {
				for sending.Err() == nil {
					p.SendTo(sending, q, &client.Message{Topic: fmt.Sprint("t", i), Body: make([]byte, 4<<10)})
				}
			}()
		}
	}
	eventually(ctx, t, "all wait", func() bool {
		waits := 0
		for _, p := range c.Nodes[0].Partitions() {
			if p.Waits != "" {
				waits++
			}
		}
		return waits == 3*topics
	})
	begun := time.Now()
	c.Stop(0)
	require.Less(t, time.Since(begun), 40*time.Second, "each waits for 4 s")
}

// Whoever waits for a replica that waits for room keeps the node from stopping for no longer than
// its replicas take to close: what becomes of the message is not known.
func TestSendsToReplicasWithoutRoomDoNotKeepANode(t *testing.T) {
	t.Parallel()
	c, mems := onMems(t, 1, smallSegments)
	c.createTopic(t, topicOf("t", 1))
	mems[0].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate, vfs.OpOpen}, Err: vfs.ErrNoFiles})
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	c.until("a replica waits", func() bool {
		w.Send(remoting.SendMessageV2, sendShort("t", 0), make([]byte, 16<<10))
		for _, p := range c.Nodes[0].Partitions() {
			if p.Waits != "" {
				return true
			}
		}
		return false
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	begun := time.Now()
	c.Nodes[0].Shutdown(ctx)
	c.Nodes[0] = nil
	require.Less(t, time.Since(begun), patience)
}
