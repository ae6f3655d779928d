package client_test

import (
	"context"
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
