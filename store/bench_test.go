package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// Entries of 256 KiB with 1 KB records, on the real disk, rolled and trimmed.
func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.TempDir(), Options{}, nil)
	require.NoError(b, err)
	defer s.Close()
	e, places := entry(b, 1, message.Queue{Topic: "t"}, 250, 1000)
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	for i := range b.N {
		e.Index = uint64(i + 1)
		if s.NeedsRoll(len(e.Data)) {
			require.NoError(b, s.Roll(same))
			require.NoError(b, s.Trim(s.Last().Position-512<<20))
			b.StopTimer()
			require.NoError(b, s.Sync(s.Last()))
			b.StartTimer()
		}
		if _, err := s.Append(e, 1, places); err != nil {
			b.Fatal(err)
		}
	}
}

// A backlog of 1 KB records in sealed segments, page cache warm.
func BenchmarkReadBacklog(b *testing.B) {
	for _, c := range []struct {
		name            string
		messages, bytes int
	}{{"32", 32, 256 << 10}, {"1024", 1024, 4 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{SegmentBytes: 32 << 20}, nil)
			require.NoError(b, err)
			defer s.Close()
			q := message.Queue{Topic: "t"}
			e, places := entry(b, 1, q, 250, 1000)
			for i := range 400 {
				e.Index = uint64(i + 1)
				if s.NeedsRoll(len(e.Data)) {
					require.NoError(b, s.Roll(same))
				}
				_, err := s.Append(e, 1, places)
				require.NoError(b, err)
			}
			require.NoError(b, s.Sync(s.Last()))
			b.ReportAllocs()
			b.ResetTimer()
			var off message.Offset
			n := 0
			for range b.N {
				x, err := s.Read(q, off, c.messages, c.bytes, nil)
				if err != nil {
					b.Fatal(err)
				}
				n += x.Count
				b.SetBytes(int64(len(x.Records)))
				if off = x.Next; off >= x.Max-1100 {
					off = 0
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
