package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// The appender rolls while a Read examines its queue: between two steps of it,
// which the filter stands for. The Read ends where the queue did when it began,
// since it looks only into the segments there were then.
func TestReadEndsWhereTheQueueDid(t *testing.T) {
	s := openMem(t, vfs.NewMem(1), nil)
	q := message.Queue{Topic: "t"}
	grow := func(entries int) {
		for range entries {
			e, places := entry(t, s.Last().Index+1, q, 100, 1)
			if s.NeedsRoll(len(e.Data)) {
				require.NoError(t, s.Roll(same))
			}
			_, err := s.Append(e, 1, places)
			require.NoError(t, err)
		}
	}
	grow(examineStep/100 + 2)
	_, end := s.Bounds(q)
	rolled := len(s.Segments())
	first := true
	b, err := s.Read(q, 0, 4096, 8<<20, &Filter{Tag: func(int32) bool {
		if first {
			first = false
			grow(20)
		}
		return true
	}})
	require.NoError(t, err)
	require.Greater(t, len(s.Segments()), rolled)
	require.EqualValues(t, end, b.Count)
	require.Equal(t, end, b.Next)
	require.Equal(t, end, b.Max)
}

// Of what a filter wants, a reader gets all, in order, whatever it asks for at once, and
// is told how far that was looked for.
func TestAFilteredReadMissesNothing(t *testing.T) {
	s := openMem(t, vfs.NewMem(1), nil)
	q := message.Queue{Topic: "t"}
	for range 40 {
		e, places := entry(t, s.Last().Index+1, q, 100, 1)
		if s.NeedsRoll(len(e.Data)) {
			require.NoError(t, s.Roll(same))
		}
		_, err := s.Append(e, 1, places)
		require.NoError(t, err)
	}
	require.Greater(t, len(s.Segments()), 1, "sealed ones and the mapped one")
	all, err := s.Read(q, 0, 4096, 64<<20, nil)
	require.NoError(t, err)
	offset := func(r []byte) int64 { return int64(message.Record(r).QueueOffset()) }
	for name, wanted := range map[string]func(i int64) bool{
		"all": func(int64) bool { return true }, "some": func(i int64) bool { return i%3 == 0 }, "bursts": func(i int64) bool { return i%10 > 6 },
		"few": func(i int64) bool { return i%500 == 0 }, "none": func(int64) bool { return false },
	} {
		var want []int64
		for i := range int64(all.Count) {
			if wanted(i) {
				want = append(want, i)
			}
		}
		for _, c := range []struct{ messages, bytes int }{{1, 1}, {7, 1000}, {32, 256 << 10}, {1024, 4 << 20}} {
			seen := int64(-1)
			filter := &Filter{Record: func(r []byte) bool {
				rec, err := message.ParseRecord(r)
				require.NoError(t, err)
				require.Len(t, r, len(rec))
				seen = offset(r)
				return wanted(seen)
			}}
			var got []int64
			for next := message.Offset(0); next < all.Max; {
				b, err := s.Read(q, next, c.messages, c.bytes, filter)
				require.NoError(t, err)
				require.Greater(t, b.Next, next)
				require.LessOrEqual(t, b.Count, c.messages)
				require.LessOrEqual(t, int64(b.Next), seen+1, "it is not said of what was not looked into")
				n := 0
				for rest := b.Records; len(rest) > 0; n++ {
					rec, err := message.ParseRecord(rest)
					require.NoError(t, err)
					got = append(got, offset(rec))
					rest = rest[len(rec):]
				}
				require.Equal(t, b.Count, n)
				if n > 1 {
					require.LessOrEqual(t, len(b.Records), c.bytes)
				}
				next = b.Next
			}
			require.Equal(t, want, got, "%s, %v", name, c)
		}
	}
}

// What a reader wants may be far away: one Read looks into some 4 MiB only.
func TestAFilteredReadIsBounded(t *testing.T) {
	s := openMem(t, vfs.NewMem(1), nil)
	q := message.Queue{Topic: "t"}
	for range 12 {
		e, places := entry(t, s.Last().Index+1, q, 1, 1<<20)
		if s.NeedsRoll(len(e.Data)) {
			require.NoError(t, s.Roll(same))
		}
		_, err := s.Append(e, 1, places)
		require.NoError(t, err)
	}
	looked := 0
	b, err := s.Read(q, 0, 32, 256<<10, &Filter{Record: func([]byte) bool { looked++; return false }})
	require.NoError(t, err)
	require.Zero(t, b.Count)
	require.EqualValues(t, looked, b.Next)
	require.LessOrEqual(t, looked, 4)
	require.Positive(t, looked)
}
