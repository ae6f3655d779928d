package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/message"
)

func TestEntriesSayWhereRecordsLie(t *testing.T) {
	h := newHistory(t, 9, 200)
	s := openMem(t, vfs.NewMem(1), nil)
	h.play(t, s, 200)
	q := message.Queue{Topic: "t", ID: 2}
	lo, hi := s.Bounds(q)
	all, err := s.Entries(q, lo, int(hi-lo)+7)
	require.NoError(t, err)
	require.Len(t, all, int(hi-lo))
	for i, e := range all {
		rec, err := s.Record(e.Position)
		require.NoError(t, err)
		require.Equal(t, lo+message.Offset(i), message.Offset(rec.QueueOffset()))
		require.Equal(t, len(rec), e.Size)
		require.Equal(t, rec.StoreTimestamp(), e.StoredMs)
		one, err := s.Entries(q, lo+message.Offset(i), 1)
		require.NoError(t, err)
		require.Equal(t, []QueueEntry{e}, one)
	}
	for _, off := range []message.Offset{lo - 1, hi, hi + 1} {
		_, err = s.Entries(q, off, 1)
		require.ErrorIs(t, err, ErrOffset)
	}
	_, err = s.Entries(message.Queue{Topic: "none"}, 0, 1)
	require.ErrorIs(t, err, ErrOffset)
}
