package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
	"raftmq/store"
)

// A disk is full again and again while entries are applied, and a floor is restored:
// of the entry that finds no room nothing is done, so that it can be applied when there
// is some. Results, small state and bytes are those of a replica that always had room.
func TestAFullDiskIsMetBeforeAnythingChanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var log []*raft.Log
	add := func(cmd []byte) {
		log = append(log, &raft.Log{Index: uint64(len(log) + 1), Term: 1, Type: raft.LogCommand, Data: cmd})
	}
	q := message.Queue{Topic: "t"}
	for i := range 400 {
		at := int64(1000 + i)
		switch i % 4 {
		case 0, 1:
			m := message.Message{Topic: "t", Body: make([]byte, 1+rnd.IntN(10_000))}
			b, err := m.AppendRecord(nil)
			require.NoError(t, err)
			add(EncodeAppend(nil, at, []Item{{Queue: q, Records: b, Count: 1, Producer: Producer{ID: [16]byte{1}, Sequence: uint64(i/4*2 + i%4)}}}))
		case 2:
			add(EncodeCommit(nil, at, []CommitOffset{{Group: fmt.Sprint(i % 7), Queue: q, Offset: message.Offset(i / 4)}}))
		case 3:
			add(EncodeLock(nil, at, "g", "c", []message.Queue{q}, 1000))
		}
	}
	open := func() *replica { // its segments grow a few times
		disk := vfs.NewMem(1)
		m, err := OpenPartition("p", PartitionOptions{Store: store.Options{FS: disk, SegmentBytes: 4 * segmentBytes, Number: 7}}, nil)
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		return &replica{t, disk, m}
	}
	roomy := open()
	want, err := roomy.Apply(log)
	require.NoError(t, err)

	full := 0
	apply := func(r *replica, log []*raft.Log) (got []any) {
		for len(log) > 0 {
			r.disk.SetFree(int64(max(0, rnd.IntN(100)-50)) * 4096)
			some, err := r.Apply(log[:1+rnd.IntN(min(len(log), 5))])
			if err != nil {
				require.ErrorIs(t, err, vfs.ErrNoSpace)
				full++
			}
			got = append(got, some...)
			log = log[len(some):]
			if rnd.IntN(4) == 0 {
				if _, sync := r.Checkpoint(); sync() != nil {
					full++
				}
			}
		}
		r.disk.SetFree(-1)
		return got
	}
	same := func(r *replica) {
		t.Helper()
		require.Equal(t, roomy.small(), r.small())
		_, a := roomy.Store().Digest()
		_, b := r.Store().Digest()
		require.Equal(t, a, b)
	}
	cramped := open()
	require.Equal(t, want, apply(cramped, log))
	require.Greater(t, full, 10)
	same(cramped)

	require.NoError(t, roomy.Store().Trim(roomy.Store().Segments()[2].Position))
	state, index, term, err := roomy.Floor()
	require.NoError(t, err)
	refused := 0
	for tries := 0; refused == 0; tries++ { // what it needs may have been made before it is full
		require.Less(t, tries, 20)
		late := open()
		apply(late, log[:100])
		before, mark := late.small(), late.Store().Last()
		for free := int64(0); ; free += 4096 {
			late.disk.SetFree(free)
			err := late.Restore(state, index, term)
			if err == nil {
				break
			}
			refused++
			require.True(t, errors.Is(err, vfs.ErrNoSpace), "%v", err)
			require.Equal(t, before, late.small())
			require.Equal(t, mark, late.Store().Last())
			_, sync := late.Checkpoint()
			sync()
			sync() // what it lets go now it did not need
			_, err = late.Store().Read(q, 0, 1, 1, nil)
			require.NoError(t, err)
		}
		late.disk.SetFree(-1)
		apply(late, log[index:])
		same(late)
	}
}
