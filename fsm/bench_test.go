package fsm

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/store"
)

// fullEntry is what a busy leader proposes: 250 messages of 1 KiB, each an item of
// one of some producers.
func fullEntry(b *testing.B, producers int, seq uint64) []byte {
	b.Helper()
	m := message.Message{Topic: "orders", QueueID: 1, Body: make([]byte, 1024-150), Properties: "UNIQ_KEY\x01AC11000100002A9F4AAC2F6B1C9A0001\x02TAGS\x01a\x02"}
	rec, err := m.AppendRecord(nil)
	require.NoError(b, err)
	var a AppendBuilder
	for i := range 250 {
		it := Item{Queue: message.Queue{Topic: "orders", ID: 1}, Records: rec, Count: 1}
		if producers > 0 {
			it.Producer = producer(uint64(1+i%producers), 0, seq+uint64(i/producers))
		}
		a.Add(&it)
	}
	return a.Finish(1)
}

// BenchmarkApply is the whole of applying one such entry, the copy into the log on
// the real disk's page cache included.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name      string
		producers int
	}{{"anonymous", 0}, {"1 producer", 1}, {"50 producers", 50}} {
		b.Run(c.name, func(b *testing.B) {
			m, err := OpenPartition(b.TempDir(), PartitionOptions{Store: store.Options{FS: vfs.OS{}, SegmentBytes: 64 << 20}}, nil)
			require.NoError(b, err)
			defer m.Close()
			index, seq := uint64(0), uint64(0)
			var trimmed store.Position
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				cmd := fullEntry(b, c.producers, seq)
				if c.producers > 0 {
					seq += uint64(250 / c.producers)
				}
				if s := m.Store().Segments(); len(s) > 3 && s[2].Position != trimmed { // keep the disk small
					trimmed = s[2].Position
					index++
					_, err := m.Apply([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: EncodeTrim(nil, 1, trimmed)}})
					require.NoError(b, err)
					_, sync := m.Checkpoint()
					require.NoError(b, sync())
				}
				index++
				entry := []*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: cmd}}
				b.SetBytes(int64(len(cmd)))
				b.StartTimer()
				if _, err := m.Apply(entry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBuild is the leader's part of one entry.
func BenchmarkBuild(b *testing.B) {
	rec := make([]byte, 1024)
	it := Item{Queue: queue(1), Records: rec, Count: 1, Producer: producer(1, 0, 0)}
	room := make([]byte, 0, 300<<10)
	b.ReportAllocs()
	for b.Loop() {
		var a AppendBuilder
		a.Start(room)
		for range 250 {
			a.Add(&it)
		}
		a.Finish(1)
	}
}

// BenchmarkCheckpoint encodes a state at all its bounds.
func BenchmarkCheckpoint(b *testing.B) {
	m, err := OpenPartition("p", PartitionOptions{Store: store.Options{FS: vfs.NewMem(1)}}, nil)
	require.NoError(b, err)
	defer m.Close()
	full(m)
	b.ReportAllocs()
	for b.Loop() {
		m.Checkpoint()
	}
}

// full brings the state to all its bounds.
func full(m *PartitionMachine) {
	for i := uint64(1); m.dedup.size+200 < m.dedup.budget; i++ {
		p := producer(i, 0, 0)
		m.dedup.check(&p, queue(int32(i%8)), 1, message.Offset(i), 1)
	}
	for i := 0; m.offsets.put(groupQueue{name("some-group-", i/8), queue(int32(i % 8))}, groupOffset{}); i++ {
	}
	for i := 0; ; i++ {
		if _, ok := m.locks.take(groupQueue{name("some-group-", i/8), queue(int32(i % 8))}, "10.0.0.1@12345", 1, 1, 60_000); !ok {
			return
		}
	}
}

func TestAFullStateFitsFourMiB(t *testing.T) {
	r := newReplica(t)
	full(r.PartitionMachine)
	small := r.small()
	require.Less(t, len(small), 4<<20)
	require.Greater(t, len(small), 7<<19)
	r = r.restart()
	require.Equal(t, small, r.small())
}
