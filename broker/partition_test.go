package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
)

// What comes to a replica that is closed, to be repaired, is certainly not done, and is asked for elsewhere.
func TestWhatComesToAClosedReplicaIsCertainlyNotDone(t *testing.T) {
	l := newLone(t)
	p := l.leader()
	l.reshape.Lock()
	l.closeToRepair(l.part)
	l.reshape.Unlock()
	_, err := p.propose(t.Context(), fsm.EncodeDropGroup(nil, l.atMs(), "g"))
	require.ErrorIs(t, err, errNotHere)
}
