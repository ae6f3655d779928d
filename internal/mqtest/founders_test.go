package mqtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/internal/ports"
)

// Founders that are told of different members found nothing, say so, and found when they are told of
// the same: else their catalogues would begin with different voters.
func TestFoundersNameTheSameMembers(t *testing.T) {
	t.Parallel()
	first, err := ports.InARow(3)
	require.NoError(t, err)
	names := []string{"n1", "n2", "n3"}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	run := func(i int, initial ...string) (b *broker.Broker, stop func()) {
		b, err := broker.Open(t.Context(), broker.Config{
			Cluster: fmt.Sprint("founders-", os.Getpid()), Node: names[i], Data: dirs[i], InitialNodes: initial,
			Join:       []string{fmt.Sprint("127.0.0.1:", first), fmt.Sprint("127.0.0.1:", first+1)},
			NameServer: -1, Listen: -1, Raft: -1, Gossip: first + i, HTTP: -1, WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: heartbeat,
		}, broker.Deps{})
		require.NoError(t, err)
		stop = func() {
			ctx, cancel := context.WithTimeout(context.Background(), ample)
			defer cancel()
			require.NoError(t, b.Shutdown(ctx))
		}
		return b, stop
	}
	says := func(b *broker.Broker, words string) {
		t.Helper()
		reason := ""
		require.Eventually(t, func() (is bool) {
			is, reason = b.Ready()
			return words == "" && is || words != "" && strings.Contains(reason, words)
		}, ample, 5*time.Millisecond, "%s", words)
	}
	n1, stop1 := run(0, names...)
	defer stop1()
	n2, stop2 := run(1, "n2", "n1")
	n3, stop3 := run(2, "n3", "n2", "n1")
	defer stop3()
	says(n2, "initial-nodes is n1,n2 here and n1,n2,n3 on n")
	says(n1, "initial-nodes is n1,n2,n3 here and n1,n2 on n2")
	says(n3, "initial-nodes is n1,n2,n3 here and n1,n2 on n2")
	stop2()
	n2, stop2 = run(1, names...)
	defer stop2()
	for _, b := range []*broker.Broker{n1, n2, n3} {
		says(b, "")
	}
}
