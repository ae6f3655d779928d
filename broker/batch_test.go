package broker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/fsm"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// What nobody took when a partition closes is certainly not stored, whether it
// came before or after.
func TestAClosedAppenderAnswersEverybody(t *testing.T) {
	a := newAppender(messages, nil, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now)
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

// What waits for an entry counts until it is in one, also when nobody waits for it any more.
func TestWhatWaitsForAnEntryIsBounded(t *testing.T) {
	room := remoting.NewBudget(10 << 20)
	a := newAppender(messages, room, func([]byte, func(any, error)) error { return raftlog.ErrNotLeader }, time.Now)
	for range entriesFlying {
		a.flying <- struct{}{} // as if entries were on their way
	}
	ctx, gone := context.WithCancel(context.Background())
	gone()
	busy := 0
	for range 100 {
		switch _, err := a.append(ctx, fsm.Item{Records: make([]byte, 1<<20)}); {
		case errors.Is(err, errBusy):
			busy++
		default:
			require.ErrorIs(t, err, raftlog.ErrUnknownOutcome)
		}
	}
	require.GreaterOrEqual(t, busy, 100-10-1, "one is in hand, to be the first of the next entry")
	a.close()
	require.Zero(t, room.Used())
}
