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
	w = DialWire(t, c.listener(0, 0), remoting.JSON)
	c.until("it is where the topic was there first", func() bool {
		return bytes.Contains(w.OK(remoting.GetAllTopicListFromNS, nil, nil).Body, []byte(`"again"`))
	})
	require.Empty(t, c.Nodes[0].Partitions(), "what has no folder may be of a topic that goes")
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

// heldLog is a catalogue's log that stores nothing while it is held.
type heldLog struct {
	*raftboltdb.BoltStore
	held *atomic.Pointer[chan struct{}]
}

func (l *heldLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l *heldLog) StoreLogs(logs []*raft.Log) error {
	if held := l.held.Load(); held != nil {
		<-*held
	}
	return l.BoltStore.StoreLogs(logs)
}

// A topic is deleted through a node that does not hear of it, since its disk is slow or it was cut
// off a moment ago: it does not say that it is done, and go on with the topic as it was before.
func TestAChangeIsKnownToTheNodeThatAnswersIt(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, nil)
	c.createTopic(t, topicOf("t", 1))
	via := (c.ofCatalogue() + 1) % 3
	c.Stop(via)
	var held atomic.Pointer[chan struct{}]
	release := func() {
		if ch := held.Swap(nil); ch != nil {
			close(*ch)
		}
	}
	t.Cleanup(release)
	c.Catalogue = func(dir string) (broker.CatalogueStore, error) {
		db, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
		require.NoError(t, err)
		snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
		return broker.CatalogueStore{Logs: &heldLog{db, &held}, Snapshots: snapshots, Close: db.Close}, err
	}
	c.Run(via)
	c.Await(via)
	require.NotEqual(t, via, c.ofCatalogue())

	ch := make(chan struct{})
	held.Store(&ch)
	w := DialWire(t, c.listener(via, 0), remoting.JSON)
	gone := func() *remoting.Command { return w.Reply(w.Send(remoting.GetTopicConfig, fields{"topic": "t"}, nil)) }
	r := w.ask(remoting.DeleteTopicInBroker, fields{"topic": "t", "rmq": "1"}, nil)
	require.NotEqual(t, remoting.OK, r.Code, "and it says of the topic: %d", gone().Code)
	require.Equal(t, remoting.OutcomeUnknown, r.Code, r.Remark)
	release()
	w.sure(remoting.DeleteTopicInBroker, fields{"topic": "t", "rmq": "1"}, nil)
	require.Equal(t, remoting.TopicNotExist, gone().Code)
}
