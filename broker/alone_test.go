package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// A damaged replica that may lead since no other was better may not any more when another is sound,
// also while it cannot be repaired.
func TestADamagedReplicaThatIsNotAloneAnyMoreSitsOut(t *testing.T) {
	names := []string{"n1", "n2"}
	var nodes []*Broker
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
	eventually := func(is func() bool) {
		t.Helper()
		require.Eventually(t, is, time.Minute, 5*time.Millisecond)
	}
	for _, b := range nodes {
		eventually(func() bool { ok, _ := b.Ready(); return ok })
	}
	b := nodes[0]
	eventually(func() bool {
		return b.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, "t") == nil
	})
	topic, ok := b.catalogue.Topic("t")
	require.True(t, ok)
	id := topic.Partitions[0].ID
	eventually(func() bool { _, open := b.partition(id); return open })
	b.sick.admit(id, quarantine{Files: []string{"no.such"}, Reason: "test"})
	b.sick.change(id, func(w *ward) { w.alone = true })
	eventually(func() bool { return !b.sick.alone(id) })
	_, sick := b.sick.of(id)
	require.True(t, sick, "it is not repaired")
}
