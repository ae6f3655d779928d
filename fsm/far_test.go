package fsm

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
	"raftmq/store"
)

// farOn is a replica whose log begins at a position: as one that was sent a floor there.
func farOn(t *testing.T, at store.Position) *replica {
	t.Helper()
	r := newReplica(t)
	r.send(1, Item{Queue: queue(0), Records: records(t, queue(0), 1, 10), Count: 1})
	b, _ := r.Store().Checkpoint()
	b = slices.Clone(b)
	binary.BigEndian.PutUint64(b[41:], uint64(at)) // of the last entry: see store's state
	sum := len(b) - 4
	binary.BigEndian.PutUint32(b[sum:], crc32.Checksum(b[:sum], castagnoli))
	index, term := r.Applied()
	far := newReplica(t)
	require.NoError(t, far.Restore(r.encode(b), index, term))
	return far
}

// A log that was appended to for long lies beyond what physical offsets can name, which is 8 TiB. What is old goes there too, and what waits
// or is pending is found again by a restart, and by a repair.
func TestALogGoesOnBeyondWhatPhysicalOffsetsName(t *testing.T) {
	r := farOn(t, message.MaxPosition+1-96<<10)
	q := queue(0)
	roll := func() {
		t.Helper()
		for n := len(r.Store().Segments()); len(r.Store().Segments()) == n; {
			r.send(1000, Item{Queue: q, Records: records(t, q, 4, 2000), Count: 4})
		}
	}
	last := func() store.Mark {
		s := r.Store().Segments()
		return s[len(s)-1]
	}
	for last().Position <= message.MaxPosition {
		roll()
	}
	roll()
	to := last()
	r.do(EncodeTrim(nil, 1001, to.Position))
	require.Equal(t, to, r.Store().First())

	r.delay(1002, delayed(t, q, Producer{}, 5000))
	h := r.do(EncodeHalves(nil, 1002, []Half{{Group: "g", CheckAfter: 6000, Record: records(t, q, 1, 10)}})).(HalvesResult).Items[0]
	require.Equal(t, Stored, h.Status)
	require.Greater(t, h.Position, store.Position(message.MaxPosition))
	r = r.restart()
	want := timersOf(t, r, 0)
	require.Len(t, want, 1)
	roll()
	roll()
	r.do(EncodeTrim(nil, 1003, last().Position))
	require.Equal(t, to, r.Store().First(), "a half is pending")

	state, sync := r.Checkpoint()
	require.NoError(t, sync())
	require.NoError(t, r.Close())
	st, err := StoreState(state)
	require.NoError(t, err)
	names, err := r.disk.List("p")
	require.NoError(t, err)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".timers") })
	require.NotEmpty(t, names)
	for _, n := range names {
		require.NoError(t, r.disk.Damage("p/"+n, 4096, 1, func(b []byte) { b[0] ^= 4 }))
	}
	m := &store.Mender{Dir: "p", State: st, Places: Places(), Timers: TimerOps(), Options: store.Options{FS: r.disk, SegmentBytes: segmentBytes, Number: 7}}
	require.NoError(t, m.Mend(context.Background(), names))
	r = openReplica(t, r.disk, state)
	require.Equal(t, want, timersOf(t, r, 0))
	_, pending := r.Half(h.Position)
	require.True(t, pending)
	require.Equal(t, FireResult{Done: true, Count: 1}, r.fireAt(5000))
	require.Empty(t, r.dueBy(math.MaxInt64))
}
