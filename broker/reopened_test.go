package broker

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/remoting"
)

// goneTopics makes so many topics and deletes them, and returns the entry of the catalogue at which all were there.
func (l *lone) goneTopics(topics int) (all uint64) {
	l.t.Helper()
	name := func(i int) string { return fmt.Sprint("gone-", i) }
	for i := range topics {
		require.Nil(l.t, l.autoCreate(l.t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, name(i)))
	}
	all = l.catalogue.replica.Applied()
	for i := range topics {
		r := &request{Command: remoting.NewRequest(remoting.DeleteTopicInBroker, remoting.TopicHeader{Topic: name(i)}), slot: 0}
		require.Equal(l.t, remoting.OK, l.change(l.t.Context(), r).Code)
	}
	eventually(l.t, func() bool { return len(l.local()) == 1 })
	return all
}

// heldLogs lets nobody read an entry, once it is armed, before it is let go.
type heldLogs struct {
	raft.LogStore
	at    uint64
	armed atomic.Bool
	letGo chan struct{}
}

func (h *heldLogs) GetLog(index uint64, out *raft.Log) error {
	if h.armed.Load() && index == h.at {
		<-h.letGo
	}
	return h.LogStore.GetLog(index, out)
}

// runHalfway starts the node, which goes through the catalogue's entries up to one, looks at what there is, and calls looked before it
// acts on that. Meanwhile the rest comes. It returns how often the folder of a partition is made that is to be gone.
func (l *lone) runHalfway(at uint64, topics int, looked func()) (made *atomic.Int32) {
	l.t.Helper()
	gone := make(map[string]bool)
	for i := range uint64(topics) {
		gone[l.partitionDir(l.part+1+i)] = true
	}
	held, made, runs := &heldLogs{at: at, letGo: make(chan struct{})}, new(atomic.Int32), make(chan struct{})
	looks := sync.OnceFunc(func() {
		<-runs
		close(held.letGo)
		looked()
	})
	l.mem.SetHook(func(op vfs.Op) error {
		switch {
		case op.Kind == vfs.OpList && op.Name == filepath.Join(l.conf.Data, "partitions"): // what is left of topics is looked for
			looks()
		case op.Kind == vfs.OpMkdirAll && gone[op.Name]:
			made.Add(1)
		}
		return nil
	})
	b, err := Open(context.Background(), l.conf, Deps{Disk: l.mem, Catalogue: func(dir string) (CatalogueStore, error) {
		kept, err := (&Broker{raftLog: hclog.NewNullLogger()}).keepInBolt(dir)
		held.LogStore, kept.Logs = kept.Logs, held
		return kept, err
	}})
	require.NoError(l.t, err)
	held.armed.Store(true) // it is yet to be elected
	l.Broker = b
	close(runs)
	return made
}

// A node that starts goes through what the catalogue decided before: partitions of topics that were deleted long ago are
// not made anew meanwhile, which would vote and lead without what they had promised in their earlier life.
func TestPartitionsOfTopicsThatWereDeletedAreNotMadeAtAStart(t *testing.T) {
	const topics = 150
	l := newLone(t)
	l.goneTopics(topics)
	l.stop()
	var made atomic.Int32
	l.mem.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpMkdirAll && strings.HasPrefix(op.Name, filepath.Join(l.conf.Data, "partitions")+"/") && op.Name != l.partitionDir(l.part) {
			made.Add(1)
		}
		return nil
	})
	l.run()
	eventually(t, func() bool { ok, _ := l.Ready(); return ok })
	l.leader()
	l.store(1)
	require.Zero(t, made.Load())
	require.Nil(t, l.autoCreate(t.Context(), &request{Command: remoting.NewRequest(remoting.SendMessage, nil)}, "new"))
	eventually(t, func() bool { return len(l.local()) == 2 })
	require.Positive(t, made.Load(), "it is seen when one is made")
}

// Nor is one whose folder is there all the same, since a power cut has brought it back, or the node ended while it removed it: what the
// node had promised there is gone before the folder goes.
func TestAFolderWithoutVotesIsNotOpenedAtAStart(t *testing.T) {
	const topics = 150
	l := newLone(t)
	all := l.goneTopics(topics)
	l.stop()
	for i := range uint64(topics) {
		require.NoError(t, vfs.MakeDir(l.mem, l.partitionDir(l.part+1+i)))
	}
	made := l.runHalfway(all, topics, func() {})
	eventually(t, func() bool { ok, _ := l.Ready(); return ok })
	l.leader()
	l.store(1)
	require.Zero(t, made.Load())
	eventually(t, func() bool { // and it goes
		names, err := l.mem.List(filepath.Join(l.conf.Data, "partitions"))
		return err == nil && len(names) == 1
	})
}

// Nor is one that was there when the node looked, and is not any more when it has closed and removed what is gone, which takes a while.
func TestNoPartitionIsMadeByAnOlderLookAtTheCatalogue(t *testing.T) {
	const topics = 150
	l := newLone(t)
	all := l.goneTopics(topics)
	l.stop()
	made := l.runHalfway(all, topics, func() {
		for began := time.Now(); !l.caught.up.Load() && time.Since(began) < time.Minute; {
			time.Sleep(time.Millisecond)
		}
	})
	eventually(t, func() bool { ok, _ := l.Ready(); return ok })
	l.leader()
	l.store(1)
	require.Zero(t, made.Load())
}
