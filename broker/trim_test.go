package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A trim before which what is to be kept cannot be stored again was not made: less may go then,
// since the disk fills up.
func TestATrimThatCouldNotKeepWhatItMustWasNotMade(t *testing.T) {
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
	require.NoError(t, b.catalogue.replica.Close()) // nobody says whether the letters' group is deleted
	l := newLettersIn(t, 3)
	p := &partition{machine: l.PartitionMachine}
	to := l.Store().Last().Position
	require.Error(t, p.keepAbove(b, to, whyExpired))
	require.False(t, b.trim(trim{p: p, to: to, why: whyExpired}))
}
