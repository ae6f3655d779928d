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
		if raft.LogType(e.Type) != raft.LogCommand || len(e.Data) < commandHead {
			return nil, nil
		}
		switch kind(e.Data[0]) {
		case kindAppend:
			err := m.parseAppend(e.Data)
			return m.places, err
		case kindDecide:
			_, err := m.parseDecide(e.Data)
			return m.places, err
		case kindDelay:
			_, err := m.parseDelay(e.Data)
			return m.places, err
		case kindUnearth:
			_, _, err := m.parseUnearth(e.Data)
			return m.places, err
		case kindPutBack:
			_, err := m.parsePutBacks(e.Data)
			return m.places, err
		case kindFire:
			r := &reader{b: e.Data[commandHead:]}
			r.timerKey()
			m.dues(r, len(e.Data))
			return m.places, r.end()
		}
		return nil, nil
	}
}

// StoreState returns the store's part of a partition's state. ErrState,
// ErrStateVersion.
func StoreState(state []byte) ([]byte, error) {
	st, err := decodeState(state)
	return st.store, err
}
