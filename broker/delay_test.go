package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/store"
)

func TestRecallHandlesAreReadAsWritten(t *testing.T) {
	h := recallHandle{"topic", "raftmq-2", store.TimerKey{DueMs: 1_800_000_000_000, ID: 64}, "UNIQUE"}
	got, err := decodeRecallHandle(h.encode())
	require.NoError(t, err)
	require.Equal(t, h, got)
}

// Whatever a client calls a handle is refused, or names a time and a place.
func FuzzRecallHandle(f *testing.F) {
	f.Add(recallHandle{"topic", "raftmq-2", store.TimerKey{DueMs: 1_800_000_000_000, ID: 64}, "UNIQUE"}.encode())
	f.Add("djEgdCByYWZ0bXEtMCA5IGsgNjQ")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := decodeRecallHandle(s)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, h.key.DueMs, int64(0))
		require.Positive(t, h.key.ID)
		again, err := decodeRecallHandle(h.encode())
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}
