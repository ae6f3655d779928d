package fsm

import (
	"github.com/hashicorp/raft"

	"raftmq/store"
)

// Places returns a function that finds the records in entries of a partition, those
// that were stored and those that were answered as duplicates: for a store.Mender,
// which tells them apart. It is not safe for concurrent use; what it returns is valid
// until its next call.
func Places() func(store.Entry) ([]store.Place, error) {
	m := &PartitionMachine{topics: make(map[string]string)}
	return func(e store.Entry) ([]store.Place, error) {
		if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead || kind(e.Data[0]) != kindAppend {
			return nil, nil
		}
		if err := m.parseAppend(e.Data); err != nil {
			return nil, err
		}
		return m.places, nil
	}
}

// StoreState returns the store's part of a partition's state. ErrState,
// ErrStateVersion.
func StoreState(state []byte) ([]byte, error) {
	st, err := decodeState(state)
	return st.store, err
}
