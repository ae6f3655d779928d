package raftlog

import (
	"bytes"
	"testing"
)

// Snapshots come from files and from peers.
func FuzzSnapshot(f *testing.F) {
	f.Add(encodeSnapshot([]byte("state"), 7, 3))
	f.Add(encodeSnapshot(nil, 0, 0))
	f.Add([]byte("rqSN"))
	f.Fuzz(func(t *testing.T, b []byte) {
		state, index, term, err := decodeSnapshot(b)
		if err == nil && !bytes.Equal(encodeSnapshot(state, index, term), b) {
			t.Fatalf("%x was read as another snapshot", b)
		}
	})
}
