package mqtest

import (
	"bytes"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/remoting"
)

// stoppedLog is a catalogue's log of which the entries from one on cannot be read for a while, once
// something was stored: as when many more came before.
type stoppedLog struct {
	*raftboltdb.BoltStore
	from   uint64
	goOn   chan struct{}
	stored atomic.Bool
}

func (l *stoppedLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l *stoppedLog) StoreLogs(logs []*raft.Log) error {
	l.stored.Store(true)
	return l.BoltStore.StoreLogs(logs)
}

func (l *stoppedLog) GetLog(index uint64, out *raft.Log) error {
	if index >= l.from && l.stored.Load() {
		<-l.goOn
	}
	return l.BoltStore.GetLog(index, out)
}

// A topic was deleted and made again. A node that starts goes through both; it stores no message in
// the topic as it was before, which is about to go.
func TestAMessageIsNotStoredInATopicAsItWasBefore(t *testing.T) {
	t.Parallel()
	c := Start(t, 1, nil)
	c.createTopic(t, topicOf("again", 1))
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	for i := range 100 { // the machine is given entries by the dozen
		w.OK(remoting.PutKVConfig, fields{"namespace": "n", "key": strconv.Itoa(i), "value": "v"}, nil)
	}
	w.OK(remoting.DeleteTopicInBroker, fields{"topic": "again"}, nil)
	c.createTopic(t, topicOf("again", 1))
	c.Stop(0)

	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	c.Catalogue = func(dir string) (broker.CatalogueStore, error) {
		db, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
		require.NoError(t, err)
		snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
		require.NoError(t, err)
		l := &stoppedLog{BoltStore: db, goOn: goOn}
		last, err := db.LastIndex()
		require.NoError(t, err)
		for at := uint64(1); at <= last && l.from == 0; at++ {
			var e raft.Log
			require.NoError(t, db.GetLog(at, &e))
			if bytes.Contains(e.Data, []byte(`"again"`)) && !bytes.Contains(e.Data, []byte(`"ReadQueues"`)) {
				l.from = at
			}
		}
		require.NotZero(t, l.from)
		return broker.CatalogueStore{Logs: l, Snapshots: snapshots, Close: db.Close}, nil
	}
	c.Run(0)
	c.until("it is where the topic was there first", func() bool { return len(c.Nodes[0].Partitions()) > 0 })
	w = DialWire(t, c.listener(0, 0), remoting.JSON)
	stored := int64(0)
	for range 2 {
		reply := w.ask(remoting.SendMessageV2, sendShort("again", 0), []byte("x"))
		if reply.Code == remoting.OK {
			stored++
		}
	}
	release()
	c.Await(0)
	w.put(sendShort("again", 0), []byte("y"))
	require.Equal(t, stored+1, num(t, w.OK(remoting.GetMaxOffset, fields{"topic": "again", "queueId": "0"}, nil), "offset"))
}
