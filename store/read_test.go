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
	b, err := s.Read(q, 0, 4096, 8<<20, func(int32) bool {
		if first {
			first = false
			grow(20)
		}
		return true
	})
	require.NoError(t, err)
	require.Greater(t, len(s.Segments()), rolled)
	require.EqualValues(t, end, b.Count)
	require.Equal(t, end, b.Next)
	require.Equal(t, end, b.Max)
}
