package mqtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// A topic is deleted while a node is down: when it is back nothing of it is there.
func TestATopicThatWasDeletedWhileANodeWasDownIsGoneThere(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("kept", 1))
	c.createTopic(t, topicOf("gone", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.put(sendShort("gone", 0), []byte("x"))
	ids := make(map[string]bool)
	for _, p := range c.Nodes[2].Partitions() {
		ids[fmt.Sprintf("%08d", p.ID)] = p.Topic == "kept"
	}
	require.Len(t, ids, 6)
	c.Stop(2)
	c.until("deleted", func() bool {
		return w.ask(remoting.DeleteTopicInBroker, fields{"topic": "gone", "rmq": "1"}, nil).Code == remoting.OK
	})
	c.Run(2)
	c.Await(2)
	c.until("nothing of it is there", func() bool {
		there, err := os.ReadDir(filepath.Join(c.dirs[2], "partitions"))
		require.NoError(t, err)
		for _, d := range there {
			if !ids[d.Name()] {
				return false
			}
		}
		return len(there) == 3
	})
}

// A topic is deleted while a node has no room to open its partitions: what they left goes
// without another start.
func TestATopicThatWasDeletedWhileItCouldNotBeOpenedIsGone(t *testing.T) {
	t.Parallel()
	c, mems := onMems(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	dir := filepath.Join(c.dirs[0], "partitions")
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.put(sendShort("t", 0), []byte("x"))
	c.Stop(0)
	fault := mems[0].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpCreate, vfs.OpOpen}, Name: "*.log", Err: vfs.ErrNoFiles})
	c.Run(0)
	c.until("it knows the topic", func() bool {
		_, why := c.Nodes[0].Ready()
		return strings.Contains(why, "0 of 3 partitions are open")
	})
	w = DialWire(t, c.listener(0, 0), remoting.JSON)
	c.until("deleted", func() bool {
		return w.ask(remoting.DeleteTopicInBroker, fields{"topic": "t", "rmq": "1"}, nil).Code == remoting.OK
	})
	fault.Release()
	c.Await(0)
	c.until("nothing of it is there", func() bool {
		there, err := mems[0].List(dir)
		require.NoError(t, err)
		return len(there) == 0
	})
}

// Whether a replica was in quarantine is not known while no more files may be open: none is put there for that.
func TestAReplicaThatCannotBeOpenedForWantOfFilesIsSound(t *testing.T) {
	t.Parallel()
	c, mems := onMems(t, 1, nil)
	c.createTopic(t, topicOf("t", 1))
	c.Stop(0)
	fault := mems[0].Inject(vfs.Fault{Ops: []vfs.OpKind{vfs.OpOpen}, Name: "quarantine.json", Err: vfs.ErrNoFiles})
	c.Run(0)
	select {
	case <-fault.Struck():
	case <-time.After(ample):
		t.Fatal("no partition is opened")
	}
	fault.Release()
	c.until("all are open", func() bool { return c.Nodes[0].Readiness().Open == 3 })
	require.Zero(t, c.metric(0, "raftmq_partitions_quarantined"))
	c.Await(0)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	w.put(sendShort("t", 0), []byte("x"))
}
