package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/store"
)

func open(t testing.TB, disk vfs.FS, state []byte) *PartitionMachine {
	t.Helper()
	m, err := OpenPartition("p", PartitionOptions{Store: store.Options{FS: disk, SegmentBytes: 64 << 10, Number: 7}}, state)
	require.NoError(t, err)
	return m
}

func records(t testing.TB, q message.Queue, bodies ...string) []byte {
	t.Helper()
	var b []byte
	for _, body := range bodies {
		m := message.Message{Topic: q.Topic, QueueID: q.ID, Body: []byte(body), Properties: "TAGS\x01x\x02"}
		var err error
		b, err = m.AppendRecord(b)
		require.NoError(t, err)
	}
	return b
}

// log applies commands one by one.
type log struct {
	t     testing.TB
	m     *PartitionMachine
	index uint64
}

func (l *log) do(cmd []byte) any {
	l.t.Helper()
	l.index++
	res, err := l.m.Apply([]*raft.Log{{Index: l.index, Term: 1, Type: raft.LogCommand, Data: cmd}})
	require.NoError(l.t, err)
	return res[0]
}

func (l *log) send(at int64, p Producer, q message.Queue, bodies ...string) ItemResult {
	l.t.Helper()
	return l.do(EncodeAppend(nil, at, []Item{{Queue: q, Producer: p, Records: records(l.t, q, bodies...), Count: len(bodies)}})).(AppendResult).Items[0]
}

var queue = message.Queue{Topic: "t", ID: 1}

func TestAResendIsStoredOnce(t *testing.T) {
	l := &log{t: t, m: open(t, vfs.NewMem(1), nil)}
	defer l.m.Close()
	id := func(seq uint64) Producer { return Producer{ID: [16]byte{1}, Sequence: seq} }
	first := l.send(1, id(0), queue, "a", "b")
	require.Equal(t, Stored, first.Status)
	require.Equal(t, UnknownProducer, l.send(1, Producer{ID: [16]byte{2}, Sequence: 5}, queue, "x").Status)
	again := l.send(2, id(0), queue, "a", "b")
	require.Equal(t, Duplicate, again.Status)
	require.Equal(t, first.Offset, again.Offset)
	one := l.send(2, id(1), queue, "b")
	require.Equal(t, Duplicate, one.Status)
	require.Equal(t, first.Offset+1, one.Offset)
	require.Equal(t, UnknownBelowWindow, l.send(2, id(1), queue, "b", "c").Status, "half of it was stored")

	// Out of order within the window is a new message, unless order is asked for.
	require.Equal(t, Stored, l.send(3, id(4), queue, "e").Status)
	require.Equal(t, Stored, l.send(3, id(2), queue, "c").Status)
	ordered := id(9)
	ordered.Ordered = true
	require.Equal(t, SequenceGap, l.send(3, ordered, queue, "z").Status)

	for seq := uint64(5); seq < Window+10; seq++ {
		require.Equal(t, Stored, l.send(4, id(seq), queue, "n").Status)
	}
	require.Equal(t, UnknownBelowWindow, l.send(5, id(0), queue, "a").Status)

	// A later epoch begins anew and refuses the earlier one.
	next := Producer{ID: [16]byte{1}, Epoch: 1}
	require.Equal(t, Stored, l.send(6, next, queue, "f").Status)
	require.Equal(t, StaleEpoch, l.send(6, id(Window+10), queue, "g").Status)
	require.Equal(t, UnknownProducer, l.send(6, Producer{ID: [16]byte{1}, Epoch: 2, Sequence: 3}, queue, "g").Status)
}

func TestProducersAreForgottenByTheLogsTime(t *testing.T) {
	l := &log{t: t, m: open(t, vfs.NewMem(1), nil)}
	defer l.m.Close()
	a := Producer{ID: [16]byte{1}}
	require.Equal(t, Stored, l.send(1000, a, queue, "a").Status)
	a.Sequence = 1
	require.Equal(t, Stored, l.send(1000+forgetMs, a, queue, "b").Status)
	a.Sequence = 2
	require.Equal(t, UnknownProducer, l.send(1001+2*forgetMs, a, queue, "c").Status)
}

func TestOffsetsOnlyRiseAndStayInTheQueue(t *testing.T) {
	l := &log{t: t, m: open(t, vfs.NewMem(1), nil)}
	defer l.m.Close()
	l.send(1, Producer{}, queue, "a", "b", "c", "d")
	commit := func(o CommitOffset) (message.Offset, bool) {
		o.Group, o.Queue = "g", queue
		l.do(EncodeCommit(nil, 2, []CommitOffset{o}))
		return l.m.Committed("g", queue)
	}
	_, ok := commit(CommitOffset{Offset: 5})
	require.False(t, ok, "past the end")
	off, _ := commit(CommitOffset{Offset: 3})
	require.EqualValues(t, 3, off)
	off, _ = commit(CommitOffset{Offset: 2})
	require.EqualValues(t, 3, off)

	l.do(EncodeReset(nil, 3, "g", queue, 1))
	off, _ = commit(CommitOffset{Offset: 4})
	require.EqualValues(t, 1, off, "until a client was told of the reset")
	pending, ok := l.m.PendingReset("g", queue)
	require.True(t, ok)
	require.EqualValues(t, 1, pending)
	l.do(EncodeResetTold(nil, 4, "g", queue))
	off, _ = commit(CommitOffset{Offset: 2})
	require.EqualValues(t, 2, off)
}

func TestALockHoldsUntilItExpiresAndFencesCommits(t *testing.T) {
	l := &log{t: t, m: open(t, vfs.NewMem(1), nil)}
	defer l.m.Close()
	l.send(1, Producer{}, queue, "a", "b")
	lock := func(at int64, client string) LockResult {
		return l.do(EncodeLock(nil, at, "g", client, []message.Queue{queue}, 100)).(LockResult)
	}
	require.Len(t, lock(10, "a").Granted, 1)
	require.Empty(t, lock(50, "b").Granted)
	require.Len(t, lock(60, "a").Granted, 1)
	l.do(EncodeCommit(nil, 70, []CommitOffset{{Group: "g", Queue: queue, Offset: 1, Owner: "b"}}))
	_, ok := l.m.Committed("g", queue)
	require.False(t, ok, "not the holder")
	l.do(EncodeCommit(nil, 70, []CommitOffset{{Group: "g", Queue: queue, Offset: 1, Owner: "a"}}))
	_, ok = l.m.Committed("g", queue)
	require.True(t, ok)
	require.Empty(t, lock(5, "b").Granted, "time does not go back")
	require.Len(t, lock(161, "b").Granted, 1)
	l.do(EncodeUnlock(nil, 162, "g", "b", []message.Queue{queue}))
	require.Len(t, lock(163, "a").Granted, 1)
}

// history is a random log of every kind of entry.
func history(t testing.TB, seed uint64, n int) []*raft.Log {
	r := rand.New(rand.NewPCG(seed, 1))
	seqs := make(map[Producer]uint64)
	var logs []*raft.Log
	for i := range n {
		l := &raft.Log{Index: uint64(i + 1), Term: 1 + uint64(i/50), Type: raft.LogCommand}
		at := int64(i * 10)
		q := message.Queue{Topic: "t", ID: r.Int32N(3)}
		switch r.IntN(9) {
		case 0:
			l.Type = raft.LogNoop
		case 1:
			l.Data = EncodeCommit(nil, at, []CommitOffset{{Group: "g", Queue: q, Offset: message.Offset(r.IntN(200))}, {Group: "a", Queue: q, Offset: 1}})
		case 2:
			l.Data = EncodeLock(nil, at, "g", fmt.Sprint("c", r.IntN(2)), []message.Queue{q}, 50)
		case 3:
			l.Data = EncodeReset(nil, at, "g", q, message.Offset(r.IntN(20)))
		default:
			var items []Item
			for range 1 + r.IntN(4) {
				p := Producer{ID: [16]byte{byte(r.IntN(3))}}
				k := p
				k.Epoch = uint32(q.ID)
				p.Sequence = seqs[k]
				if r.IntN(4) > 0 {
					seqs[k]++
				}
				items = append(items, Item{Queue: q, Producer: p, Records: records(t, q, string(make([]byte, r.IntN(3000)))), Count: 1})
			}
			l.Data = EncodeAppend(nil, at, items)
		}
		logs = append(logs, l)
	}
	return logs
}

// The same log in any batching, with restarts and floors in between, gives the
// same bytes and state.
func TestTheSameLogGivesTheSameBytes(t *testing.T) {
	for seed := range uint64(12) {
		logs := history(t, seed, 400)
		want := open(t, vfs.NewMem(1), nil)
		_, err := want.Apply(logs)
		require.NoError(t, err)
		wantState, _ := want.Checkpoint()
		mark, digest := want.Store().Digest()

		r := rand.New(rand.NewPCG(seed, 2))
		disk := vfs.NewMem(seed)
		m := open(t, disk, nil)
		var saved []byte
		savedAt := 0
		for at := 0; at < len(logs); {
			n := min(1+r.IntN(20), len(logs)-at)
			_, err := m.Apply(logs[at : at+n])
			require.NoError(t, err, "seed %d", seed)
			at += n
			switch r.IntN(6) {
			case 0: // a checkpoint
				state, sync := m.Checkpoint()
				require.NoError(t, sync())
				saved, savedAt = state, at
			case 1: // a power cut: back to the last checkpoint
				disk = disk.Crash(seed + uint64(at))
				m = open(t, disk, saved)
				index, _ := m.Applied()
				require.EqualValues(t, savedAt, index)
				at = savedAt
			}
		}
		gotState, _ := m.Checkpoint()
		gotMark, gotDigest := m.Store().Digest()
		require.Equal(t, wantState, gotState, "seed %d", seed)
		require.Equal(t, mark, gotMark)
		require.Equal(t, digest, gotDigest, "seed %d", seed)

		// From a floor of the other's.
		starts := want.Store().Segments()
		require.Greater(t, len(starts), 2)
		require.NoError(t, want.Store().Trim(starts[2].Position))
		floor, index, term, err := want.Floor()
		require.NoError(t, err)
		f := open(t, vfs.NewMem(3), nil)
		require.NoError(t, f.Restore(floor, index, term))
		_, err = f.Apply(logs[index:])
		require.NoError(t, err)
		_, d := f.Store().Digest()
		require.Equal(t, digest, d, "seed %d: from the floor at %d", seed, index)
		for _, x := range []*PartitionMachine{want, m, f} {
			require.NoError(t, x.Close())
		}
	}
}

func TestAnUnknownCommandStopsTheReplica(t *testing.T) {
	m := open(t, vfs.NewMem(1), nil)
	defer m.Close()
	for _, data := range [][]byte{{99, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 2, 0, 0, 0, 0, 0, 0, 0, 0}} {
		_, err := m.Apply([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogCommand, Data: data}})
		require.ErrorIs(t, err, ErrUnknownCommand)
	}
}

func FuzzCommand(f *testing.F) {
	q := message.Queue{Topic: "t", ID: 1}
	f.Add(EncodeAppend(nil, 1, []Item{{Queue: q, Producer: Producer{ID: [16]byte{1}}, Records: records(f, q, "a"), Count: 1}}))
	f.Add(EncodeCommit(nil, 1, []CommitOffset{{Group: "g", Queue: q, Offset: 1}}))
	f.Add(EncodeLock(nil, 1, "g", "c", []message.Queue{q}, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := open(t, vfs.NewMem(1), nil)
		defer m.Close()
		m.Apply([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogCommand, Data: b}})
	})
}

func FuzzState(f *testing.F) {
	m := open(f, vfs.NewMem(1), nil)
	l := &log{t: f, m: m}
	l.send(1, Producer{ID: [16]byte{1}}, queue, "a")
	s, _ := m.Checkpoint()
	f.Add(s)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := OpenPartition("p", PartitionOptions{Store: store.Options{FS: vfs.NewMem(1), SegmentBytes: 64 << 10}}, b); err == nil {
			m.Close()
		}
	})
}

func BenchmarkApply(b *testing.B) {
	m, err := OpenPartition(b.TempDir(), PartitionOptions{}, nil)
	require.NoError(b, err)
	defer m.Close()
	items := make([]Item, 250)
	for i := range items {
		items[i] = Item{Queue: queue, Records: records(b, queue, string(make([]byte, 900))), Count: 1}
	}
	cmd := EncodeAppend(nil, 1, items)
	b.SetBytes(int64(len(cmd)))
	for i := range b.N {
		if _, err := m.Apply([]*raft.Log{{Index: uint64(i + 1), Term: 1, Type: raft.LogCommand, Data: cmd}}); err != nil {
			b.Fatal(err)
		}
	}
}
