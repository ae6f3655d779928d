package raftlog

import (
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// haltingStable keeps hashicorp/raft from taking the process down when it cannot save its term, before the node has said why it
// fails and ended by itself: the goroutine of Raft that made the call ends there (its deferred calls run, the replica can be closed),
// and the replica takes no more part.
type haltingStable struct {
	raft.StableStore
	armed atomic.Bool // Raft runs: calls come from its own goroutine
	fault func(error)
}

func (s *haltingStable) SetUint64(key []byte, v uint64) error {
	err := s.StableStore.SetUint64(key, v)
	if err != nil && s.armed.Load() {
		s.fault(err)
		runtime.Goexit()
	}
	return err
}
