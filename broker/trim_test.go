package broker

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/message"
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

// What is more than is to be kept, and stays since most of it waits for a decision, is as it should be: every ten seconds
// there was a warning of each such partition.
func TestWhatStaysAsItShouldIsNoWarning(t *testing.T) {
	var log logBuffer
	b, err := openAlone(t, func(*Config) {}, hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &log}))
	require.NoError(t, err)
	require.Eventually(t, func() bool { ok, _ := b.Ready(); return ok }, time.Minute, 5*time.Millisecond)
	l := newLettersIn(t, 1)
	rec, err := (&message.Message{Topic: "t", Body: make([]byte, 10<<10)}).AppendRecord(nil)
	require.NoError(t, err)
	res := l.do(fsm.EncodeHalves(nil, 1, []fsm.Half{{Group: "g", CheckAfter: 1000, Record: rec}})).(fsm.HalvesResult).Items
	require.Equal(t, fsm.Stored, res[0].Status)
	p := &partition{machine: l.PartitionMachine}
	to := l.Store().Last().Position
	require.ErrorIs(t, p.keepAbove(b, to, whyBytes), errNoGain)
	require.False(t, b.trim(trim{p: p, to: to, why: whyBytes}))
	require.Zero(t, log.count("append again"))
}
