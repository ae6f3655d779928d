package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Who deletes a group is not told that all is done where it is not known which partitions there are.
func TestAGroupIsNotSaidToBeGoneFromPartitionsThatAreNotKnown(t *testing.T) {
	b, err := Open(t.Context(), Config{
		Node: "n1", Data: t.TempDir(), InitialNodes: []string{"n1"}, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
		WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 100 * time.Millisecond,
	}, Deps{})
	require.NoError(t, err)
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Shutdown(ctx)
	}()
	require.Eventually(t, func() bool { ok, _ := b.Ready(); return ok }, time.Minute, 5*time.Millisecond)
	r := &request{Command: remoting.NewRequest(remoting.DeleteSubscriptionGroup, nil), slot: 0}
	require.Nil(t, b.dropGroups(t.Context(), r, "g"))
	require.NoError(t, b.catalogue.replica.Close())
	reply := b.dropGroups(t.Context(), r, "g")
	require.NotNil(t, reply)
	require.Contains(t, reply.Remark, "delete it again")
}

// A request that names more attributes than a topic has is refused before what it says is kept, which takes many times its text.
func TestMoreAttributesThanATopicHasAreNotRead(t *testing.T) {
	text := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf("+k%d=v", i))
		}
		return strings.Join(parts, ",")
	}
	set, _, err := attributes(text(maxAttributes))
	require.NoError(t, err)
	require.Len(t, set, maxAttributes)
	_, _, err = attributes(text(maxAttributes + 1))
	require.Error(t, err)
	_, _, err = attributes(strings.Repeat("-k,", maxAttributes+1))
	require.Error(t, err)
}
