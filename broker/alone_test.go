package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// twoNodes runs two nodes that share a partition, and returns it.
func twoNodes(t *testing.T) (nodes []*Broker, id uint64) {
	t.Helper()
	names := []string{"n1", "n2"}
	for _, name := range names {
		c := Config{
			Node: name, Data: t.TempDir(), InitialNodes: names, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
			WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 500 * time.Millisecond,
		}
		for _, b := range nodes {
			c.Join = append(c.Join, b.Addresses().Gossip)
		}
		b, err := Open(t.Context(), c, Deps{})
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			b.Shutdown(ctx)
		})
		nodes = append(nodes, b)
	}
	for _, b := range nodes {
		eventually(t, func() bool { ok, _ := b.Ready(); return ok })
	}
	eventually(t, func() bool {
		return nodes[0].autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, "t") == nil
	})
	topic, ok := nodes[0].catalogue.Topic("t")
	require.True(t, ok)
	id = topic.Partitions[0].ID
	for _, b := range nodes {
		eventually(t, func() bool { _, open := b.partition(id); return open })
	}
	return nodes, id
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, time.Minute, 5*time.Millisecond)
}

// A damaged replica that may lead since no other was better may not any more when another is sound,
// also while it cannot be repaired.
func TestADamagedReplicaThatIsNotAloneAnyMoreSitsOut(t *testing.T) {
	nodes, id := twoNodes(t)
	b := nodes[0]
	b.sick.admit(id, quarantine{Files: []string{"no.such"}, Reason: "test"})
	b.sick.change(id, func(w *ward) { w.alone = true })
	eventually(t, func() bool { return !b.sick.alone(id) })
	_, sick := b.sick.of(id)
	require.True(t, sick, "it is not repaired")
}

// A damaged replica may lead when the others give it nothing, since they are not what they should be at
// all: else nobody would.
func TestADamagedReplicaLeadsWhenTheOthersAreWorse(t *testing.T) {
	nodes, id := twoNodes(t)
	nodes[1].sick.admit(id, quarantine{Disputed: true, Reason: "test"})
	b := nodes[0]
	b.sick.admit(id, quarantine{Files: []string{"00000000000000000000.log"}, Reason: "test"})
	eventually(t, func() bool { return b.sick.alone(id) })
}
