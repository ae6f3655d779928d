package raftlog

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a peer says of a lost node, it is taken or refused.
func TestAnyWordOfALostNodeIsTakenOrRefused(t *testing.T) {
	n := &nudges{down: make(map[string]bool), words: make(map[string]map[string]word)}
	for length := range 256 {
		name := bytes.Repeat([]byte("x"), length)
		_, err := n.heard(context.Background(), "n2", append(append([]byte{byte(length)}, name...), make([]byte, 24)...))
		require.NoError(t, err)
		require.Contains(t, n.words, string(name))
		_, err = n.heard(context.Background(), "n2", append([]byte{byte(length)}, name[:max(0, length-1)]...))
		require.Equal(t, length > 0, err != nil)
	}
}
