package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
	"raftmq/remoting"
)

// A change of which nobody says in time whether it is made may be made.
func TestAChangeThatNobodyConfirmsIsUncertain(t *testing.T) {
	for name, x := range map[string]fault{"it is not known": unknown, "the answer is lost": cutAfter, "refused": illegal} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1, 1)
			f.topic("t", 1)
			a := f.dial().Admin()
			for op, change := range map[remoting.Code]func(context.Context) error{
				remoting.UpdateSubscriptionGroup: func(ctx context.Context) error { return a.CreateGroup(ctx, client.GroupConfig{Name: "g"}) },
				remoting.InvokeBrokerToResetOffset: func(ctx context.Context) error {
					_, err := a.ResetOffsets(ctx, "g", "t", client.Earliest(), false)
					return err
				},
				remoting.DeleteTopicInBroker: func(ctx context.Context) error { return a.DeleteTopic(ctx, "none") },
			} {
				ctx, cancel := context.WithCancel(bg)
				tries := 0
				f.setFault(func(_ *fakeNode, req *remoting.Command) fault {
					if req.Code != op {
						return healthy
					}
					if tries++; tries == 2 {
						cancel()
					}
					return x
				})
				err := change(ctx)
				cancel()
				require.Error(t, err)
				if x == illegal {
					require.NotErrorIs(t, err, client.ErrUncertain, op)
				} else {
					require.ErrorIs(t, err, client.ErrUncertain, op)
				}
			}
		})
	}
}

// A node that answers a change with a fault of its own may have made it.
func TestAChangeThatEndsInAFaultIsUncertain(t *testing.T) {
	f := newFake(t, 1, 1)
	f.answer = func(req *remoting.Command) *remoting.Command {
		switch req.Code {
		case remoting.UpdateAndCreateTopic, remoting.DeleteTopicInBroker, remoting.DeleteSubscriptionGroup, remoting.DeadLetters:
			return req.Reply(remoting.SystemError, "made, but not everywhere yet")
		}
		return nil
	}
	a := f.dial().Admin()
	require.ErrorIs(t, a.CreateTopic(bg, client.TopicConfig{Name: "t"}), client.ErrUncertain)
	require.ErrorIs(t, a.DeleteTopic(bg, "t"), client.ErrUncertain)
	require.ErrorIs(t, a.DeleteGroup(bg, "g"), client.ErrUncertain)
	_, err := a.Purge(bg, "g", "", 0)
	require.ErrorIs(t, err, client.ErrUncertain)
	_, err = a.DeadLetters(bg, "g", 0)
	require.Error(t, err)
	require.NotErrorIs(t, err, client.ErrUncertain, "it looks only")
}

// Who moves a group in several queues and is refused in one has moved it in those before.
func TestAResetThatEndsMidwayIsUncertain(t *testing.T) {
	for refused := range 2 {
		f := newFake(t, 1, 1)
		f.topic("t", 2)
		n := 0
		f.answer = func(req *remoting.Command) *remoting.Command {
			if req.Code != remoting.InvokeBrokerToResetOffset {
				return nil
			}
			if n++; n > refused {
				return req.Reply(remoting.InvalidParameter, "no")
			}
			return nil
		}
		_, err := f.dial().Admin().ResetOffsets(bg, "g", "t", client.Earliest(), false)
		require.ErrorIs(t, err, client.ErrInvalid)
		require.Equal(t, refused > 0, errors.Is(err, client.ErrUncertain))
	}
}
