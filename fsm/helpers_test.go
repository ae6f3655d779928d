package fsm

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/store"
)

// segmentBytes makes logs roll often.
const segmentBytes = 64 << 10

// replica is a machine on a disk in memory.
type replica struct {
	t    testing.TB
	disk *vfs.Mem
	*PartitionMachine
}

func openReplica(t testing.TB, disk *vfs.Mem, state []byte) *replica {
	t.Helper()
	m, err := OpenPartition("p", PartitionOptions{Store: store.Options{FS: disk, SegmentBytes: segmentBytes, Number: 7}}, state)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return &replica{t, disk, m}
}

func newReplica(t testing.TB) *replica {
	t.Helper()
	return openReplica(t, vfs.NewMem(1), nil)
}

// do applies one command and returns its result.
func (r *replica) do(cmd []byte) any {
	r.t.Helper()
	last, _ := r.Applied()
	res, err := r.Apply([]*raft.Log{{Index: last + 1, Term: 1, Type: raft.LogCommand, Data: cmd}})
	require.NoError(r.t, err)
	return res[0]
}

// send applies an append of one item.
func (r *replica) send(atMs int64, it Item) ItemResult {
	r.t.Helper()
	res := r.do(EncodeAppend(nil, atMs, []Item{it})).(AppendResult)
	require.Len(r.t, res.Items, 1)
	return res.Items[0]
}

// restart closes the replica and opens it from a checkpoint of now, after a power
// cut that loses all that was not synced.
func (r *replica) restart() *replica {
	r.t.Helper()
	state, sync := r.Checkpoint()
	require.NoError(r.t, sync())
	require.NoError(r.t, r.Close())
	return openReplica(r.t, r.disk.Crash(1), state)
}

// installed is a new replica that starts at r's floor, or at the log's start.
func (r *replica) installed() (*replica, uint64) {
	r.t.Helper()
	state, index, term, err := r.Floor()
	require.NoError(r.t, err)
	fresh := newReplica(r.t)
	if index > 0 {
		require.NoError(r.t, fresh.Restore(state, index, term))
	}
	return fresh, index
}

// small is the bounded state's bytes.
func (r *replica) small() []byte { return r.appendSmall(nil) }

func records(t testing.TB, q message.Queue, n, body int) []byte {
	t.Helper()
	var b []byte
	for i := range n {
		m := message.Message{Topic: q.Topic, QueueID: q.ID, Body: make([]byte, body), BornTimestamp: int64(i), Properties: "KEYS\x01k\x02TAGS\x01a\x02"}
		var err error
		b, err = m.AppendRecord(b)
		require.NoError(t, err)
	}
	return b
}

func item(t testing.TB, q message.Queue, n int, p Producer) Item {
	return Item{Queue: q, Producer: p, Records: records(t, q, n, 10), Count: n}
}

func producer(n uint64, epoch uint32, seq uint64) Producer {
	var p Producer
	binary.BigEndian.PutUint64(p.ID[:], n)
	p.Epoch, p.Sequence = epoch, seq
	return p
}

func ordered(p Producer) Producer {
	p.Ordered = true
	return p
}

func queue(id int32) message.Queue { return message.Queue{Topic: "t", ID: id} }

func entryAt(index uint64, typ raft.LogType, data []byte) *raft.Log {
	return &raft.Log{Index: index, Term: 1 + index/100, Type: typ, Data: data, AppendedAt: time.Unix(0, int64(index))}
}

func name(kind string, n int) string { return fmt.Sprintf("%s%d", kind, n) }
