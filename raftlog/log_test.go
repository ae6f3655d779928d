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

// crampedStore refuses every change while its log is full.
type crampedStore struct {
	raft.LogStore
	full bool
}

func (s *crampedStore) StoreLogs(logs []*raft.Log) error {
	if s.full {
		return ErrWALFull
	}
	return s.LogStore.StoreLogs(logs)
}

func (s *crampedStore) DeleteRange(first, last uint64) error {
	if s.full {
		return ErrWALFull
	}
	return s.LogStore.DeleteRange(first, last)
}

// A truncation that found no room removed nothing: entries that find none after it are refused too, and that is all. After one that was
// made Raft would not know where its log ends.
func TestARefusedTruncationIsNone(t *testing.T) {
	store := &crampedStore{LogStore: raft.NewInmemStore()}
	for i := uint64(1); i <= 8; i++ {
		require.NoError(t, store.StoreLogs([]*raft.Log{{Index: i, Term: 2}}))
	}
	var fault error
	l := NewLog(store, func(err error) { fault = err })
	stored := func(index uint64) (err error) {
		over := make(chan struct{})
		go func() { // which a fault ends
			defer close(over)
			err = l.StoreLog(&raft.Log{Index: index, Term: 3})
		}()
		<-over
		return err
	}
	store.full = true
	require.ErrorIs(t, l.DeleteRange(5, 8), ErrWALFull)
	require.ErrorIs(t, stored(9), ErrWALFull)
	require.NoError(t, fault)
	store.full = false
	require.NoError(t, stored(9))
	require.NoError(t, l.DeleteRange(5, 9))
	store.full = true
	_ = stored(5)
	require.ErrorIs(t, fault, ErrWALFull)
}

// What is to replace entries that a floor took away may find no room: they are answered for as before, and it is sent again.
func TestWhatReplacesLostEntriesMayFindNoRoom(t *testing.T) {
	store := &crampedStore{LogStore: raft.NewInmemStore()}
	for i := uint64(1); i <= 8; i++ {
		require.NoError(t, store.StoreLogs([]*raft.Log{{Index: i, Term: 2}}))
	}
	var fault error
	l := NewLog(store, func(err error) { fault = err })
	require.NoError(t, l.lose(logEnd{3, 5}, func() error { return store.DeleteRange(1, 8) }))
	stored := func() (err error) {
		over := make(chan struct{})
		go func() { // which a fault ends
			defer close(over)
			err = l.StoreLog(&raft.Log{Index: 6, Term: 3})
		}()
		<-over
		return err
	}
	for _, full := range []bool{true, true, false} {
		var e raft.Log
		require.NoError(t, l.GetLog(6, &e))
		require.Zero(t, e.Term)
		require.NoError(t, l.DeleteRange(6, 8)) // as Raft does, which takes them for entries of another term
		store.full = full
		err := stored()
		store.full = false
		require.NoError(t, fault)
		if full {
			require.ErrorIs(t, err, ErrWALFull)
		} else {
			require.NoError(t, err)
		}
	}
}
