package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/raftlog"
)

// What nobody took when a partition closes is certainly not stored, whether it
// came before or after.
func TestAClosedAppenderAnswersEverybody(t *testing.T) {
	a := newAppender(messages, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now)
	for range entriesFlying {
		a.flying <- struct{}{} // as if entries were on their way
	}
	answers := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := a.append(context.Background(), fsm.Item{})
			answers <- err
		}()
	}
	a.close()
	for range 3 {
		require.ErrorIs(t, <-answers, errNotHere)
	}
	_, err := a.append(context.Background(), fsm.Item{})
	require.ErrorIs(t, err, errNotHere)
}
