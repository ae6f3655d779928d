package raftlog

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// After a floor inside the log, entries are taken right behind it and nowhere else: a leader that should not be one, for lack of them,
// stores nothing.
func TestLostEntriesAreReplacedFromTheFloor(t *testing.T) {
	store := raft.NewInmemStore()
	for i := uint64(1); i <= 8; i++ {
		require.NoError(t, store.StoreLog(&raft.Log{Index: i, Term: 2}))
	}
	l := NewLog(store, nil)
	require.NoError(t, l.lose(logEnd{3, 5}, func() error { return store.DeleteRange(1, 8) }))
	var e raft.Log
	for index, want := range map[uint64]error{5: raft.ErrLogNotFound, 6: nil, 8: nil, 9: raft.ErrLogNotFound} {
		require.Equal(t, want, l.GetLog(index, &e))
		if want == nil {
			require.Zero(t, e.Term)
		}
	}
	require.Error(t, l.StoreLog(&raft.Log{Index: 9, Term: 4}))
	require.Error(t, l.StoreLog(&raft.Log{Index: 7, Term: 4}))
	require.NoError(t, l.StoreLog(&raft.Log{Index: 6, Term: 4}))
	require.NoError(t, l.StoreLog(&raft.Log{Index: 7, Term: 4}))
	require.ErrorIs(t, l.GetLog(8, &e), raft.ErrLogNotFound)
}
