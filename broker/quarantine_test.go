package broker

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

// While a file of a replica is repaired, which takes as long as what it needs of the others,
// more is found of it: that stays, after a start too. What was copied whole is whole.
func TestWhatIsFoundDuringARepairStays(t *testing.T) {
	for name, more := range map[string]quarantine{
		"another file": {Files: []string{"b.log"}, Reason: "damaged"},
		"it differs":   {Whole: true, Reason: "at entry 9 the others' digests are others"},
		"a dispute":    {Disputed: true, Reason: "at entry 9 no majority agrees"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Broker{disk: vfs.NewMem(1), cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger()}
			require.True(t, b.sick.admit(7, quarantine{Files: []string{"a.log"}, Reason: "damaged"}))
			require.NoError(t, b.persist(7))
			q, _ := b.sick.of(7)
			require.True(t, b.sick.admit(7, more))
			require.NoError(t, b.release(7, q))
			for range 2 {
				now, ok := b.sick.of(7)
				require.True(t, ok)
				require.ElementsMatch(t, more.Files, now.Files)
				require.Equal(t, more.withheld(), now.withheld())
				b.sick = newInfirmary()
				require.NoError(t, b.recall(7))
			}
			require.NoError(t, b.release(7, quarantine{Whole: true}))
			_, ok := b.sick.of(7)
			require.False(t, ok)
			b.sick = newInfirmary()
			require.NoError(t, b.recall(7))
			require.Empty(t, b.sick.ids())
		})
	}
}

// While the note of a quarantine that ends is removed, more is found: that stays.
func TestWhatIsFoundAsAQuarantineEndsStays(t *testing.T) {
	disk := vfs.NewMem(1)
	b := &Broker{disk: disk, cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger()}
	require.True(t, b.sick.admit(7, quarantine{Files: []string{"a.log"}, Reason: "damaged"}))
	require.NoError(t, b.persist(7))
	q, _ := b.sick.of(7)
	disk.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpRemove && op.Name == b.quarantinePath(7) {
			require.True(t, b.sick.admit(7, quarantine{Files: []string{"b.log"}, Reason: "damaged too"}))
		}
		return nil
	})
	require.NoError(t, b.release(7, q))
	disk.SetHook(nil)
	now, ok := b.sick.of(7)
	require.True(t, ok)
	require.Equal(t, []string{"b.log"}, now.Files)
	require.Equal(t, []uint64{7}, b.sick.due(time.Now()))
	require.NoError(t, b.persist(7))
	b.sick = newInfirmary()
	require.NoError(t, b.recall(7))
	now, _ = b.sick.of(7)
	require.Equal(t, []string{"b.log"}, now.Files)
	require.Empty(t, b.sick.toNote(), "it is not written again, while the replica is opened")
}

// An operator says that a disputed replica counts: it is served again, and what is damaged of it
// is damaged still.
func TestWhatADisputedReplicaHasDamagedStays(t *testing.T) {
	b := &Broker{disk: vfs.NewMem(1), cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger(), now: time.Now}
	require.True(t, b.sick.admit(7, quarantine{Disputed: true, Reason: "at entry 9 no majority agrees"}))
	require.True(t, b.sick.admit(7, quarantine{Files: []string{"a.log"}, Reason: "damaged"}))
	require.NoError(t, b.persist(7))
	b.sick.change(7, func(w *ward) { w.cleared = true })
	require.True(t, b.clear(7))
	for range 2 {
		q, ok := b.sick.of(7)
		require.True(t, ok)
		require.False(t, q.withheld())
		require.Equal(t, []string{"a.log"}, q.Files)
		require.False(t, b.clear(7), "it is said once")
		b.sick = newInfirmary()
		require.NoError(t, b.recall(7))
	}
}

// An operator says that a disputed replica counts while its disk is full: that is noted when there is room.
func TestAFullDiskOnlyDelaysAnOperatorsWord(t *testing.T) {
	disk := vfs.NewMem(1)
	b := &Broker{disk: disk, cfg: Config{Data: "d"}, sick: newInfirmary(), log: hclog.NewNullLogger(), now: time.Now, failed: make(chan error, 1)}
	require.True(t, b.sick.admit(7, quarantine{Files: []string{"a.log"}, Disputed: true, Reason: "at entry 9 no majority agrees"}))
	require.NoError(t, b.persist(7))
	b.sick.change(7, func(w *ward) { w.cleared = true })
	disk.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate {
			return vfs.ErrNoSpace
		}
		return nil
	})
	require.True(t, b.clear(7))
	require.Empty(t, b.failed, "the node goes on")
	q, _ := b.sick.of(7)
	require.True(t, q.withheld())
	require.Equal(t, []uint64{7}, b.sick.due(time.Now()))
	disk.SetHook(nil)
	require.True(t, b.clear(7))
	q, _ = b.sick.of(7)
	require.False(t, q.withheld())
}

// A topic may be deleted while an operator settles which replica counts, or while one is repaired: the quarantine of
// what was removed is over, and there is no folder to say so in.
func TestAQuarantineOfWhatWasRemovedIsOver(t *testing.T) {
	b := &Broker{disk: vfs.NewMem(1), cfg: Config{Data: "d"}, sick: newInfirmary()}
	require.NoError(t, b.release(7, quarantine{Disputed: true}))
}

// The repair of a replica may take long: that another is in quarantine is noted meanwhile.
func TestAQuarantineIsNotedWhileAnotherReplicaIsRepaired(t *testing.T) {
	c := Config{
		Node: "n1", Data: t.TempDir(), InitialNodes: []string{"n1"}, NameServer: -1, Listen: -1, Raft: -1, Gossip: -1, HTTP: -1,
		WALSegmentBytes: 4 << 20, MaxBody: 64 << 10, Heartbeat: 500 * time.Millisecond,
	}
	b, err := Open(t.Context(), c, Deps{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Shutdown(ctx)
	})
	noted := func(id uint64) func() bool {
		return func() bool {
			_, err := os.Stat(b.quarantinePath(id))
			return err == nil
		}
	}
	require.Eventually(t, func() bool { ok, _ := b.Ready(); return ok }, time.Minute, 5*time.Millisecond)
	b.reshape.Lock() // which whoever repairs the first waits for
	b.sick.admit(1001, quarantine{Whole: true, Reason: "test"})
	require.Eventually(t, noted(1001), time.Minute, 5*time.Millisecond)
	require.Eventually(t, func() bool { return len(b.sick.toNote()) == 0 }, time.Minute, 5*time.Millisecond)
	b.sick.admit(1002, quarantine{Whole: true, Reason: "test"})
	ok := assert.Eventually(t, noted(1002), 10*time.Second, 5*time.Millisecond)
	b.reshape.Unlock()
	require.True(t, ok)
	require.Eventually(t, func() bool { return len(b.sick.ids()) == 0 }, time.Minute, 5*time.Millisecond)
}
