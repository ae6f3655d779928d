package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

func entry(t testing.TB, index uint64, q message.Queue, n, body int) (Entry, []Place) {
	t.Helper()
	e := Entry{Index: index, Term: 1, AppendedAt: int64(index), Data: []byte("command")}
	var places []Place
	for i := range n {
		m := message.Message{Topic: q.Topic, QueueID: q.ID, Body: make([]byte, body), Properties: fmt.Sprintf("KEYS\x01k%d-%d\x02", index, i)}
		at := len(e.Data)
		var err error
		e.Data, err = m.AppendRecord(e.Data)
		require.NoError(t, err)
		places = append(places, Place{Queue: q, Start: at, Size: len(e.Data) - at})
	}
	return e, places
}

func fill(t testing.TB, s *Store, from, to uint64, state func([]byte) []byte) {
	t.Helper()
	for i := from; i <= to; i++ {
		e, places := entry(t, i, message.Queue{Topic: "t", ID: int32(i % 2)}, int(i%4), 700)
		if s.NeedsRoll(len(e.Data)) {
			require.NoError(t, s.Roll(state))
		}
		_, err := s.Append(e, int64(1000+i), places)
		require.NoError(t, err)
	}
}

func same(b []byte) []byte { return b }

func TestReadGivesWhatWasAppended(t *testing.T) {
	s, err := Open(t.TempDir(), Options{SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	defer s.Close()
	q := message.Queue{Topic: "t", ID: 1}
	grown := s.Appended(q)
	fill(t, s, 1, 400, same)
	<-grown
	lo, hi := s.Bounds(q)
	require.EqualValues(t, 0, lo)
	require.EqualValues(t, 400, hi)
	var next message.Offset
	for next < hi {
		b, err := s.Read(q, next, 32, 256<<10, nil)
		require.NoError(t, err)
		rest := b.Records
		for range b.Count {
			r, err := message.ParseRecord(rest)
			require.NoError(t, err)
			require.Equal(t, next, r.QueueOffset())
			_, pos := message.SplitPhysicalOffset(r.PhysicalOffset())
			again, err := s.Record(Position(pos))
			require.NoError(t, err)
			require.Equal(t, r, again)
			e, data, err := s.EntryAt(Position(pos))
			require.NoError(t, err)
			require.Equal(t, []byte(r), e.Data[Position(pos)-data:][:len(r)])
			same, err := s.Entry(e.Index)
			require.NoError(t, err)
			require.Equal(t, same, e)
			_, _, err = s.EntryAt(data - 1)
			require.ErrorIs(t, err, ErrNotFound, "a frame's head is no data")
			rest = rest[len(r):]
			next++
		}
		require.Equal(t, b.Next, next)
	}
	_, err = s.Read(q, hi, 1, 1, nil)
	require.ErrorIs(t, err, ErrOffset)
	recs, err := s.Lookup("t", "k7-2", 10, 0, 0)
	require.NoError(t, err)
	require.Len(t, recs, 1)
	for i := uint64(1); i <= 400; i++ {
		e, err := s.Entry(i)
		require.NoError(t, err)
		require.Equal(t, i, e.Index)
	}
	_, err = s.Entry(401)
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = s.EntryAt(s.Last().Position)
	require.ErrorIs(t, err, ErrNotFound)
	off, err := s.SeekTime(q, 1200, false)
	require.NoError(t, err)
	require.EqualValues(t, 200, off)
}

// A power cut leaves what the checkpoint names; the entries above, appended
// again, give the same bytes.
func TestPowerCutLeavesTheCheckpoint(t *testing.T) {
	want, err := Open("want", Options{FS: vfs.NewMem(1), SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	fill(t, want, 1, 300, same)
	_, digest := want.Digest()
	for seed := range uint64(20) {
		disk := vfs.NewMem(seed)
		s, err := Open("p", Options{FS: disk, SegmentBytes: minSegment}, nil)
		require.NoError(t, err)
		at := 20 + seed*12
		fill(t, s, 1, at, same)
		state, m := s.Checkpoint()
		require.NoError(t, s.Sync(m))
		fill(t, s, at+1, 290, same)
		disk = disk.Crash(seed)
		s, err = Open("p", Options{FS: disk, SegmentBytes: minSegment}, state)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, m, s.Last())
		fill(t, s, at+1, 300, same)
		last, d := s.Digest()
		require.Equal(t, want.Last(), last)
		require.Equal(t, digest, d, "seed %d", seed)
		b, err := s.Read(message.Queue{Topic: "t", ID: 1}, 0, 1000, 10<<20, nil)
		require.NoError(t, err)
		require.Equal(t, 300, b.Count)
		require.NoError(t, s.Close())
	}
}

func TestFlippedByteIsFoundOnRead(t *testing.T) {
	disk := vfs.NewMem(1)
	s, err := Open("p", Options{FS: disk, SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 200, same)
	f, err := disk.Open(segmentName("p", 0, "log"))
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 300)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, 300)
	require.NoError(t, err)
	_, err = s.Read(message.Queue{Topic: "t", ID: 1}, 0, 8, 1<<20, nil)
	if err == nil {
		_, err = s.Entry(1)
	}
	require.ErrorIs(t, err, ErrDamaged)
}

func TestResetStartsAtAFloorAndTrimDropsSegments(t *testing.T) {
	s, err := Open(t.TempDir(), Options{SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 1, 300, same)
	starts := s.Segments()
	require.Greater(t, len(starts), 3)
	require.NoError(t, s.Trim(starts[2].Position))
	require.Equal(t, starts[2], s.First())
	q := message.Queue{Topic: "t", ID: 1}
	lo, hi := s.Bounds(q)
	require.Positive(t, lo)
	b, err := s.Read(q, lo, 1, 1, nil)
	require.NoError(t, err)
	r, err := message.ParseRecord(b.Records)
	require.NoError(t, err)
	require.Equal(t, lo, r.QueueOffset())
	floor, m, err := s.Floor()
	require.NoError(t, err)
	require.Equal(t, starts[2], m)

	o, err := Open(t.TempDir(), Options{SegmentBytes: minSegment}, nil)
	require.NoError(t, err)
	defer o.Close()
	fill(t, o, 1, 10, same)
	require.NoError(t, o.Reset(floor, nil))
	require.Equal(t, m.Index, o.Last().Index)
	fill(t, o, m.Index+1, 300, same)
	_, want := s.Digest()
	_, got := o.Digest()
	require.Equal(t, want, got)
	_, ohi := o.Bounds(q)
	require.Equal(t, hi, ohi)
}

// A power cut before the first checkpoint may leave a segment without its head:
// the state names nothing in it, so it is made again.
func TestAnUnsyncedFirstSegmentIsMadeAgain(t *testing.T) {
	for seed := range uint64(20) {
		disk := vfs.NewMem(seed)
		s, err := Open("p", Options{FS: disk, SegmentBytes: minSegment}, nil)
		require.NoError(t, err)
		fill(t, s, 1, 20, same)
		require.NoError(t, s.Close())
		s, err = Open("p", Options{FS: disk.Crash(seed), SegmentBytes: minSegment}, nil)
		require.NoError(t, err, "seed %d", seed)
		fill(t, s, 1, 20, same)
		_, hi := s.Bounds(message.Queue{Topic: "t", ID: 1})
		require.NotZero(t, hi)
		require.NoError(t, s.Close())
	}
}
